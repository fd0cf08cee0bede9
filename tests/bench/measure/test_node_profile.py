"""Profiles of real runs of the default bundle, each too short to mean anything."""

import os
from pathlib import Path

import msgspec
import onnx
import onnxruntime
import pytest

from trimf.bench.measure import benchmark_run as run
from trimf.bench.measure import job_process as process
from trimf.bench.measure.case_planning import BenchmarkOptions, BenchmarkTarget, plan_profiles
from trimf.bench.measure.jobs import Job, ModelCheck
from trimf.bench.measure.node_profile import profile_nodes
from trimf.bench.report import report_files as output
from trimf.bench.report.markdown_report import render_markdown
from trimf.bench.report.node_shares import MAX_ROWS, compute_node_shares
from trimf.bench.report.report_reading import read_report
from trimf.bench.report.schema import Profile
from trimf.cli import main
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.errors import BackendError
from trimf_train.model.checkpoint import Checkpoint

CHECKED = ModelCheck(backend="cpu", reason="", device=None, products={}, median_subwords=9, work={}, lengths={})
QUICK = BenchmarkOptions(backends=("cpu",), lengths=(), seconds=0.1, rounds=1, profile=True)


def list_nodes(name: str, folder: Path) -> set[str]:
    """Names of the nodes of a graph of the default bundle, as written and as ONNX Runtime optimizes it."""
    content = Bundle(DEFAULT_BUNDLE).read(f"{name}.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / f"{name}.onnx")
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    models = [onnx.load_from_string(content), onnx.load(folder / f"{name}.onnx")]
    return {node.name for model in models for node in model.graph.node}


@pytest.fixture(scope="module")
def outcome(tiny_data):
    done, failure = run.run_benchmark(QUICK._replace(data=tiny_data, batch_sizes=(4, 2, 3)), "trimf bench --profile")
    assert failure is None
    return done


@pytest.mark.slow
def test_the_smallest_and_the_largest_batch_are_profiled(outcome):
    assert [(one.model, one.backend, one.threads, one.batch_size) for one in outcome.profiles] == [
        ("default", "cpu", 1, 2),
        ("default", "cpu", 1, 4),
    ]
    for profile in outcome.profiles:
        assert [one.subgraph for one in profile.subgraphs] == list(SUBGRAPHS)
        assert profile.batches > 0
        assert all(one.runs >= profile.batches for one in profile.subgraphs[:3])


@pytest.mark.slow
def test_times_are_positive_and_their_shares_sum_to_one(outcome, tmp_path):
    for profile in outcome.profiles:
        for subgraph in profile.subgraphs[:3]:
            shares = compute_node_shares(subgraph)
            assert shares.mean > 0
            assert 0 < len(shares.slowest) <= MAX_ROWS
            assert min(node.mean for node, _ in shares.slowest) > 0
            rest = shares.rest.share if shares.rest else 0
            assert sum(share for _, share in shares.slowest) + rest == pytest.approx(1)
            others = shares.other_operators.share if shares.other_operators else 0
            assert sum(entry.share for entry in shares.operators) + others == pytest.approx(1)
            assert {node.name for node in subgraph.nodes} <= list_nodes(subgraph.subgraph, tmp_path)
            assert {node.provider for node in subgraph.nodes} == {"CPUExecutionProvider"}


@pytest.mark.slow
def test_a_profile_changes_nothing_else_of_the_report(outcome, tmp_path, capsys):
    assert [case.kind for case in outcome.cases] == ["latency"] * 3 + ["throughput"] * 3
    assert all(case.rounds for case in outcome.cases)
    output.write_report(outcome, tmp_path)
    assert read_report(tmp_path) == outcome
    assert "## Slowest nodes: default, int8, cpu, 1 thread, batch 2" in render_markdown(outcome)
    assert main(["bench", "compare", str(tmp_path), str(tmp_path)]) == 0
    assert "words, batch 2" in capsys.readouterr().out


@pytest.mark.slow
def test_pytorch_says_that_it_has_no_profile(tiny_checkpoint, quick_export, parser, tmp_path):
    note = ParserInfo(name=parser.name, version=parser.version)
    description = msgspec.structs.replace(tiny_checkpoint.description, parser=note)
    Checkpoint(tiny_checkpoint.model, description, tiny_checkpoint.tokenizer_json).save(tmp_path / "checkpoint")
    quick_export(tmp_path / "checkpoint", tmp_path / "bundle")
    said = []
    options = QUICK._replace(models=(str(tmp_path / "bundle"),), checkpoint=tmp_path / "checkpoint")
    run._BenchmarkRun(options, "trimf bench", said.append, lambda *_: None, tmp_path)
    line = "checkpoint was not profiled: PyTorch has no node times here, use torch.profiler for it"
    assert said.count(line) == 1
    said.clear()
    run._BenchmarkRun(options._replace(profile=False), "trimf bench", said.append, lambda *_: None, tmp_path)
    assert not any("profile" in note for note in said)


def plan(**changes):
    options = BenchmarkOptions(profile=True)._replace(**changes)
    bundle = BenchmarkTarget("a", "/a", "onnx", "cpu", CHECKED, {})
    targets = [bundle, bundle._replace(backend="cuda"), bundle._replace(model="b", engine="eager")]
    return [(job.model, job.backend, job.threads, job.batch_size) for job in plan_profiles(options, targets, "data")]


def test_every_bundle_and_backend_is_profiled_at_two_batch_sizes():
    pairs = [(threads, batch) for threads in (2, 1) for batch in (1, 32)]
    assert plan(threads=(2, 1)) == [("a", backend, *pair) for backend in ("cpu", "cuda") for pair in pairs]
    assert plan(batch_sizes=(8,)) == [("a", "cpu", 1, 8), ("a", "cuda", 1, 8)]
    assert plan(profile=False) == []


def test_a_profile_on_a_gpu_waits_for_each_kernel(monkeypatch):
    seen = []

    def start(*_, env, **__):
        seen.append(env.get("CUDA_LAUNCH_BLOCKING"))
        raise BackendError("not started")

    monkeypatch.setattr(process.subprocess, "Popen", start)
    monkeypatch.delenv("CUDA_LAUNCH_BLOCKING", raising=False)
    for kind, backend in (("profile", "cuda"), ("profile", "cpu"), ("profile", "tensorrt"), ("latency", "cuda")):
        with pytest.raises(BackendError, match="not started"):
            process.run_job(Job(name="x", kind=kind, model="x", path="", data="", backend=backend), Profile)
    assert seen == ["1", None, None, None]
    assert "CUDA_LAUNCH_BLOCKING" not in os.environ


def test_a_subgraph_that_is_not_needed_has_no_nodes(tmp_path):
    from trimf.bench.measure import corpus

    corpus.write_corpus(corpus.build_sentence_corpus(["of"], "one word"), tmp_path / "data.json")
    job = Job(name="x", kind="profile", model="x", path="default", data=str(tmp_path / "data.json"), backend="cpu")
    profile = profile_nodes(job)
    assert [one.runs for one in profile.subgraphs] == [1, 1, 1, 0]
    assert [bool(one.nodes) for one in profile.subgraphs] == [True, True, True, False]

"""Profiles of real runs of the default bundle, each too short to mean anything."""

import os
from pathlib import Path

import onnx
import onnxruntime
import pytest

from trimf.bench.measure import benchmark_run as run
from trimf.bench.measure import corpus
from trimf.bench.measure import job_process as process
from trimf.bench.measure.case_planning import BenchmarkOptions, BenchmarkTarget, plan_profiles
from trimf.bench.measure.jobs import Job, ModelCheck
from trimf.bench.measure.node_profile import profile_nodes
from trimf.bench.report.node_shares import MAX_ROWS, compute_node_shares
from trimf.bench.report.schema import Profile
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from trimf.runtime.engine.contract import JOINED, JOINED_WEIGHTS
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend, share_weights
from trimf.runtime.errors import BackendError

#: The graphs of the default bundle that a CPU runs.
RUN = OnnxCpuBackend(1).choose_subgraphs(Bundle(DEFAULT_BUNDLE), True)

CHECKED = ModelCheck(backend="cpu", reason="", device=None, products={}, median_subwords=9, work={}, lengths={})


def list_nodes(name: str, folder: Path) -> set[str]:
    """Names of the nodes of a graph of the default bundle, as written and as ONNX Runtime optimizes it."""
    bundle = Bundle(DEFAULT_BUNDLE)
    content = bundle.read(f"{name}.onnx")
    options = onnxruntime.SessionOptions()
    if name == JOINED:
        share_weights(options, {other: bundle.read(other) for other in JOINED_WEIGHTS})
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / f"{name}.onnx")
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    models = [onnx.load_from_string(content), onnx.load(folder / f"{name}.onnx", load_external_data=False)]
    return {node.name for model in models for node in model.graph.node}


@pytest.fixture(scope="module", params=[1, 4])
def profile(request, tiny_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.json"
    corpus.write_corpus(corpus.read_corpus(tiny_data), path)
    fields = {"model": "default", "path": "default", "backend": "cpu", "batch_size": request.param, "seconds": 0.1}
    return profile_nodes(Job(name="x", kind="profile", data=str(path), **fields))


def test_a_profile_says_what_it_is_of(profile):
    assert (profile.model, profile.backend, profile.threads) == ("default", "cpu", 1)
    assert profile.batch_size in (1, 4)
    assert tuple(one.subgraph for one in profile.subgraphs) == RUN
    assert 0 < profile.batches <= profile.subgraphs[0].runs
    assert len({one.runs for one in profile.subgraphs[:-1]}) == 1


def test_times_are_positive_and_their_shares_sum_to_one(profile, tmp_path):
    for subgraph in profile.subgraphs:
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


def test_a_subgraph_that_is_not_needed_has_no_nodes(tmp_path):
    corpus.write_corpus(corpus.build_sentence_corpus(["of"], "one word"), tmp_path / "data.json")
    job = Job(name="x", kind="profile", model="x", path="default", data=str(tmp_path / "data.json"), backend="cpu")
    profile = profile_nodes(job)
    assert [one.runs for one in profile.subgraphs] == [1] * len(RUN[:-1]) + [0]
    assert [bool(one.nodes) for one in profile.subgraphs] == [True] * len(RUN[:-1]) + [False]


@pytest.mark.slow
def test_pytorch_says_that_it_has_no_profile(tiny_checkpoint, tiny_data, tmp_path, monkeypatch):
    real = process.run_job

    def run_without_compiler(job, *others):
        if job.engine == "compile":
            raise BackendError("no compiler")
        return real(job, *others)

    monkeypatch.setattr(process, "run_job", run_without_compiler)
    tiny_checkpoint.save(tmp_path / "checkpoint")
    said = []
    options = BenchmarkOptions(
        backends=("cpu",), lengths=(), profile=True, checkpoint=tmp_path / "checkpoint", data=tiny_data
    )
    run._BenchmarkRun(options, "trimf bench", said.append, lambda *_: None, tmp_path)
    line = "checkpoint was not profiled: PyTorch has no node times here, use torch.profiler for it"
    assert said.count(line) == 1


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

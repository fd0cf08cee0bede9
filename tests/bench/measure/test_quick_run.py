"""Quick runs: whole ones on the CPU and on a stand-in for a GPU, and runs of which a part fails."""

import os
from pathlib import Path

import msgspec
import pytest

import trimf
from trimf.bench.measure import environment
from trimf.bench.measure import job_process as process
from trimf.bench.measure.case_planning import (
    QUICK_OPTIONS,
    BenchmarkOptions,
    BenchmarkTarget,
    plan_cases,
    plan_profiles,
)
from trimf.bench.measure.corpus import link_words, read_corpus
from trimf.bench.measure.jobs import Job, ModelCheck
from trimf.bench.measure.part_runner import PartRunner
from trimf.bench.report.report_reading import read_report
from trimf.bench.report.schema import FailedPart, Report
from trimf.cli import main
from trimf.export.exporter import export_checkpoint
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import JOINED_SUBGRAPHS, SUBGRAPHS
from trimf.runtime.errors import BackendError
from trimf_train.model.checkpoint import Checkpoint

GPU_PART = "memory, clock and power of the GPU"

#: The CPU in the place of a GPU, with memory of its own.
STAND_IN = """
from trimf.runtime.engine.onnx_providers import PROVIDERS, Provider
PROVIDERS["cuda"] = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0), fuses=True)
"""
NO_PLAIN_ENCODER = """
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BackendError
load = OnnxCpuBackend.load
def fail(self, name, *others, **options):
    if name == "plain encoder":
        raise BackendError("out of memory")
    return load(self, name, *others, **options)
OnnxCpuBackend.load = fail
"""
NO_GRAPH = """
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BackendError
def fail(self, name, *others, **options):
    raise BackendError("out of memory")
OnnxCpuBackend.load = fail
"""
NO_PARSER = """
from trimf.runtime.errors import BackendError
from trimf.runtime.text import parser
def fail(*_):
    raise BackendError("no such pipeline")
parser.load_parser = fail
"""


@pytest.fixture
def start_children_with(tmp_path, monkeypatch):
    """Run Python code at the start of every process of a benchmark."""

    def set_code(code: str) -> None:
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(code)
        paths = [str(folder), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    return set_code


def bench(output: Path, *arguments: object) -> tuple[int, Report]:
    options = ["--seconds", "0.2", "--output", str(output), *map(str, arguments)]
    status = main(["bench", "--quick", *options])
    return status, read_report(output)


def list_failed(report: Report) -> list[str]:
    return [failed.part for failed in report.failures if failed.part != GPU_PART]


@pytest.mark.slow
def test_the_default_bundle_on_the_cpu(tmp_path, capsys):
    status, report = bench(tmp_path / "report", "--backend", "cpu", "--batch-sizes", "1,4")
    printed = capsys.readouterr().out
    assert (status, report.failures) == (0, [])
    assert [(case.kind, case.batch_size, case.workers) for case in report.cases] == [
        ("latency", 1, 1),
        ("latency", 4, 1),
        ("throughput", 4, 1),
        ("throughput", 4, 4),
    ]
    (one,) = report.cases[0].rounds
    assert {"whole", "words", "joined", "decode", "plain encoder", "split"} <= one.samples.keys()
    assert report.cases[2].rounds[0].warm_up > 0
    assert len(report.floors) == 2
    assert (report.parities[0].sentences, report.parities[0].failure) == (14, None)
    assert [len(subgraph.nodes) > 0 for subgraph in report.profiles[0].subgraphs] == [True] * 2
    assert max(map(len, printed.splitlines())) <= 80
    for words in ("from raw text", "from words", "plain encoder", "floor of the encoder", "4 workers", "within the"):
        assert words in printed
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "## Parity" in markdown
    assert "## Failed parts" not in markdown


@pytest.mark.slow
def test_fused_graphs_on_a_stand_in_for_a_gpu(create, tiny_data, tmp_path, start_children_with, capsys):
    made = create("bert", syntax={"source": "encoder", "arc_dim": 4, "label_dim": 3})
    description = msgspec.structs.replace(made.description, parser=ParserInfo(name="none", source="encoder"))
    Checkpoint(made.model, description, made.tokenizer_json).save(tmp_path / "checkpoint")
    export_checkpoint(tmp_path / "checkpoint", tmp_path / "bundle")
    start_children_with(STAND_IN)
    options = ("--model", tmp_path / "bundle", "--backend", "cuda", "--data", tiny_data, "--batch-sizes", "1,4")
    _, report = bench(tmp_path / "report", *options)
    assert list_failed(report) == []
    assert report.subjects[0].products.keys() == set(SUBGRAPHS)
    assert [subgraph.subgraph for subgraph in report.profiles[0].subgraphs] == list(JOINED_SUBGRAPHS)
    for case in report.cases[:2]:
        (one,) = case.rounds
        assert {"joined", "joined host-to-device", "plain encoder"} <= one.samples.keys()
        assert one.cuda_graphs == dict.fromkeys(JOINED_SUBGRAPHS, False)
    assert report.parities[0].identical == 100
    assert "## CUDA graphs" in (tmp_path / "report" / "report.md").read_text()
    assert "joined" in capsys.readouterr().out


@pytest.mark.slow
def test_a_part_that_fails_does_not_end_the_others(tmp_path, start_children_with, capsys):
    start_children_with(NO_PLAIN_ENCODER)
    status, report = bench(tmp_path / "report", "--backend", "cpu", "--batch-sizes", "1")
    printed = capsys.readouterr()
    names = ["check default", "latency default cpu threads 1 batch 1"]
    reason = "out of memory"
    expected = [FailedPart(part=f"{name}, stages and plain encoder", reason=reason) for name in names]
    assert (status, report.failures) == (1, expected)
    assert [case.kind for case in report.cases] == ["latency", "throughput", "throughput"]
    assert report.cases[0].rounds[0].samples.keys() == {"whole", "split"}
    assert report.parities
    assert report.profiles
    assert printed.out.splitlines()[-1].endswith(reason)
    assert printed.err.splitlines()[-1].startswith("trimf: 2 of ")
    assert "## Failed parts" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.slow
def test_a_run_without_any_result_is_one_line(start_children_with, capsys):
    start_children_with(NO_GRAPH)
    assert main(["bench", "--quick", "--backend", "cpu", "--batch-sizes", "1"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "trimf: out of memory\n")


@pytest.mark.slow
def test_a_parser_that_is_missing(tiny_checkpoint, quick_export, tmp_path, start_children_with, monkeypatch):
    description = msgspec.structs.replace(tiny_checkpoint.description, parser=ParserInfo(name="en_core_web_sm"))
    Checkpoint(tiny_checkpoint.model, description, tiny_checkpoint.tokenizer_json).save(tmp_path / "checkpoint")
    quick_export(tmp_path / "checkpoint", tmp_path / "bundle")
    start_children_with(NO_PARSER)

    def fail(*_):
        raise BackendError("no such pipeline")

    monkeypatch.setattr("trimf.runtime.text.parser.load_parser", fail)
    options = ("--model", tmp_path / "bundle", "--backend", "cpu", "--batch-sizes", "4")
    status, report = bench(tmp_path / "report", *options)
    assert status == 1
    assert [(case.kind, case.batch_size) for case in report.cases] == [("latency", 4)]
    assert {failed.reason for failed in report.failures} == {"no such pipeline"}
    assert list_failed(report)[0] == "parser"
    assert report.parities


def test_words_without_a_parse_are_linked():
    corpus = read_corpus(None)
    linked = link_words(corpus)
    assert [sentence.tokens for sentence in linked.sentences] == [sentence.tokens for sentence in corpus.sentences]
    assert all(sentence.heads == [0, *range(len(sentence.tokens) - 1)] for sentence in linked.sentences)
    assert link_words(linked) == linked


def test_a_runner_goes_on_only_if_it_shall():
    def fail() -> None:
        raise BackendError("first part: too\nlittle memory")

    runner = PartRunner(goes_on=True)
    assert runner.attempt("first part", fail) is None
    assert runner.attempt("second part", lambda: 5) == 5
    assert runner.failures == [FailedPart(part="first part", reason="too little memory")]
    assert str(runner.build_error()) == "1 of 2 parts failed: first part"
    with pytest.raises(BackendError, match="first part"):
        PartRunner(goes_on=False).attempt("first part", fail)
    assert PartRunner(goes_on=True).build_error() is None


def test_a_job_that_fails_twice_is_one_failure(monkeypatch):
    asked = []

    def fail(job, *_):
        asked.append(job.whole_only)
        raise BackendError(f"{job.name}: no device")

    monkeypatch.setattr(process, "run_job", fail)
    runner = PartRunner(goes_on=True)
    assert runner.run_job(Job(name="latency x", kind="latency", model="x", path="x", data=""), ModelCheck, None) is None
    assert asked == [False, True]
    assert runner.failures == [FailedPart(part="latency x", reason="no device")]


def test_the_cases_of_a_quick_run():
    checked = ModelCheck(backend="cpu", reason="", device=None, products={}, median_subwords=9, work={}, lengths={})
    targets = [BenchmarkTarget("a", "/a", "onnx", "cpu", checked, {})]
    options = BenchmarkOptions(quick=True, **QUICK_OPTIONS)
    options.check()
    jobs = plan_cases(options, targets, "data")
    assert [(job.kind, job.batch_size, job.workers) for job in jobs] == [
        ("latency", 1, 1),
        ("latency", 32, 1),
        ("throughput", 32, 1),
        ("throughput", 32, 4),
    ]
    assert sum(job.max_seconds for job in jobs) <= 60
    assert [job.batch_size for job in plan_profiles(options, targets, "data")] == [1]
    assert [job.batch_size for job in plan_profiles(options._replace(profile=True), targets, "data")] == [1, 32]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "a", "--model", "b"], "--quick takes one --model, got 2"),
        (["--backend", "cpu", "--backend", "cuda"], "--quick takes one --backend, got 2"),
        (["--threads", "1,2"], "--quick takes one --threads, got 2"),
        (["--soak", "10"], "--quick and --soak exclude each other"),
        (["--against", "."], "--quick and --against exclude each other"),
    ],
)
def test_what_a_quick_run_does_not_take(arguments, words, capsys):
    assert main(["bench", "--quick", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_version_needs_no_distribution(monkeypatch):
    monkeypatch.setattr(environment, "distributions", list)
    assert environment.list_libraries() == {"trimf": trimf.__version__}
    assert Bundle("default").manifest.created_by.startswith("trimf ")

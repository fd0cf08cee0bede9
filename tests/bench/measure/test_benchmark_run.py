"""Whole runs on the default bundle, each too short to mean anything."""

import json
import sys
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from trimf.bench.measure import benchmark_run as run
from trimf.bench.measure import job_process as process
from trimf.bench.measure.case_planning import BenchmarkOptions
from trimf.bench.measure.jobs import Job
from trimf.bench.report import report_files as output
from trimf.bench.report.schema import Measurement, Report
from trimf.cli import main
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.errors import BackendError, BundleError, InputError
from trimf.runtime.extras import require_extra
from trimf_train.model.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

QUICK = BenchmarkOptions(backends=("cpu",), batch_sizes=(1,), lengths=(), seconds=0.1, rounds=1)


@pytest.fixture(scope="module")
def outcome(tiny_data):
    said = []
    steps = []
    options = QUICK._replace(data=tiny_data, lengths=(12,), soak=30, profile=True)
    with pytest.MonkeyPatch.context() as patch:
        # The default bundle parses by itself, so nobody needs a spaCy pipeline to measure it.
        patch.setattr("trimf.runtime.text.parser.load_parser", Mock(side_effect=AssertionError("spaCy parses")))
        done = run.run_benchmark(options, "trimf bench", said.append, lambda *step: steps.append(step))
    return *done, said, steps


def test_everything_asked_for_is_measured(outcome):
    report, failure, _, steps = outcome
    assert failure is None
    assert [case.kind for case in report.cases] == ["latency", "length", "throughput", "soak"]
    assert all(len(case.rounds) == 1 for case in report.cases)
    assert [done for _, done, _ in steps] == list(range(8))
    assert {total for _, _, total in steps} == {7}
    assert (report.sentences, report.data.rpartition("/")[2]) == (12, "tiny.jsonl")


def test_the_latency_round_has_every_stage(outcome):
    (one,) = outcome[0].cases[0].rounds
    assert {"whole", "words", "joined", "decode", "plain encoder", "split"} <= one.samples.keys()
    assert "parse" not in one.samples  # its encoder does that
    assert {len(values) for values in one.samples.values()} == {len(one.sizes)}
    assert min(one.load, one.first, one.memory.host) > 0


def test_the_length_is_exact(outcome):
    case = outcome[0].cases[1]
    assert case.subwords == 12
    assert case.rounds[0].samples.keys() == {"whole", "plain encoder"}


def test_streams_count_sentences_and_memory(outcome):
    stream, soak = (case.rounds[0] for case in outcome[0].cases[2:])
    assert stream.sizes[0][0] > 0
    assert stream.seconds > 0
    done = [count for count, _ in soak.memory.growth]
    assert done == sorted(done)
    assert done[-1] == soak.sizes[0][0] >= 30
    assert min(resident for _, resident in soak.memory.growth) > 50


def test_the_subject_has_its_score_and_its_types(outcome):
    (subject,) = outcome[0].subjects
    assert subject.name == "default"
    assert subject.f1.keys() == {"entities", "relations"}
    assert 0 <= min(subject.f1.values()) <= 100
    assert subject.products["encoder"]["int8"] > subject.products["encoder"]["fp32"]
    assert len(subject.sha256) == 64


def test_the_floor_and_the_ratio_to_the_plain_encoder(outcome):
    report = outcome[0]
    (floor,) = report.floors
    assert 0 < floor.milliseconds < 100
    assert floor.operations / floor.peak_operations <= floor.milliseconds / 1000 * 1.001
    assert any(ratio.name.endswith("whole / plain encoder") for ratio in report.ratios)


def test_the_profile_comes_last_and_has_the_nodes_of_every_subgraph(outcome):
    report, _, _, steps = outcome
    assert steps[-2][0] == "profile default cpu threads 1 batch 1"
    (profile,) = report.profiles
    assert [one.subgraph for one in profile.subgraphs] == ["joined", "relations"]
    assert profile.subgraphs[0].nodes[0].mean > 0


def test_two_profiled_reports_are_compared(outcome, tmp_path, capsys):
    output.write_report(outcome[0], tmp_path)
    assert main(["bench", "compare", str(tmp_path), str(tmp_path)]) == 0
    assert "words, batch 1" in capsys.readouterr().out


def test_it_is_json_by_its_schema_and_back(outcome, tmp_path):
    output.write_report(outcome[0], tmp_path)
    content = (tmp_path / "report.json").read_bytes()
    assert msgspec.json.decode(content, type=Report) == outcome[0]
    assert outcome[0].environment["cores"] >= 1


@pytest.fixture
def fed_by_spacy(tiny_checkpoint, quick_export, parser, tmp_path):
    """The bundle of a model that takes its arcs from spaCy, and no annotated data."""
    note = ParserInfo(name=parser.name, version=parser.version)
    description = msgspec.structs.replace(tiny_checkpoint.description, parser=note)
    Checkpoint(tiny_checkpoint.model, description, tiny_checkpoint.tokenizer_json).save(tmp_path / "checkpoint")
    quick_export(tmp_path / "checkpoint", tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.slow
def test_a_parser_in_front_is_a_stage(fed_by_spacy):
    options = QUICK._replace(models=(str(fed_by_spacy),))
    report, failure = run.run_benchmark(options, "trimf bench")
    assert failure is None
    (one,) = report.cases[0].rounds
    parsing, whole = one.samples["parse"], one.samples["whole"]
    assert len(parsing) == len(whole) == len(one.sizes)
    assert min(parsing) > 0


@pytest.mark.slow
@pytest.mark.parametrize("error", [BackendError("out of memory"), KeyboardInterrupt()])
def test_what_was_measured_outlives_a_failure(monkeypatch, error):
    real = process.run_job

    def fail(spec, answer, gpu=None):
        if spec.kind == "throughput":
            raise error
        return real(spec, answer, gpu)

    monkeypatch.setattr(process, "run_job", fail)
    report, failure = run.run_benchmark(QUICK, "trimf bench")
    assert failure is error
    assert [case.kind for case in report.cases] == ["latency"]
    assert any("ended early" in note for note in report.notes)


def test_a_child_that_fails_says_why():
    spec = Job(name="latency x", kind="latency", model="x", path="no/such/bundle", data="")
    with pytest.raises(BackendError, match="latency x: bundle not found: no/such/bundle"):
        process.run_job(spec, Measurement)


def test_a_child_that_is_killed(monkeypatch, tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BackendError, match="status -9"):
        process.run_job(Job(name="x", kind="latency", model="x", path="", data=""), Measurement)


def test_a_missing_module():
    with pytest.raises(BackendError, match=r"trimf\[bench\]"):
        require_extra("bench", "no_such_module_at_all")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"models": ("no/such/bundle",)}, BundleError),
        ({"checkpoint": Path("no/such/checkpoint")}, BundleError),
        ({"data": Path("no/such.txt")}, InputError),
        ({"lengths": (2,)}, BackendError),
        ({"lengths": (100_000,)}, InputError),
        ({"backends": ("tensorrt",)}, BackendError),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is(change, error, monkeypatch):
    monkeypatch.setattr(run._BenchmarkRun, "_measure_cases", lambda _: pytest.fail("it measured"))
    with pytest.raises(error):
        run.run_benchmark(QUICK._replace(**change), "trimf bench")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--threads", "0"], 2, "threads must be >= 1, got 0"),
        (["--batch-sizes", "0"], 2, "batch_sizes must be >= 1, got 0"),
        (["--batch-sizes", "one"], 2, "1,8,32"),
        (["--seconds", "0"], 2, "seconds must be > 0, got 0"),
        (["--rounds", "0"], 2, "rounds must be >= 1, got 0"),
        (["--backend", "quantum"], 1, "quantum"),
        (["--data", "no/such.txt"], 2, "no/such.txt"),
        (["--model", "no/such/folder"], 2, "no/such/folder"),
        (["compare", "no/such.json", "no/such.json"], 2, "no/such.json"),
    ],
)
def test_bad_usage_is_one_line(arguments, status, words, capsys):
    assert main(["bench", *arguments]) == status
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_folder_that_is_not_empty_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "run_benchmark", lambda *_: pytest.fail("it ran"))
    (tmp_path / "mine").write_text("x")
    assert main(["bench", "--output", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_writes_a_report(outcome, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    asked = []
    monkeypatch.setattr(run, "run_benchmark", lambda *given: asked.append(given) or run.RunOutcome(outcome[0], None))
    folder = tmp_path / "report"
    assert main(["bench", "--seconds", "2", "--batch-sizes", "1,4", "--backend", "cpu", "--output", str(folder)]) == 0
    options, command = asked[0][:2]
    assert (options.seconds, options.batch_sizes, options.backends) == (2, (1, 4), ("cpu",))
    assert command.startswith("trimf bench ")
    assert "--batch-sizes 1,4" in command
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "report.html"}
    assert "report.html" in capsys.readouterr().err


def test_the_schema_is_printed(capsys):
    assert main(["bench", "schema"]) == 0
    assert "Report" in json.loads(capsys.readouterr().out)["$defs"]

"""``trimf report`` on the default bundle: the page, the JSON, the summary, and errors of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimf.cli import main
from trimf_train.evaluation.evaluate import evaluate_file
from trimf_train.evaluation.report.build_report import ReportOptions, build_report
from trimf_train.evaluation.report.html_report import render_report
from trimf_train.evaluation.report.schema import Report

SHOT = ["Lee", "Harvey", "Oswald", "was", "shot", "by", "Jack", "Ruby", "in", "Dallas", "."]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sentences: one with a gold entity more than the model finds, one without annotation."""
    path = tmp_path / "data.json"
    entities = [("Peop", 0, 3), ("Peop", 6, 8), ("Loc", 9, 10), ("Event", 4, 5)]
    records = [
        {
            "tokens": SHOT,
            "entities": [{"type": label, "start": start, "end": end} for label, start, end in entities],
            "relations": [{"type": "Kill", "head": 1, "tail": 0}],
        },
        {"tokens": ["Nothing", "<b>", "here", "."], "entities": [], "relations": []},
    ]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_page_json_and_summary(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, written = tmp_path / "report.html", tmp_path / "report.json"
    files = ["--output", str(page), "--json", str(written)]
    assert main(["report", "default", str(data), *files, "--compare", "default", "--resamples", "50"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"default on {data}: 2 sentences" in captured.err
    assert "warning: the model cannot find 1 gold items of entity types that it does not have: Event" in captured.err
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert "Lee Harvey Oswald" in html
    report = msgspec.json.decode(written.read_bytes(), type=Report)
    assert (report.sentences, report.unit, report.units, report.resamples) == (2, "sentences", 2, 50)
    assert report.entities.scores.per_type["Event"].support == 1
    (missed,) = report.entities.errors.missed
    assert missed.gold is not None
    assert (missed.gold.label, missed.gold.text) == ("Event", "shot")
    assert report.comparison is not None
    assert report.comparison.entities.micro.f1.difference == 0


def test_running_text_is_compared_by_characters(tmp_path: Path) -> None:
    """Two documents, whose sentences belong together; an entity within a word cannot be found."""
    shot = "Lee Harvey Oswald was shot by Jack Ruby in Dallas."
    text = f"🗽\t{shot}\r\n\r\nNothing happened. {shot}"
    entities = [(2, 19, "Peop"), (32, 41, "Peop"), (45, 51, "Loc"), (57, 60, "Other")]
    record = {
        "text": text,
        "entities": [{"start": start, "end": end, "label": label} for start, end, label in entities],
        "relations": [{"head": 1, "tail": 0, "label": "Kill"}],
    }
    data = tmp_path / "data.jsonl"
    data.write_text(f"{json.dumps(record)}\n" * 2, encoding="utf-8")
    report = build_report("default", data, "default", ReportOptions(resamples=20))
    assert (report.unit, report.units, report.sentences) == ("documents", 2, 6)
    check_scores(report.entities.scores, evaluate_file("default", data)["entities"])
    found = {error.predicted.text for error in report.entities.errors.wrong if error.predicted}
    assert {"Lee Harvey Oswald", "Jack Ruby", "Dallas"} == found  # of the second time, which gold leaves out
    missed = report.entities.errors.missed[0]
    assert missed.gold is not None
    assert missed.gold.text == text[57:60]
    assert missed.passage.text == "Nothing happened."
    assert any("no prediction can equal 2 of the 8 entities" in warning for warning in report.warnings)
    assert report.comparison is not None
    assert (report.comparison.both_right, report.comparison.both_wrong) == (2, 4)
    assert "Jack Ruby" in render_report(report)


def test_json_to_standard_output(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "default", str(data), "--json", "-", "--resamples", "10"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Report).model == "default"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "pass --output report.html, --json report.json or both"),
        (["--output", "x", "--json", "x"], "--output and --json are both x"),
        (["--output", "DATA"], "is the data; choose another file"),
        (["--output", "x", "--resamples", "0"], "resamples must be >= 1, got 0"),
        (["--output", "x", "--seed", "-1"], "seed must be >= 0, got -1"),
        (["--output", "x", "--examples", "-1"], "examples must be >= 0, got -1"),
        (["--output", "x", "--threshold", "Kil=0.5"], "did you mean 'Kill'?"),
        (["--output", "x", "--threshold", "2"], "2"),
    ],
)
def test_errors_are_one_line(
    options: list[str], words: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    given = [str(data) if option == "DATA" else option for option in options]
    assert main(["report", "default", str(data), *given]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert [path.name for path in data.parent.iterdir()] == ["data.json"]


def test_a_run_without_a_checkpoint(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "run").mkdir()
    (data.parent / "run" / "config.json").write_text("{}")
    assert main(["report", str(data.parent / "run"), str(data), "--output", str(data.parent / "x.html")]) == 2
    assert "is a training run without" in capsys.readouterr().err


def test_a_bundle_needs_no_torch(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'matplotlib'): sys.modules[name] = None\n"
        "from trimf.cli import main\n"
        f"sys.exit(main(['report', 'default', {str(data)!r}, '--output', {str(tmp_path / 'x.html')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def check_scores(found: Any, evaluated: Any) -> None:
    for name in ("micro", "macro"):
        for figure in ("precision", "recall", "f1"):
            assert getattr(getattr(found, name), figure).value == pytest.approx(evaluated[name][figure])


@pytest.mark.slow
def test_the_scores_are_those_of_trimf_eval(shared_data: Path, tmp_path: Path) -> None:
    sentences = json.loads((shared_data / "conll04" / "dev.json").read_text(encoding="utf-8"))
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(sentences[:80]), encoding="utf-8")
    report = build_report("default", path)
    evaluated = evaluate_file("default", path, calibration=True)
    check_scores(report.entities.scores, evaluated["entities"])
    check_scores(report.relations.strict, evaluated["relations"]["strict"])
    check_scores(report.relations.boundary, evaluated["relations"]["boundary"])
    calibration = evaluated["calibration"]
    assert report.entities.reliability.predictions_error == pytest.approx(calibration["entities"]["error"])
    assert report.relations.reliability.predictions_error == pytest.approx(calibration["relations"]["error"])
    chosen = report.relations.thresholds.points[30]
    again = evaluate_file("default", path, threshold=chosen.threshold)["relations"]["strict"]["micro"]
    assert chosen.f1 == pytest.approx(again["f1"])
    chosen = report.entities.thresholds.points[61]
    again = evaluate_file("default", path, entity_threshold=chosen.threshold)["entities"]["micro"]
    assert chosen.f1 == pytest.approx(again["f1"])
    f1 = report.relations.strict.micro.f1
    assert f1.low is not None
    assert f1.high is not None
    assert f1.low < f1.value < f1.high

"""Reports of two devices: their cases match by what they measure, and a slower one fails on request."""

import io
import json

import msgspec
import pytest
from rich.console import Console

from trimf.bench.report.case_matching import match_cases, match_values
from trimf.bench.report.comparison import compare_reports, list_slower
from trimf.bench.report.comparison_table import render_comparison
from trimf.bench.report.report_reading import find_reports, pair_report_files, read_report
from trimf.bench.report.schema import Report
from trimf.cli import main
from trimf.runtime.errors import InputError

from .reports import ENVIRONMENT, awkward, empty, full, pair


def on_other_device(report: Report, factor: float = 1.0, *, rename: bool = True) -> Report:
    """The report as another device would give it: other backend, model, threads and times."""
    cases = []
    for case in report.cases:
        rounds = [
            msgspec.structs.replace(
                one,
                samples={stage: [factor * value for value in values] for stage, values in one.samples.items()},
                seconds=factor * one.seconds,
            )
            for one in case.rounds
        ]
        model = f"gpu-{case.model}" if rename else case.model
        cases.append(
            msgspec.structs.replace(
                case, name=f"{case.name} on cuda", backend="cuda", model=model, threads=case.threads + 3, rounds=rounds
            )
        )
    subjects = [
        msgspec.structs.replace(one, name=f"gpu-{one.name}" if rename else one.name, precision="fp16", sha256="e" * 64)
        for one in report.subjects
    ]
    environment = ENVIRONMENT | {"device": "Orin", "processor": "ARMv8"}
    return msgspec.structs.replace(report, cases=cases, subjects=subjects, environment=environment)


@pytest.mark.parametrize("rename", [True, False])
def test_every_case_of_one_device_finds_that_of_the_other(rename):
    a = full(threads=(1,))
    matched = match_cases(a, on_other_device(a, rename=rename))
    assert not matched.only_a + matched.only_b
    assert [other.name for _, other in matched.pairs] == [f"{case.name} on cuda" for case in a.cases]


def test_values_of_both_match_each_other_first():
    assert match_values([1, 2], [2, 4]) == {2: 2, 1: 4}
    assert match_values(["cpu"], ["cuda"]) == {"cpu": "cuda"}
    assert match_values(["cpu"], ["cuda", "cpu"]) == {"cpu": "cpu"}
    assert match_values([1, 2], [4]) == {1: 4}
    assert match_values([], [1]) == {}


def test_a_renamed_folder_is_the_same_model():
    a = full(threads=(1,))
    names = [subject.name for subject in a.subjects]
    turned = dict(zip(names, [*names[1:], names[0]], strict=True))
    b = msgspec.structs.replace(
        a,
        subjects=[msgspec.structs.replace(one, name=turned[one.name]) for one in a.subjects],
        cases=[msgspec.structs.replace(one, model=turned[one.model]) for one in a.cases],
    )
    found = compare_reports(a, b)
    assert not found.only_a + found.only_b
    assert {round(line.ratio, 12) for line in found.lines} == {1}


def test_two_devices_are_readable_at_80_columns():
    a = full(threads=(1,))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(render_comparison(compare_reports(a, on_other_device(a, 2.0))))
    told = console.file.getvalue()
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    assert "A: trimf-int8, int8, cpu, 1 thread\nB: gpu-trimf-int8, fp16, cuda, 4 threads" in told
    assert any(line.startswith("words, batch 1 ") and line.rstrip().endswith("slower") for line in told.splitlines())
    assert "Orin" in told


def test_twice_as_slow_fails_and_equal_does_not():
    a = pair(1, drift=0.01)
    assert list_slower(compare_reports(a, on_other_device(a)).lines, 10) == []
    (line,) = list_slower(compare_reports(a, on_other_device(a, 2.0)).lines, 10)
    assert (line.quantity, line.case) == ("whole", "words, batch 1")
    assert list_slower(compare_reports(a, on_other_device(a, 2.0)).lines, 150) == []


def test_what_cannot_be_judged_is_an_error():
    one = pair(1, count=1)
    with pytest.raises(InputError, match="--rounds 2"):
        list_slower(compare_reports(one, one).lines, 5)
    with pytest.raises(InputError, match="no case in common"):
        list_slower(compare_reports(one, empty()).lines, 5)
    for percent in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="fail-slower must be a number >= 0"):
            list_slower([], percent)
    for report in awkward():
        compare_reports(report, on_other_device(report))


@pytest.fixture
def folders(tmp_path):
    """Reports of two devices, each with two runs."""
    a = pair(1, drift=0.01)
    for device, report in (("workstation", a), ("jetson", on_other_device(a, 2.0))):
        for run in ("first", "second"):
            (tmp_path / device / run).mkdir(parents=True)
            (tmp_path / device / run / "report.json").write_bytes(msgspec.json.encode(report))
    return tmp_path


def test_folders_of_reports(folders):
    a, b = folders / "workstation", folders / "jetson"
    assert list(pair_report_files(a, b)) == ["first", "second"]
    assert list(pair_report_files(a / "first", b)) == ["first", "second"]
    assert pair_report_files(a, b / "second")["first"] == (a / "first/report.json", b / "second/report.json")
    assert read_report(a / "first") == read_report(a / "first/report.json")
    (folders / "none").mkdir()
    with pytest.raises(InputError, match="holds no report"):
        find_reports(folders / "none")
    (b / "first").rename(b / "third")
    (b / "second").rename(b / "fourth")
    with pytest.raises(InputError, match="first, second against fourth, third"):
        pair_report_files(a, b)


def test_the_command_compares_two_devices(folders, capsys):
    a, b = str(folders / "workstation/first"), str(folders / "jetson/first")
    assert main(["bench", "compare", a, b]) == 0
    assert "slower" in capsys.readouterr().out
    assert main(["bench", "compare", a, b, "--fail-slower", "20"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["bench", "compare", b, a, "--fail-slower", "20"]) == 0
    capsys.readouterr()
    assert main(["bench", "compare", a, b, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["lines"][0]["ratio"] == pytest.approx(2)
    assert {"name": "device", "a": "cpu", "b": "Orin"} in data["differences"]
    assert main(["bench", "compare", str(folders / "workstation"), str(folders / "jetson"), "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == ["first", "second"]

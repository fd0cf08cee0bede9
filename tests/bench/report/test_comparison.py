"""Two reports against each other: no false alarm, no difference missed, and what makes them hard to compare."""

import io

import msgspec
import numpy as np
import pytest
from rich.console import Console

from trimf.bench.report.comparison import ReportComparison, compare_reports
from trimf.bench.report.comparison_table import render_comparison
from trimf.bench.report.report_reading import read_report
from trimf.bench.report.schema import Case, Memory, Report, Round
from trimf.runtime.errors import InputError

from .reports import awkward, case, empty, full, pair

SAME = "no difference beyond the noise"


def verdicts(count: int, seeds: int, **fields) -> tuple[list[str], list[str]]:
    """Verdicts on "whole" and on the ratio to the plain encoder, over seeds."""
    factor = fields.pop("factor", 1.0)
    made = [
        compare_reports(
            pair(2 * seed, count=count, **fields),
            pair(2 * seed + 1, count=count, factor=factor, **fields),
        ).lines
        for seed in range(seeds)
    ]
    assert all([line.quantity for line in lines] == ["whole", "whole / plain encoder"] for lines in made)
    return [lines[0].verdict for lines in made], [lines[1].verdict for lines in made]


@pytest.mark.slow
@pytest.mark.parametrize("drift", [0.0, 0.02, 0.06])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_identical_runs_show_no_difference(count, drift):
    for found in verdicts(count, 100, drift=drift, calls=80):
        assert sum(verdict != SAME for verdict in found) <= 5


@pytest.mark.parametrize(("factor", "verdict"), [(0.9, "faster"), (1.1, "slower")])
def test_ten_per_cent_is_found(factor, verdict):
    found, normalised = verdicts(5, 50, drift=0.015, calls=400, factor=factor)
    assert found.count(verdict) >= 48
    assert set(normalised) == {SAME}


def test_the_interval_holds_the_true_ratio():
    lines = [compare_reports(pair(s), pair(s + 1000, factor=1.25)).lines[0] for s in range(60)]
    assert sum(line.low <= 1.25 <= line.high for line in lines) >= 57
    assert all(line.low < line.ratio < line.high for line in lines)
    assert all(np.isclose(line.b / line.a, line.ratio) for line in lines)


def test_a_drift_that_both_stages_share_cancels_out():
    lines = compare_reports(pair(1, drift=0.3), pair(2, drift=0.3)).lines
    widths = [line.high / line.low for line in lines]
    assert widths[1] < 1.3 < 1.6 < widths[0]


def test_a_difference_too_small_to_count_is_none():
    lines = compare_reports(
        pair(1, calls=5000, drift=0, count=5), pair(1, factor=1.015, calls=5000, drift=0, count=5)
    ).lines
    assert lines[0].ratio == pytest.approx(1.015)
    assert lines[0].verdict == SAME


def test_a_report_is_equal_to_itself_and_the_answer_is_always_the_same():
    report = full()
    found = compare_reports(report, report)
    assert {line.verdict for line in found.lines} == {SAME}
    assert {round(line.ratio, 12) for line in found.lines} == {1}
    assert not found.only_a + found.only_b + found.warnings + found.differences
    assert compare_reports(report, full(seed=5)) == compare_reports(report, full(seed=5))


def test_one_round_gets_no_verdict():
    for one, other in ((1, 1), (1, 3), (3, 1)):
        (line, _) = compare_reports(pair(0, count=one), pair(1, count=other, factor=3)).lines
        assert line.verdict == "no verdict from one round"
        assert line.low is line.high is None
        assert line.ratio == pytest.approx(3, rel=0.3)


def test_a_faster_round_that_gets_further_is_compared_on_the_same_calls():
    # The second half of the data takes ten times as long, and only B gets there.
    def report(calls: int, seed: int) -> Report:
        rng = np.random.default_rng(seed)
        times = np.where(np.arange(calls) < 200, 10.0, 100.0)
        sizes = [(1, 10 + i) for i in range(calls)]
        rounds = [
            Round(load=1, first=1, samples={"whole": (times * rng.normal(1, 0.01, calls)).tolist()}, sizes=sizes,
                  seconds=1, padding=0, memory=Memory(host=1))
            for _ in range(3)
        ]  # fmt: skip
        plain = {"kind": "latency", "model": "m", "engine": "onnx", "backend": "cpu", "threads": 1, "batch_size": 1}
        return empty(cases=[Case(name="c", rounds=rounds, **plain)])

    (line,) = compare_reports(report(200, 0), report(600, 1)).lines
    assert line.ratio == pytest.approx(1, abs=0.01)
    assert line.verdict == SAME


def test_a_stream_is_compared_by_its_wall_time():
    def report(seconds: float) -> Report:
        rng = np.random.default_rng(0)
        made = case(rng, "s", of={"count": 3, "calls": 10}, kind="throughput", workers=2)
        rounds = [
            Round(load=1, first=1, samples={}, sizes=[(100, 900)], seconds=seconds * f, padding=0, memory=one.memory)
            for one, f in zip(made.rounds, (0.99, 1, 1.01), strict=True)
        ]
        return empty(cases=[msgspec.structs.replace(made, rounds=rounds)])

    (line,) = compare_reports(report(10), report(5)).lines
    assert (line.quantity, line.verdict) == ("per sentence", "faster")
    assert line.a == pytest.approx(100, rel=0.01)


def test_what_is_missing_is_left_out():
    for report in awkward():
        found = compare_reports(report, report)
        assert all(line.ratio == 1 for line in found.lines)
        shown(found)


def test_warnings_name_each_difference():
    a, b = full(power=True, threads=(1,)), full(seed=1, threads=(1,))
    subject = msgspec.structs.replace(b.subjects[0], sha256="f" * 64, f1={"entities": 80.0})
    cases = [b.cases[0], *b.cases[2:]]
    libraries = {"numpy": "2.4.6", "onnxruntime": "1.24.0", "torch": "2.9"}
    b = msgspec.structs.replace(
        b,
        environment=b.environment | {"libraries": libraries},
        data="other",
        subjects=[subject, *b.subjects[1:]],
        cases=[*cases, msgspec.structs.replace(b.cases[0], name="new", batch_size=77)],
    )
    found = compare_reports(a, b)
    assert found.only_a == [a.cases[1].name]
    assert found.only_b == ["new"]
    assert {
        ("libraries onnxruntime", "1.23.0", "1.24.0"),
        ("libraries torch", "–", "2.9"),
        ("data", "conll04 test", "other"),
        ("model trimf-fp32 F1 of entities", "85.74", "80.00"),
        ("model trimf-fp32 sha256", a.subjects[0].sha256[:12], "f" * 12),
    } <= set(found.differences)
    told = "\n".join(found.warnings)
    assert f"A was throttled by sw_power_cap in {sum(len(c.rounds) for c in a.cases)} of" in told
    assert "B was throttled" not in told
    text = shown(found)
    assert "Only in B: new" in text
    assert "Warning: the sentences differ" in text


def shown(comparison: ReportComparison) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(render_comparison(comparison))
    return stream.getvalue()


def test_names_are_not_taken_for_markup_or_codes():
    name = "[red]x[/red]\x1b[31m\nnew"
    a = empty(cases=[case(np.random.default_rng(0), name, of={"calls": 5}, model=name)])
    text = shown(compare_reports(a, a))
    assert "[red]x[/red]␛[31m new" in text
    assert "\x1b" not in text
    assert "\x1b" not in shown(compare_reports(a, empty()))


def test_times_are_positive():
    made = pair(0)
    made.cases[0].rounds[0].samples["whole"][0] = 0.0
    with pytest.raises(InputError, match=r"case one: samples of whole must be > 0 ms, got 0\.0"):
        compare_reports(made, pair(1))


def test_reports_are_read_as_written(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(msgspec.json.encode(full(power=True)))
    assert read_report(path) == full(power=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "not a report of trimf bench"),
        (b"\xff\xfe", "not a report of trimf bench"),
        (b"[]", "not a report of trimf bench"),
        (b"{}", "schema_version"),
        (b"[" * 100_000, "not a report of trimf bench"),
        (b'{"schema_version": 1}', "not a report of trimf bench.*created"),
        (b'{"schema_version": 7}', "schema_version must be 1 to 2, got 7"),
    ],
)
def test_no_report_is_an_error_of_one_line(content, words, tmp_path):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_report(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)

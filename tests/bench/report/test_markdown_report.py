"""A report as Markdown: all tables, nothing that user names can break."""

import re

import msgspec
import numpy as np
import pytest

from trimf.bench.report.markdown_report import build_tables, render_markdown
from trimf.bench.report.report_table import MISSING

from .reports import awkward, case, empty, full, pair

HOSTILE = "a|b `c` <img src=x> *d* [e](f) \\ $g$\nh\x1b _i_"


def tables(text: str) -> dict[str, list[list[str]]]:
    """The cells of each table by the heading above it; every row of a table has as many."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        if line.startswith("|"):
            found.setdefault(heading, []).append(re.split(r"(?<!\\)\|", line)[1:-1])
    assert all(len({len(row) for row in rows}) == 1 for rows in found.values())
    return {name: [[cell.strip() for cell in row] for row in rows] for name, rows in found.items()}


def test_a_whole_report_has_every_table():
    found = tables(render_markdown(full(power=True)))
    assert list(found) == [
        "Speed and F1", "Latency", "Stages", "Throughput", "Latency by length", "Ratios", "Arithmetic floors", "Power",
        "Memory over a long stream",
    ]  # fmt: skip


def test_latency_gives_percentiles_by_what_the_samples_allow():
    report = full()
    head, _, *rows = tables(render_markdown(report))["Latency"]
    row = dict(zip(head, rows[0], strict=True))
    assert (row["model"], row["precision"], row["backend"], row["batch"]) == ("trimf-fp32", "float32", "cpu", "1")
    assert row["n"] == "1,200"
    assert re.fullmatch(r"[\d.]+ \([\d.]+–[\d.]+\)", row["p99"])
    values = [float(row[name].split()[0]) for name in ("p99", "p95", "p90", "p50")]
    assert values == sorted(values, reverse=True)
    assert re.fullmatch(r"[\d.]+ \([\d.]+–[\d.]+\)", row["× plain encoder"])
    first = report.cases[0]
    few = msgspec.structs.replace(first, rounds=first.rounds[:1])
    few.rounds[0].samples["whole"] = few.rounds[0].samples["whole"][:367]
    head, _, row = tables(render_markdown(empty(cases=[few])))["Latency"]
    second = dict(zip(head, row, strict=True))
    assert (second["n"], second["p99"]) == ("367", MISSING)
    assert second["p95"] != MISSING
    assert [row[2] for row in rows[-2:]] == ["PyTorch eager, cpu", "PyTorch compiled, cpu"]


def test_f1_stands_beside_the_speed():
    head, _, *rows = tables(render_markdown(full()))["Speed and F1"]
    assert head[-2:] == ["F1 entities", "F1 relations"]
    assert rows[2][-2:] == ["85.77", "65.32"]
    assert re.fullmatch(r"[\d.]+ \(cpu, 1\); [\d.]+ \(cpu, 2\)", rows[2][4])


def test_stages_add_up():
    report = pair(0)
    head, _, row = tables(render_markdown(report))["Stages"]
    samples = [one.samples for one in report.cases[0].rounds]
    mean = np.mean([sum(one[name][0] for name in head[5:]) for one in samples])
    assert mean > 0
    whole = np.mean([np.sum([one[name] for name in head[5:]], 0) for one in samples])
    assert sum(map(float, row[5:])) == pytest.approx(whole, abs=0.05)


def test_throttling_is_said_aloud():
    told = render_markdown(full(power=True))
    assert re.search(r"\*\*The GPU was throttled by sw_power_cap in (\d+) of \1 rounds, lowest clock 900 MHz \(", told)
    assert "Clocks" not in render_markdown(full())  # nothing ran on a GPU
    on_gpu = [msgspec.structs.replace(case, backend="cuda") for case in full().cases]
    assert "Clocks of the GPU were not recorded in every round" in render_markdown(empty(cases=on_gpu))
    quiet = full(power=True)
    quiet = msgspec.structs.replace(
        quiet, cases=[msgspec.structs.replace(case, backend="cuda") for case in quiet.cases]
    )
    for one in quiet.cases:
        for number, held in enumerate(one.rounds):
            one.rounds[number] = msgspec.structs.replace(held, power=msgspec.structs.replace(held.power, throttled=()))
    assert "No throttling was seen in any round." in render_markdown(quiet)


def test_a_busy_machine_is_said_aloud():
    load = {"load_before": 4.5, "steal_percent": 3.2}
    told = render_markdown(empty(environment={"cores": 2, "load": load}))
    assert "**The machine was busy before the run: load average 4.5 on 2 cores.**" in told
    assert "Other virtual machines took 3.2 % of the CPU time" in told
    load = {"load_before": 0.1, "steal_percent": 0.0}
    assert "**" not in render_markdown(empty(environment={"cores": 2, "load": load}))


def test_what_is_missing_is_a_dash_or_left_out():
    nothing, lone, parts = awkward()
    assert list(build_tables(nothing)) == []
    assert "##" not in render_markdown(nothing)
    (row,) = tables(render_markdown(lone))["Latency"][2:]
    assert row[1] == MISSING
    assert row[6:9] == [MISSING] * 3
    assert len(tables(render_markdown(parts))["Latency"]) == 2 + 3


def test_names_cannot_break_a_table():
    made = case(np.random.default_rng(0), HOSTILE, of={"calls": 3}, model=HOSTILE, backend=HOSTILE)
    text = render_markdown(empty(cases=[made], command=f"x\n```\n{HOSTILE}", data=HOSTILE))
    tables(text)
    assert "<img" not in text.replace("    x", "").split("##", 1)[1]
    assert "\x1b" not in text
    assert "a\\|b \\`c\\` &lt;img src=x&gt; \\*d\\* \\[e\\](f)" in text
    assert text.count("\n    x") == 1

"""The summary on a terminal: readable at 80 columns, and it says what is missing."""

import io

import msgspec
import numpy as np
from rich.console import Console

from trimf.bench.report.schema import ModelInfo
from trimf.bench.report.summary import list_shortfalls, render_summary

from .reports import awkward, case, empty, full


def show(report, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render_summary(report))
    return console.file.getvalue()


def test_it_has_the_percentiles_and_the_rates_of_every_case():
    told = show(full())
    assert max(map(len, told.splitlines())) <= 80
    row = next(line for line in told.splitlines() if line.startswith("words, batch 1 "))
    assert len(row.split()) == 3 + 5
    assert "text, batch 32, 2 workers" in told
    assert "trimf-int8, int8, cpu, 1 thread" in told
    assert "F1 of trimf-fp32, %: entities 85.74, relations 65.57" in told
    assert "…" not in told


def test_it_says_what_p99_would_take():
    rng = np.random.default_rng(0)
    report = empty(cases=[case(rng, "one", of={"count": 2, "calls": 46}, batch_size=8)])
    (told,) = list_shortfalls(report.cases)
    seconds = sum(round_.seconds for round_ in report.cases[0].rounds)
    assert "words, batch 8" in told
    assert int(told.rpartition(" ")[2]) >= seconds * 368 / 92
    assert "".join(told.split()) in "".join(show(report).split())
    enough = empty(cases=[case(rng, "one", of={"count": 2, "calls": 184})])
    assert list(list_shortfalls(enough.cases)) == []


def test_little_and_names_that_break_terminals():
    for report in awkward():
        show(report, 40)
    rng = np.random.default_rng(0)
    subject = ModelInfo(name="a\x1b[31m[bold]b", sha256="", precision="int8", products={})
    report = empty(cases=[case(rng, "x", of={"calls": 3}, model=subject.name)], subjects=[subject], data="\x1b]0;x")
    told = show(msgspec.structs.replace(report))
    assert "\x1b" not in told
    assert "[bold]b" in told

"""Summary of a report for the terminal, readable at 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ...runtime.output.plain_text import make_visible
from .markdown_report import (
    describe_input,
    get_precision,
    label_backend,
    list_f1_names,
    list_warnings,
)
from .profile_summary import render_profiles
from .report_table import format_number
from .schema import Case, Report
from .statistics import (
    MIN_SAMPLES,
    compute_speed,
    compute_spread,
    compute_stage_ratio,
    estimate_seconds_needed,
    pool_samples,
    summarize_samples,
)

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

#: Facts about the environment that the summary names.
_MACHINE = ("device", "processor", "cores", "power_mode", "cpu_quota_cores")


def render_summary(report: Report) -> Group:
    """Render the figures that matter most: percentiles, throughput, memory and F1 of each model on each backend.

    Args:
        report: The report.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(make_visible(describe_run(report)))]
    for title, cases in group_cases(report).items():
        parts += ["", Text(make_visible(title), "bold")]
        parts += [table for table in (_tabulate_calls(cases), tabulate_streams(cases)) if table.rows]
    parts += render_profiles(report)
    notes = [*list_warnings(report), *_list_f1(report), *list_shortfalls(report.cases)]
    parts += ["", *(Text(make_visible(note)) for note in notes)] if notes else []
    return Group(*parts)


def list_shortfalls(cases: Sequence[Case]) -> Iterator[str]:
    """Say which cases have too few calls for a percentile, and what would be enough.

    Args:
        cases: Cases of a report.

    Yields:
        One line at most.
    """
    needed = {case.name: seconds for case in cases if (seconds := estimate_seconds_needed(case))}
    if needed:
        names = [describe_input(case) for case in cases if case.name in needed]
        yield (
            f"p99 needs {MIN_SAMPLES[99]} calls of a case (p95: {MIN_SAMPLES[95]}); too few:"
            f" {'; '.join(dict.fromkeys(names))}. Enough for all:"
            f" --seconds {math.ceil(1.1 * max(needed.values()))}"
        )


def describe_run(report: Report) -> str:
    """Describe the machine and the data of a report in one line.

    Args:
        report: The report.
    """
    facts = [report.environment.get(name) for name in _MACHINE]
    names = ["", "", " cores", "", " cores quota"]
    machine = [f"{fact}{name}" for fact, name in zip(facts, names, strict=True) if fact]
    data = f"{report.data or 'unnamed data'}: {report.sentences:,} sentences, {report.words:,} words"
    return f"{', '.join(dict.fromkeys(machine)) or 'unknown machine'}; {data}"


def group_cases(report: Report) -> dict[str, list[Case]]:
    """Group the cases of a report by what runs them.

    Args:
        report: The report.

    Returns:
        Description of model, backend and threads -> cases.
    """
    subjects = {subject.name: subject for subject in report.subjects}
    groups: dict[str, list[Case]] = {}
    for case in report.cases:
        threads = f"{case.threads} thread{'s' * (case.threads > 1)}"
        title = ", ".join((case.model, get_precision(case, subjects), label_backend(case), threads))
        groups.setdefault(title, []).append(case)
    return groups


def _tabulate_calls(cases: Iterable[Case]) -> Table:
    from rich.text import Text

    table = create_table("ms per call", "p50", "p95", "p99", "calls", "× encoder")
    for case in cases:
        figures = summarize_samples(pool_samples(case))
        if figures.n:
            ratio = compute_stage_ratio(case)
            above_encoder = format_number(ratio.value if ratio else None)
            values = [format_number(value) for value in (figures.p50, figures.p95, figures.p99)]
            table.add_row(Text(make_visible(describe_input(case))), *values, f"{figures.n:,}", above_encoder)
    return table


def tabulate_streams(cases: Iterable[Case]) -> Table:
    """Show throughput and memory of streams.

    Args:
        cases: Cases of a report, of any kind.
    """
    from rich.text import Text

    table = create_table("stream", "sentences/s", "words/s", "host MB", "device MB")
    for case in cases:
        speeds = [speed for round_ in case.rounds if (speed := compute_speed(case, [round_]))]
        if case.kind in ("throughput", "soak") and speeds:
            rates = [compute_spread(speed[index] for speed in speeds) for index in (0, 1)]
            devices = [round_.memory.device for round_ in case.rounds if round_.memory.device is not None]
            table.add_row(
                Text(make_visible(describe_input(case))),
                *(
                    format_number(rate.value if rate else None, digits)
                    for rate, digits in zip(rates, (1, 0), strict=True)
                ),
                format_number(max(round_.memory.host for round_ in case.rounds), 0),
                format_number(max(devices, default=None), 0),
            )
    return table


def create_table(first: str, *others: str) -> Table:
    """Create a table without lines, whose first column is text and whose others are figures.

    Args:
        first: Heading of the first column.
        others: Headings of the others.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _list_f1(report: Report) -> Iterator[str]:
    names = list_f1_names(report)
    for subject in report.subjects:
        if subject.f1:
            scores = (f"{name} {subject.f1[name]:.2f}" for name in names if name in subject.f1)
            yield f"F1 of {subject.name}, %: {', '.join(scores)}"

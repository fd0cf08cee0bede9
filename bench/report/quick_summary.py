"""Summary of a quick run for the terminal, readable at 80 columns: each part of the run, and last what failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...runtime.output.plain_text import make_visible
from .markdown_report import describe_input, list_warnings
from .node_shares import count_cpu_nodes
from .quick_tables import describe_captured, find_captured
from .report_table import MISSING, format_number
from .schema import Case, Parity, Report
from .statistics import (
    PRE_CALL_STAGES,
    SampleSummary,
    compute_stage_ratio,
    list_stages,
    pool_samples,
    summarize_samples,
)
from .summary import create_table, describe_run, group_cases, tabulate_streams

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table


def render_quick_summary(report: Report) -> Group:
    """Render the results of a quick run.

    Args:
        report: The report.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(make_visible(describe_run(report)))]
    for title, cases in group_cases(report).items():
        parts += ["", Text(make_visible(title), "bold")]
        calls = [case for case in cases if case.kind == "latency" and case.rounds]
        tables = [_tabulate_calls(report, calls)] if calls else []
        for table in (*tables, tabulate_streams(cases), _tabulate_start(cases)):
            parts += [table, ""] if table.rows else []
    nodes = _tabulate_nodes(report)
    parts += [nodes, ""] if nodes.rows else []
    parts += [Text(make_visible(line)) for parity in report.parities for line in _describe_parity(parity)]
    parts += [Text(make_visible(line)) for line in list_warnings(report)]
    parts += [Text(make_visible(f"FAILED {part}: {reason}"), "red") for reason, part in _group_failures(report).items()]
    return Group(*parts)


def _tabulate_calls(report: Report, cases: Sequence[Case]) -> Table:
    """Show p50 and p90 of calls and stages; a pair of columns for each batch size."""
    from rich.text import Text

    columns = [f"batch {case.batch_size}\n{name}" for case in cases for name in ("p50", "p90")]
    table = create_table("ms per call", *columns)
    stages = list(dict.fromkeys(name for case in cases for name in list_stages(case)))
    rows: dict[str, list[SampleSummary]] = {
        "from raw text": [summarize_samples(_add_up_text(case)) for case in cases],
        "from words": [summarize_samples(pool_samples(case)) for case in cases],
        **{f"  {name}": [summarize_samples(pool_samples(case, name)) for case in cases] for name in stages},
        "plain encoder": [summarize_samples(pool_samples(case, "plain encoder")) for case in cases],
    }
    for name, figures in rows.items():
        if any(figure.n for figure in figures):
            cells = [format_number(value) for figure in figures for value in (figure.p50, figure.p90)]
            table.add_row(Text(make_visible(name)), *cells)
    floors = {
        (floor.model, floor.backend, floor.threads, floor.batch_size): floor.milliseconds for floor in report.floors
    }
    bounds = [floors.get((case.model, case.backend, case.threads, case.batch_size)) for case in cases]
    if any(bounds):
        table.add_row("floor of the encoder", *(cell for bound in bounds for cell in (format_number(bound), "")))
    ratios = [compute_stage_ratio(case) for case in cases]
    if any(ratios):
        values = [format_number(ratio.value if ratio else None) for ratio in ratios]
        table.add_row("from words / plain encoder", *(cell for value in values for cell in (value, "")))
    return table


def _add_up_text(case: Case) -> list[float]:
    """Return the time of each call together with what precedes it; nothing if a part of it was not measured."""
    whole = pool_samples(case)
    parts = [samples for name in PRE_CALL_STAGES if (samples := pool_samples(case, name))]
    complete = bool(pool_samples(case, "split")) and all(len(samples) == len(whole) for samples in parts)
    return [sum(values) for values in zip(whole, *parts, strict=True)] if complete else []


def _tabulate_start(cases: Sequence[Case]) -> Table:
    """Show how long each process took until it was ready, and its memory."""
    from rich.text import Text

    table = create_table("start and memory", "load ms", "first call ms", "warm-up ms", "host MB", "device MB")
    for case in cases:
        for one in case.rounds[:1]:
            table.add_row(
                Text(make_visible(describe_input(case))),
                *(format_number(value, 0) for value in (one.load, one.first, one.warm_up)),
                *(format_number(value, 0) for value in (one.memory.host, one.memory.device)),
            )
    return table


def _tabulate_nodes(report: Report) -> Table:
    """Show the number of nodes of each subgraph, and whether it is captured as a CUDA graph."""
    from rich.text import Text

    table = create_table("graph", "nodes", "on the CPU", "CUDA graph")
    for profile in report.profiles:
        captured = find_captured(report, profile.model, profile.backend)
        for subgraph in profile.subgraphs:
            cpu = count_cpu_nodes(profile, subgraph) if subgraph.runs else None
            nodes = f"{len(subgraph.nodes):,}" if subgraph.runs else MISSING
            elsewhere = MISSING if cpu is None else f"{cpu:,}"
            name = Text(make_visible(subgraph.subgraph))
            table.add_row(name, nodes, elsewhere, describe_captured(captured.get(subgraph.subgraph)))
    return table


def _describe_parity(parity: Parity) -> Iterator[str]:
    figures = {
        "sentences": parity.identical,
        "F1 entities": parity.entities,
        "F1 relations": parity.relations,
        "arcs": parity.arcs,
    }
    stated = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if value is not None)
    verdict = "OUTSIDE THE LIMITS" if parity.failure else "within the limits"
    yield f"parity on {parity.sentences} sentences with {parity.against} (CPU): {verdict}"
    yield f"  the same, %: {stated or 'not stated'}"


def _group_failures(report: Report) -> dict[str, str]:
    """Return the failed parts by their reason, so that one cause is one line."""
    groups: dict[str, list[str]] = {}
    for failed in report.failures:
        groups.setdefault(failed.reason, []).append(failed.part)
    return {reason: "; ".join(parts) for reason, parts in groups.items()}

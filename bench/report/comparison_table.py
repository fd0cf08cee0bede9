"""Render a comparison of two reports for the terminal, readable at 80 columns, or as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...runtime.output.plain_text import make_visible
from .comparison import MIN_DIFFERENCE, QuantityComparison, ReportComparison
from .report_table import MISSING

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

#: Verdict -> short form in the table, with its colour.
_SHORT_VERDICTS = {
    "faster": ("faster", "green"),
    "slower": ("slower", "red"),
    "no difference beyond the noise": ("no difference", ""),
    "no verdict from one round": ("one round", ""),
}


def render_comparison(comparison: ReportComparison) -> Group:
    """Render a comparison as tables for the console, followed by notes and warnings.

    Args:
        comparison: Result of ``compare_reports``.
    """
    from rich.console import Group
    from rich.text import Text

    groups: dict[tuple[str, str], list[QuantityComparison]] = {}
    for line in comparison.lines:
        groups.setdefault((line.runner_a, line.runner_b), []).append(line)
    parts: list[RenderableType] = []
    for (a, b), lines in groups.items():
        titles = [a] if a == b else [f"A: {a}", f"B: {b}"]
        parts += [*(Text(make_visible(title), "bold") for title in titles), _tabulate_lines(lines), ""]
    if comparison.differences:
        parts += [_tabulate_differences(comparison.differences), ""]
    notes = [
        "Times in ms. A ratio below 1 means that B is faster. Each interval is computed separately, without correction"
        f" for multiple comparisons. No difference: below {MIN_DIFFERENCE:.0%}, or not beyond the noise."
        if comparison.lines
        else "The reports have no times of the same case to compare."
    ]
    for letter, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        notes += [f"Only in {letter}: {name}" for name in names]
    notes += [f"Warning: {warning}" for warning in comparison.warnings]
    return Group(*parts, *(Text(make_visible(note)) for note in notes))


def convert_comparison(comparison: ReportComparison) -> dict[str, Any]:
    """Return a comparison as data for JSON.

    Args:
        comparison: Result of ``compare_reports``.
    """
    return {
        **comparison._asdict(),
        "lines": [line._asdict() for line in comparison.lines],
        "differences": [dict(zip(("name", "a", "b"), entry, strict=True)) for entry in comparison.differences],
    }


def _tabulate_lines(lines: Sequence[QuantityComparison]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("case", overflow="fold")
    for name in ("A", "B", "B / A", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    previous = None
    for line in lines:
        suffix = "" if line.quantity == "whole" else line.quantity
        name = line.case if line.case != previous else ""
        label = f"{name} {suffix}".strip() if name else f"  {line.quantity}"
        interval = MISSING if line.low is None else f"{line.low:.3f}–{line.high:.3f}"
        verdict, colour = _SHORT_VERDICTS[line.verdict]
        figures = (f"{line.a:.2f}", f"{line.b:.2f}", f"{line.ratio:.3f}", interval)
        table.add_row(Text(make_visible(label)), *figures, Text(verdict, colour))
        previous = line.case
    return table


def _tabulate_differences(differences: Sequence[tuple[str, str, str]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("what differs", "A", "B"):
        table.add_column(name, overflow="fold")
    for entry in differences:
        table.add_row(*(Text(make_visible(text)) for text in entry))
    return table

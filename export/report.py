"""Rendering of a parity report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def render_report(report: Mapping[str, Any]) -> Group:
    """Render a parity report: errors of the subgraph outputs, comparison of extractions, and the worst sentence.

    Args:
        report: Report as ``parity.compare`` returns it, with the name of the reference under ``against``.

    Returns:
        The tables, to be printed by a rich console.
    """
    against = report["against"]
    errors = Table(
        title=f"error against {against}: absolute, then relative", title_justify="left", box=SIMPLE, padding=0
    )
    errors.add_column("output", no_wrap=True)
    for name in ("max", "mean", "p99", "rel. max", "mean", "p99"):
        errors.add_column(name, justify="right", no_wrap=True, min_width=8)
    for name, error in report["subgraphs"].items():
        values = [statistics[key] for statistics in (error, error["relative"]) for key in ("max", "mean", "p99")]
        errors.add_row(name, *(f"{value:.1e}" for value in values))
    arcs = report.get("arcs")
    parsed = [Text(f"{arcs['identical']:g}% of {arcs['words']} words have the same arc")] if arcs else []
    skipped = [Text(f"outputs of {name} not compared: {reason}") for name, reason in report["skipped"].items()]
    extractions = report["extractions"]
    title = f"{extractions['sentences']} sentences ({extractions['data']}), {extractions['identical']:g}% identical"
    comparison = Table("", "entity F1", "strict relation F1", title=title, title_justify="left", box=SIMPLE)
    rows = (("agreement", f"against {against}"), ("reference", f"gold, {against}"), ("exported", "gold, this bundle"))
    for key, name in rows:
        if scores := extractions.get(key):
            comparison.add_row(name, f"{scores['entities']:.2f}", f"{scores['relations']:.2f}")
    return Group(errors, *parsed, *skipped, comparison, *_render_worst(extractions.get("worst")))


def _render_worst(worst: Mapping[str, Any] | None) -> list[Table]:
    """Render the sentence with the most differences, if any."""
    if worst is None:
        return []
    sentence = escape(f"{worst['id']}: {worst['text']}")
    table = Table("", sentence, title="sentence with the most differences", title_justify="left", box=SIMPLE)
    for key in ("missing", "added"):
        for item in worst[key]:
            table.add_row(key, Text(item))
    return [table]

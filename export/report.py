"""The parity report for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


def tables(report: Mapping[str, Any]) -> Group:
    """Errors of every subgraph's outputs, how whole extractions compare, and the sentence that differs most."""
    against = report["against"]
    errors = Table("output", title=f"error against {against}", title_justify="left")
    for name in ("max", "mean", "p99", "relative max", "mean", "p99"):
        errors.add_column(name, justify="right")
    for name, error in report["subgraphs"].items():
        values = [one[key] for one in (error, error["relative"]) for key in ("max", "mean", "p99")]
        errors.add_row(name, *(f"{value:.2e}" for value in values))
    extractions = report["extractions"]
    title = f"{extractions['sentences']} sentences ({extractions['data']}), {extractions['identical']:g} % identical"
    whole = Table("", "entity F1", "relation strict F1", title=title, title_justify="left")
    rows = (("agreement", f"against {against}"), ("reference", f"gold, {against}"), ("exported", "gold, this bundle"))
    for key, name in rows:
        if scores := extractions.get(key):
            whole.add_row(name, f"{scores['entities']:.2f}", f"{scores['relations']:.2f}")
    return Group(errors, whole, *_worst(extractions.get("worst")))


def _worst(worst: Mapping[str, Any] | None) -> list[Table]:
    if worst is None:
        return []
    table = Table("", Text(f"{worst['id']}: {worst['text']}"), title="the sentence that differs most")
    table.title_justify = "left"
    for key in ("missing", "added"):
        for item in worst[key]:
            table.add_row(key, Text(item))
    return [table]

"""The parity report for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table


def tables(report: Mapping[str, Any]) -> Group:
    """Absolute error of every subgraph's outputs, and how whole extractions compare."""
    errors = Table("output", "max", "mean", "p99", title="error against PyTorch", title_justify="left")
    for name, error in report["subgraphs"].items():
        errors.add_row(name, *(f"{error[key]:.2e}" for key in ("max", "mean", "p99")))
    extractions = report["extractions"]
    title = f"{extractions['sentences']} sentences ({extractions['data']}), {extractions['identical']:g} % identical"
    whole = Table("", "entity F1", "relation strict F1", title=title, title_justify="left")
    for key, name in (("agreement", "against PyTorch"), ("pytorch", "gold, PyTorch"), ("exported", "gold, exported")):
        if scores := extractions.get(key):
            whole.add_row(name, f"{scores['entities']:.2f}", f"{scores['relations']:.2f}")
    return Group(errors, whole)

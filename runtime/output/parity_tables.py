"""Show a parity report as tables, for ``trimf export``, ``trimf verify`` and ``trimf inspect``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan
from typing import Any

import msgspec
from rich.table import Table

from ..bundle.parity_report import (
    ExtractionParity,
    NearTies,
    OutputErrors,
    ParityReport,
    StoredParity,
    VerificationReport,
)
from .plain_table import build_plain_table


def build_parity_tables(report: ParityReport) -> list[Table]:
    """Show a parity report as tables: results, errors of the outputs, skipped subgraphs and verified backends.

    Args:
        report: Report of an export or of a verification, or the parity field of a manifest.

    Returns:
        The tables; those without content are left out.
    """
    against = report.against
    tables = []
    if report.accepted:
        accepted = (("", limit.text) for limit in report.accepted)
        tables.append(build_plain_table("limits exceeded, accepted at the export", "", "", rows=accepted))
    if report.extractions or report.arcs:
        rows = _list_result_rows(report)
        tables.append(build_plain_table(f"parity with {against}", "", "", rows=rows))
    if report.subgraphs:
        columns = ("output", "", "max", "mean", "p99")
        rows = _list_error_rows(report.subgraphs)
        tables.append(build_plain_table(f"output errors against {against}", *columns, rows=rows))
    if report.skipped:
        rows = iter(report.skipped.items())
        tables.append(build_plain_table("subgraphs not compared separately", "subgraph", "reason", rows=rows))
    if isinstance(report, StoredParity) and report.verified:
        columns = ("backend", "against", "on", "identical", "verdict")
        tables.append(build_plain_table("verified", *columns, rows=_list_verified_rows(report.verified)))
    return tables


def _list_result_rows(report: ParityReport) -> Iterator[tuple[str, ...]]:
    if report.extractions:
        yield from _list_extraction_rows(report.extractions, report.against)
    if arcs := report.arcs:
        yield "identical arcs", f"{arcs.identical:g} % of {arcs.words} words"
        if arcs.differing:
            margin = "" if isinstance(arcs.tie_margin, msgspec.UnsetType) else f" (margin below {arcs.tie_margin:.3g})"
            near = f"{arcs.near_ties or 0} of them near ties{margin}"
            yield "differing arcs", f"{arcs.differing} of {arcs.words:,} arcs differ, {near}"


def _list_extraction_rows(extractions: ExtractionParity, against: str) -> Iterator[tuple[str, ...]]:
    yield "compared on", _describe_sentences(extractions)
    if not isnan(extractions.identical):
        yield "identical", f"{extractions.identical:g} %"
    scores = {
        f"F1 against {against}": extractions.agreement,
        f"F1 of {against}": extractions.reference,
        "F1 of the bundle": extractions.exported,
    }
    for name, f1 in scores.items():
        if f1:
            support = "" if f1.support is None else " (support {} and {})".format(*f1.support)
            yield name, f"entities {_format_figure(f1.entities)}, relations {_format_figure(f1.relations)}{support}"
    if ties := extractions.near_ties:
        yield from _list_tie_rows(ties)
    if losses := extractions.losses:
        for kind, loss in (("entities", losses.entities), ("relations", losses.relations)):
            interval = f"95 % interval {loss.low:.2f} to {loss.high:.2f}"
            yield f"lost F1 of {kind}", f"{loss.lost:.2f} points ({interval})"
    if worst := extractions.worst:
        yield "largest difference", worst.text if worst.id is None else f"{worst.id}: {worst.text}"
        yield "  missing", "\n".join(map(_format_item, worst.missing)) or "none"
        yield "  added", "\n".join(map(_format_item, worst.added)) or "none"


def _list_tie_rows(ties: NearTies) -> Iterator[tuple[str, ...]]:
    for kind, counts, margin in zip(
        ("entities", "relations"), (ties.entities, ties.relations), ties.margins or (None, None), strict=True
    ):
        if counts[0]:
            said = "" if margin is None else f" (margin below {margin:.3g})"
            yield f"differing {kind}", f"{counts[0]} differ, {counts[1]} of them near ties{said}"
    if any(counts[1] for counts in (ties.entities, ties.relations)):
        yield "identical but for near ties", f"{_format_figure(ties.identical)} %"


def _list_error_rows(subgraphs: Mapping[str, OutputErrors]) -> Iterator[tuple[str, ...]]:
    for name, absolute in subgraphs.items():
        for kind, error in (("absolute", absolute), ("relative", absolute.relative)):
            if kind == "absolute" or error:
                yield (name, kind, *map(_format_figure, (error.max, error.mean, error.p99)))


def _list_verified_rows(verified: Mapping[str, VerificationReport]) -> Iterator[tuple[str, ...]]:
    for backend, report in verified.items():
        compared = _describe_sentences(report.extractions)
        identical = f"{_format_figure(report.extractions.identical)} %"
        yield backend, report.against, compared, identical, report.failure or "within the limits"


def _describe_sentences(extractions: ExtractionParity) -> str:
    count = f"{extractions.sentences} sentences" if extractions.sentences else "number of sentences not stated"
    return f"{count} ({extractions.data})"


def _format_figure(value: float) -> str:
    return "–" if isnan(value) else f"{value:.4g}"


def _format_item(value: Any) -> str:
    """Return a string as it is and any other value as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

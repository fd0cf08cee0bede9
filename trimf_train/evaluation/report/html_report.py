"""Render a report as one self-contained HTML page.

The page needs no network and no script, and follows the reader's light or dark setting. Texts, labels and names are
untrusted: nothing in them is interpreted as HTML.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trimf.runtime.output.display_sentences import choose_colour, format_score
from trimf.runtime.output.plain_text import make_visible
from trimf.runtime.output.templates import create_environment

from . import charts
from .error_schema import TypeConfusion
from .marked_text import mark_text
from .report_warnings import LITTLE_SUPPORT
from .schema import Comparison, Report
from .score_schema import DifferenceTable, LabelScores, ScoreDifferences, ScoreTable

if TYPE_CHECKING:
    from jinja2 import Template

#: Rows of a table that are shown at once; the rest unfolds.
_SHOWN_ROWS = 15

#: Types up to which confusions are shown as a matrix, and pairs that a list shows otherwise.
_MATRIX_TYPES, _LISTED_PAIRS = 12, 30

#: What each outcome means.
OUTCOMES = {
    "correct": "correct",
    "wrong_type": "wrong type",
    "wrong_boundary": "wrong boundary",
    "wrong_boundary_and_type": "wrong boundary and type",
    "wrong_direction": "wrong direction",
    "wrong_entity": "wrong because of an entity",
    "missed": "missed",
    "spurious": "spurious",
}


class ScoreRow(NamedTuple):
    """Row of a table of scores; ``reported`` marks what the protocol reports."""

    name: str
    scores: LabelScores
    reported: bool = False


class DifferenceRow(NamedTuple):
    """Row of a table of differences between two models."""

    name: str
    scores: ScoreDifferences
    reported: bool = False


class ConfusionMatrix(NamedTuple):
    """Counts by gold type (rows) and predicted type (columns).

    Attributes:
        types: Types of rows and columns.
        rows: Type and counts of each row; the last count is that of gold items without a prediction.
        spurious: Counts of predictions without a gold item, by predicted type.
        most: Largest count of an error.
    """

    types: list[str]
    rows: list[tuple[str, list[int]]]
    spurious: list[int]
    most: int


def render_report(report: Report) -> str:
    """Render the page.

    Args:
        report: The report.

    Returns:
        The HTML text; write it as UTF-8.
    """
    entities, relations, comparison = report.entities, report.relations, report.comparison
    return _load_template().render(
        report=report,
        size=charts,
        little=LITTLE_SUPPORT,
        shown_rows=_SHOWN_ROWS,
        listed_pairs=_LISTED_PAIRS,
        headline=list(_list_headline(report)),
        entity_rows=_sort_rows(entities.scores),
        strict_rows=_sort_rows(relations.strict),
        boundary_rows=_sort_rows(relations.boundary) if relations.boundary != relations.strict else [],
        entity_matrix=build_matrix(entities.types),
        relation_matrix=build_matrix(relations.types),
        entity_pairs=list_confused(entities.types),
        relation_pairs=list_confused(relations.types),
        entity_reliability=charts.draw_reliability("Entities", entities.reliability),
        relation_reliability=charts.draw_reliability("Relations", relations.reliability),
        entity_curve=charts.draw_threshold_curve("Entities", entities.thresholds),
        relation_curve=charts.draw_threshold_curve("Relations", relations.thresholds),
        learning=charts.draw_learning_curve(report.learning_curve) if report.learning_curve else [],
        differences=list(_list_differences(report, comparison)) if comparison else [],
        entity_differences=_sort_differences(comparison.entities) if comparison else [],
        strict_differences=_sort_differences(comparison.strict) if comparison else [],
    )


@cache
def _load_template() -> Template:
    environment = create_environment(make_visible, Path(__file__).parent)
    environment.filters |= {"outcome": OUTCOMES.__getitem__, "score": format_score}
    environment.globals |= {"mark_text": mark_text, "choose_colour": choose_colour}
    return environment.get_template("report.html.j2")


def _list_headline(report: Report) -> Iterator[ScoreRow]:
    tables = {
        "Entities": report.entities.scores,
        "Relations, strict": report.relations.strict,
        "Relations, boundary": report.relations.boundary,
    }
    for name, table in tables.items():
        for average, scores in (("micro", table.micro), ("macro", table.macro)):
            yield ScoreRow(f"{name}, {average}", scores, _is_reported(report, name, average))


def _list_differences(report: Report, comparison: Comparison) -> Iterator[DifferenceRow]:
    tables = {
        "Entities": comparison.entities,
        "Relations, strict": comparison.strict,
        "Relations, boundary": comparison.boundary,
    }
    for name, table in tables.items():
        for average, scores in (("micro", table.micro), ("macro", table.macro)):
            yield DifferenceRow(f"{name}, {average}", scores, _is_reported(report, name, average))


def _is_reported(report: Report, name: str, average: str) -> bool:
    """Return True for the scores that the protocol reports."""
    return average == report.average and name in ("Entities", f"Relations, {report.relation_matching}")


def _sort_rows(table: ScoreTable) -> list[ScoreRow]:
    """Return the rows of all labels, those with most gold items first."""
    rows = (ScoreRow(label, scores) for label, scores in table.per_type.items())
    return sorted(rows, key=lambda row: (-row.scores.support, row.name))


def _sort_differences(table: DifferenceTable) -> list[DifferenceRow]:
    """Return the rows of all labels, those with the largest difference of F1 first."""
    rows = (DifferenceRow(label, scores) for label, scores in table.per_type.items())
    return sorted(rows, key=lambda row: (-abs(row.scores.f1.difference), row.name))


def build_matrix(confusions: Sequence[TypeConfusion]) -> ConfusionMatrix | None:
    """Arrange counts by gold and predicted type; None if there are too many types for a table, or none.

    Args:
        confusions: Counts of pairs of types.
    """
    totals: Counter[str] = Counter()
    counts: Counter[tuple[str | None, str | None]] = Counter()
    for pair in confusions:
        counts[pair.gold, pair.predicted] += pair.count
        totals.update({label: pair.count for label in {pair.gold, pair.predicted} if label is not None})
    types = sorted(totals, key=lambda label: (-totals[label], label))
    if not 0 < len(types) <= _MATRIX_TYPES:
        return None
    rows = [(gold, [*(counts[gold, label] for label in types), counts[gold, None]]) for gold in types]
    most = max((pair.count for pair in confusions if pair.gold != pair.predicted), default=0)
    return ConfusionMatrix(types, rows, [counts[None, label] for label in types], most)


def list_confused(confusions: Sequence[TypeConfusion]) -> list[TypeConfusion]:
    """Return the pairs of different types, most frequent first."""
    return [pair for pair in confusions if pair.gold != pair.predicted and pair.gold and pair.predicted]

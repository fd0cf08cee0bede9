"""Sum a report up in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from .html_report import OUTCOMES
from .schema import EntityReport, RelationReport, Report, ThresholdCurve
from .score_schema import DifferenceTable, Estimate, ScoreTable


def summarize_report(report: Report) -> list[str]:
    """Return the lines that say whether the model is good, where it errs and what threshold to use.

    Args:
        report: The report.
    """
    return list(_list_lines(report))


def _list_lines(report: Report) -> Iterator[str]:
    relations = report.relations.strict if report.relation_matching == "strict" else report.relations.boundary
    yield f"{report.model} on {report.data}: {report.sentences} sentences; {report.protocol}"
    for name, table, kind in (
        ("entities", report.entities.scores, report.entities),
        ("relations", relations, report.relations),
    ):
        yield f"{name}: {_describe_scores(table, report.average)}{_describe_errors(kind)}"
    yield from _describe_threshold("relation", "--threshold", report.relations.thresholds)
    if report.comparison:
        matching = report.comparison.strict if report.relation_matching == "strict" else report.comparison.boundary
        for name, differences in (("entity", report.comparison.entities), ("relation", matching)):
            yield f"{name} F1 {_describe_difference(differences, report.average)} than {report.comparison.other}"
    yield from (f"warning: {warning}" for warning in report.warnings)


def _describe_scores(table: ScoreTable, average: str) -> str:
    scores = table.micro if average == "micro" else table.macro
    return f"F1 {_format(scores.f1)}, precision {_format(scores.precision)}, recall {_format(scores.recall)}"


def _format(estimate: Estimate) -> str:
    interval = f" ({estimate.low:.1f}–{estimate.high:.1f})" if estimate.low is not None else ""
    return f"{estimate.value:.1f}{interval}"


def _describe_errors(kind: EntityReport | RelationReport) -> str:
    errors = {
        OUTCOMES[row.outcome]: max(row.gold or 0, row.predicted or 0)
        for row in kind.outcomes
        if row.outcome != "correct"
    }
    most = [f"{count} {name}" for name, count in sorted(errors.items(), key=lambda item: -item[1]) if count]
    return f"; {', '.join(most)}" if most else ""


def _describe_threshold(name: str, option: str, curve: ThresholdCurve) -> Iterator[str]:
    if curve.best is None:
        return
    line = f"best {name} F1 on this data {curve.best.f1:.1f} with {option} {curve.best.threshold:.2f}"
    if curve.held_out_f1 is not None:
        line += f"; to expect on other data {curve.held_out_f1:.1f}, in use {curve.held_out_current_f1:.1f}"
    yield line


def _describe_difference(table: DifferenceTable, average: str) -> str:
    one = (table.micro if average == "micro" else table.macro).f1
    interval = f" ({one.low:+.1f} to {one.high:+.1f})" if one.low is not None else ""
    share = f", higher in {one.better:.0%} of resamples," if one.better is not None else ""
    return f"{one.difference:+.1f}{interval}{share}"

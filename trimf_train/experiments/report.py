"""Reports of experiments: means and deviations over seeds, as JSON and as Markdown with the paper's results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import Any

import msgspec

from trimf.runtime.output.plain_text import escape_markdown, make_visible, quote_code
from trimf_train.experiments.grids import F1, RECIPE, shares_first_stage
from trimf_train.experiments.triggers.study import TriggerStudy
from trimf_train.experiments.triggers.study_markdown import format_line, format_study

#: Scores of a run that are averaged over seeds, in per cent.
SCORE_NAMES = ("entity precision", "entity recall", "entity f1", "relation precision", "relation recall", "relation f1")


class RunSummary(msgspec.Struct, frozen=True):
    """Result of one seed or fold.

    Attributes:
        seed: The seed.
        held: Name of the held-out file, such as ``test`` or ``fold 0 of 10``.
        folder: Name of the folder of the run.
        epoch: The epoch whose checkpoint was kept.
        seconds: Training time over all epochs.
        figures: The scores ``SCORE_NAMES`` on the held-out file.
        dev: The same scores on the development set; None if there was none.
    """

    seed: int
    held: str
    folder: str
    epoch: int
    seconds: float
    figures: dict[str, float]
    dev: dict[str, float] | None = None


class MeanAndDeviation(msgspec.Struct, frozen=True):
    """Mean and standard deviation over runs; the deviation of a single run is 0."""

    mean: float
    deviation: float


class Difference(msgspec.Struct, frozen=True):
    """Difference in F1 between a row and the first row, in points.

    Attributes:
        mean: Mean over seeds of row minus first row.
        error: Standard error of the mean; None for a single seed.
        verdict: Comparison of the sign with the paper: ``as in the paper``, ``against the paper``, or ``unclear`` if
            the difference is within its standard error, there is a single seed, or the paper's data sets disagree. In
            the recipe experiment ``helps``, ``hurts`` or ``unclear``. None if the paper reports no difference.
    """

    mean: float
    error: float | None
    verdict: str | None = None


class Row(msgspec.Struct, frozen=True):
    """Row of the table; ``paper`` holds the F1 that the paper reports for it, by data set."""

    name: str
    overrides: list[str]
    runs: list[RunSummary]
    figures: dict[str, MeanAndDeviation]
    entity: Difference | None
    relation: Difference | None
    paper: dict[str, F1]


class ThresholdSweep(msgspec.Struct, frozen=True):
    """Relation scores by threshold: means over seeds, and the standard deviation of F1."""

    threshold: list[float]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    deviation: list[float]


class ExperimentReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Results of an experiment, with the settings and the environment that produced them."""

    experiment: str
    title: str
    source: str
    command: str
    protocol: str
    data: str
    held: str
    encoder: str
    parser: str
    seeds: int
    quick: bool
    config: dict[str, Any]
    environment: dict[str, str]
    rows: list[Row]
    sweep: ThresholdSweep | None = None
    triggers: TriggerStudy | None = None


def build_row(
    name: str,
    overrides: Sequence[str],
    runs: Sequence[RunSummary],
    first: Sequence[RunSummary],
    paper: dict[str, tuple[F1, F1]],
    *,
    steps: bool = False,
) -> Row:
    """Aggregate the runs of a row and compare them with the first row.

    Args:
        name: Name of the row.
        overrides: Overrides of the configuration.
        runs: The runs of the row.
        first: The runs of the first row, with the same seeds; the same object as ``runs`` for the first row itself.
        paper: F1 of this row and of the first row in the paper, by data set.
        steps: True for the recipe experiment, whose rows add an option. The rows of other experiments remove a part
            of the model, so that a difference can be compared with the paper.

    Returns:
        The row.
    """
    figures = {name: _average_values([run.figures[name] for run in runs]) for name in SCORE_NAMES}
    entity, relation = (
        None if runs is first else _compare_runs(runs, first, kind, paper, steps) for kind in ("entity", "relation")
    )
    row_paper = {data: pair[0] for data, pair in paper.items()}
    return Row(name, list(overrides), list(runs), figures, entity, relation, row_paper)


def _average_values(values: Sequence[float]) -> MeanAndDeviation:
    return MeanAndDeviation(fmean(values), stdev(values) if len(values) > 1 else 0.0)


def _compare_runs(
    runs: Sequence[RunSummary], first: Sequence[RunSummary], kind: str, paper: dict[str, tuple[F1, F1]], steps: bool
) -> Difference:
    """Compare F1 of entities or relations (``kind``) with the first row, seed by seed."""
    by_seed = {run.seed: run.figures[f"{kind} f1"] for run in first}
    values = [run.figures[f"{kind} f1"] - by_seed[run.seed] for run in runs]
    mean = fmean(values)
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    index = ("entity", "relation").index(kind)
    signs = {
        math.copysign(1, reduced[index] - full[index])
        for reduced, full in paper.values()
        if reduced[index] != full[index]
    }
    if not signs and not steps:
        return Difference(mean, error)
    if error is None or abs(mean) <= error or len(signs) > 1:
        return Difference(mean, error, "unclear")
    if steps:
        return Difference(mean, error, "helps" if mean > 0 else "hurts")
    return Difference(mean, error, "as in the paper" if math.copysign(1, mean) in signs else "against the paper")


def format_markdown(report: ExperimentReport, plot: str | None) -> str:
    """Format a report as a Markdown document.

    Args:
        report: The report.
        plot: File name of the figure, in the same folder; None if there is none.

    Returns:
        The document.
    """
    header = [
        f"{report.protocol}; {report.seeds} {'seed' if report.seeds == 1 else 'seeds'}; scores in per cent on the "
        f"{report.held} part of {quote_code(report.data)}. Encoder {quote_code(report.encoder)}, parser "
        f"{escape_markdown(report.parser)}.",
        "; ".join(escape_markdown(f"{name} {value}") for name, value in report.environment.items()) + ". Command:",
    ]
    # An indented block of code has no fence that the command could close.
    parts = [f"# {report.title} ({report.source})", *header, f"    {make_visible(report.command)}"]
    if report.quick:
        parts.append(
            "**Quick run on a sample with few epochs: it shows that the experiment works, but small differences are "
            "not meaningful.**"
        )
    if shares_first_stage(report.experiment, report.quick):
        parts.append("All rows of a seed start from the same first stage, trained with the model of the first row.")
    parts.append("\n".join(_format_rows(report)))
    if report.triggers is not None:
        parts += format_study(report.triggers)
    if plot:
        parts.append(f"![{report.title}]({plot})")
    return "\n\n".join(parts) + "\n"


def _format_rows(report: ExperimentReport) -> Iterator[str]:
    """Yield the lines of the main table."""
    compares = len(report.rows) > 1
    papers = list(dict.fromkeys(data for row in report.rows for data in row.paper))
    head = ["", "entity P", "R", "F1", *(["Δ"] if compares else []), "relation P", "R", "F1"]
    head += ["Δ", "relations" if report.experiment == RECIPE else "sign of relation Δ"] if compares else []
    for data in papers:
        head += [f"paper, {data}: entity F1", "relation F1", *(["Δ"] if compares else [])]
    yield format_line(head)
    yield format_line(["---", *["---:"] * (len(head) - 1)])
    first = report.rows[0]
    for row in report.rows:
        cells = [row.name]
        for kind, difference in (("entity", row.entity), ("relation", row.relation)):
            cells += [
                _format_figure(row.figures[f"{kind} {part}"], len(row.runs)) for part in ("precision", "recall", "f1")
            ]
            cells += [_format_difference(difference)] if compares else []
        cells += [(row.relation and row.relation.verdict) or ""] if compares else []
        for data in papers:
            paper = row.paper.get(data)
            cells += [f"{value:.2f}" for value in paper] if paper else ["", ""]
            if compares:
                base = first.paper.get(data)
                cells.append(f"{paper[1] - base[1]:+.2f}" if paper and base and row is not first else "")
        yield format_line(cells)


def _format_figure(figure: MeanAndDeviation, runs: int) -> str:
    return f"{figure.mean:.2f} ± {figure.deviation:.2f}" if runs > 1 else f"{figure.mean:.2f}"


def _format_difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    return f"{difference.mean:+.2f}" + (f" ± {difference.error:.2f}" if difference.error is not None else "")

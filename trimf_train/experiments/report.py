"""What an experiment found: rows with means and deviations over seeds, as JSON and as a table beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import Any

import msgspec

from trimf_train.experiments.deletion import RANDOM, Curve
from trimf_train.experiments.grids import F1, RECIPE, shares_start

#: Figures of one run that are aggregated, in per cent.
FIGURES = ("entity precision", "entity recall", "entity f1", "relation precision", "relation recall", "relation f1")


class Run(msgspec.Struct, frozen=True):
    """One seed (or fold): where it trained, its best epoch, and :data:`FIGURES` on the held-out part."""

    seed: int
    held: str
    folder: str
    epoch: int
    seconds: float
    figures: dict[str, float]
    dev: dict[str, float] | None = None


class Figure(msgspec.Struct, frozen=True):
    """Mean over runs, and their standard deviation (0 for one run)."""

    mean: float
    deviation: float


class Difference(msgspec.Struct, frozen=True):
    """What a row has less than the first, in F1 points: the mean over seeds of the difference, and its standard error.

    ``verdict`` compares signs with the paper's: ``as in the paper``, ``against the paper``, or ``unclear`` where the
    difference is within its standard error, or one seed gives none. Of the steps of a recipe it says ``helps``,
    ``hurts``, or likewise ``unclear``.
    """

    mean: float
    error: float | None
    verdict: str | None = None


class Row(msgspec.Struct, frozen=True):
    """A row of the table; ``paper`` the paper's F1 of entities and relations, by data set."""

    name: str
    overrides: list[str]
    runs: list[Run]
    figures: dict[str, Figure]
    entity: Difference | None
    relation: Difference | None
    paper: dict[str, F1]


class Sweep(msgspec.Struct, frozen=True):
    """Relation figures by threshold, means over seeds."""

    threshold: list[float]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    deviation: list[float]


class Example(msgspec.Struct, frozen=True):
    """A relation that was found, and its trigger words (Table 5)."""

    text: str
    head: str
    label: str
    tail: str
    triggers: list[str]


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything an experiment measured, and what it measured it with."""

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
    sweep: Sweep | None = None
    curves: list[Curve] = []
    relations: int = 0
    examples: list[Example] = []


def row(
    name: str,
    overrides: Sequence[str],
    runs: Sequence[Run],
    first: Sequence[Run],
    paper: dict[str, tuple[F1, F1]],
    *,
    steps: bool = False,
) -> Row:
    """The row of these runs; ``first`` are those of the row to compare with, ``paper`` has both rows' figures.

    Rows are ``steps`` that may help, or each leaves something out that the paper says helps.
    """
    figures = {name: _figure([run.figures[name] for run in runs]) for name in FIGURES}
    same = runs is first
    differences = [None if same else _difference(runs, first, kind, paper, steps) for kind in ("entity", "relation")]
    of_row = {data: pair[0] for data, pair in paper.items()}
    return Row(name, list(overrides), list(runs), figures, *differences, of_row)


def _figure(values: Sequence[float]) -> Figure:
    return Figure(fmean(values), stdev(values) if len(values) > 1 else 0.0)


def _difference(
    runs: Sequence[Run], first: Sequence[Run], kind: str, paper: dict[str, tuple[F1, F1]], steps: bool
) -> Difference:
    by_seed = {run.seed: run.figures[f"{kind} f1"] for run in first}
    values = [run.figures[f"{kind} f1"] - by_seed[run.seed] for run in runs]
    mean = fmean(values)
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    place = ("entity", "relation").index(kind)
    signs = {math.copysign(1, own[place] - full[place]) for own, full in paper.values() if own[place] != full[place]}
    if not signs and not steps:
        return Difference(mean, error)
    if error is None or abs(mean) <= error or len(signs) > 1:
        return Difference(mean, error, "unclear")
    if steps:
        return Difference(mean, error, "helps" if mean > 0 else "hurts")
    return Difference(mean, error, "as in the paper" if math.copysign(1, mean) in signs else "against the paper")


def markdown(report: Report, plot: str | None) -> str:
    """The report as a document; ``plot`` is the file beside it."""
    about = [
        f"{report.protocol}; {report.seeds} {'seed' if report.seeds == 1 else 'seeds'}; figures in per cent on the "
        f"{report.held} part of `{report.data}`. Encoder `{report.encoder}`, parses by {report.parser}.",
        "; ".join(f"{name} {value}" for name, value in report.environment.items()) + ". Made by:",
    ]
    parts = [f"# {report.title} ({report.source})", *about, f"```\n{report.command}\n```"]
    if report.quick:
        parts.append("**A quick run: a sample, few epochs. It shows that things work, and no small difference.**")
    if shares_start(report.experiment, report.quick):
        parts.append("All rows begin from one first stage of each seed, which the model of the first row learnt.")
    parts += [
        "\n".join(lines) for lines in (list(_rows(report)), list(_curves(report)), list(_examples(report))) if lines
    ]
    if plot:
        parts.append(f"![{report.title}]({plot})")
    return "\n\n".join(parts) + "\n"


def _rows(report: Report) -> Iterator[str]:
    compares = len(report.rows) > 1
    papers = list(dict.fromkeys(data for one in report.rows for data in one.paper))
    head = ["", "entity P", "R", "F1", *(["Δ"] if compares else []), "relation P", "R", "F1"]
    head += ["Δ", "relations" if report.experiment == RECIPE else "sign of relation Δ"] if compares else []
    for data in papers:
        head += [f"paper, {data}: entity F1", "relation F1", *(["Δ"] if compares else [])]
    yield _line(head)
    yield _line(["---", *["---:"] * (len(head) - 1)])
    first = report.rows[0]
    for one in report.rows:
        cells = [one.name]
        for kind, difference in (("entity", one.entity), ("relation", one.relation)):
            cells += [_shown(one.figures[f"{kind} {part}"], len(one.runs)) for part in ("precision", "recall", "f1")]
            cells += [_delta(difference)] if compares else []
        cells += [(one.relation and one.relation.verdict) or ""] if compares else []
        for data in papers:
            found = one.paper.get(data)
            cells += [f"{value:.2f}" for value in found] if found else ["", ""]
            if compares:
                base = first.paper.get(data)
                cells.append(f"{found[1] - base[1]:+.2f}" if found and base and one is not first else "")
        yield _line(cells)


def _curves(report: Report) -> Iterator[str]:
    if not report.curves:
        return
    ks = report.curves[0].k
    yield (
        f"Mean fall of the probability of {report.relations} relations when k words are deleted, and in brackets that "
        f"over the fall by {RANDOM}:"
    )
    yield ""
    yield _line(["deleted", *(f"k = {k}" for k in ks), "95 % interval of the ratio at k = 3"])
    yield _line(["---", *["---:"] * (len(ks) + 1)])
    at = ks.index(3) if 3 in ks else len(ks) - 1
    for curve in report.curves:
        falls = [f"{fall:.3f} ({ratio:.2f})" for fall, ratio in zip(curve.fall, curve.ratio, strict=True)]
        yield _line([curve.method, *falls, f"{curve.low[at]:.2f}–{curve.high[at]:.2f}"])


def _examples(report: Report) -> Iterator[str]:
    if not report.examples:
        return
    yield _line(["sentence", "relation", "triggers"])
    yield _line(["---"] * 3)
    for one in report.examples:
        yield _line([one.text, f"({one.head}, {one.label}, {one.tail})", ", ".join(one.triggers)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _shown(figure: Figure, runs: int) -> str:
    return f"{figure.mean:.2f} ± {figure.deviation:.2f}" if runs > 1 else f"{figure.mean:.2f}"


def _delta(difference: Difference | None) -> str:
    if difference is None:
        return ""
    return f"{difference.mean:+.2f}" + (f" ± {difference.error:.2f}" if difference.error is not None else "")

"""Count items by sentence or document, and compute scores with bootstrap intervals from the counts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .bootstrap import Array, compute_scores_of_counts, find_interval
from .score_schema import Difference, DifferenceTable, Estimate, LabelScores, ScoreDifferences, ScoreTable

#: Gold and predicted items of a text, whose last part is their label; equal items are the same.
ComparedItems = tuple[Collection[tuple[Any, ...]], Collection[tuple[Any, ...]]]


class ItemCounts(NamedTuple):
    """Items of every unit.

    Attributes:
        labels: Labels, in alphabetical order.
        counts: Correct, predicted and gold items, ``[U, L, 3]``.
    """

    labels: list[str]
    counts: Array


def count_items(texts: Iterable[ComparedItems], units: Sequence[int]) -> ItemCounts:
    """Count the items of each unit and label.

    Args:
        texts: Items of each text.
        units: Number of the unit of each text, counted from 0 without gaps.

    Returns:
        The counts, with the labels that occur in gold or in the predictions.
    """
    sets = [(set(gold) & set(predicted), predicted, gold) for gold, predicted in texts]
    labels = sorted({item[-1] for parts in sets for part in parts for item in part})
    columns = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((max(units, default=-1) + 1, len(labels), 3))
    for unit, parts in zip(units, sets, strict=True):
        for kind, part in enumerate(parts):
            for item in part:
                counts[unit, columns[item[-1]], kind] += 1
    return ItemCounts(labels, counts)


def align_labels(one: ItemCounts, other: ItemCounts) -> tuple[ItemCounts, ItemCounts]:
    """Give two counts of the same units the labels of both."""
    labels = sorted({*one.labels, *other.labels})
    columns = {label: index for index, label in enumerate(labels)}

    def widen(part: ItemCounts) -> ItemCounts:
        wider = np.zeros((len(part.counts), len(labels), 3))
        wider[:, [columns[label] for label in part.labels]] = part.counts
        return ItemCounts(labels, wider)

    return widen(one), widen(other)


def build_score_table(labels: Sequence[str], counts: Array, resampled: Array) -> ScoreTable:
    """Build a table of scores with intervals.

    Args:
        labels: The labels.
        counts: Correct, predicted and gold items, ``[L, 3]``.
        resampled: The same in each resample, ``[R, L, 3]``.

    Returns:
        The table; labels without gold and predictions are left out.
    """
    values = np.nan_to_num(compute_scores_of_counts(counts))
    low, high = find_interval(compute_scores_of_counts(resampled))
    estimates = [
        [Estimate(*figures) for figures in zip(value, map(_to_number, start), map(_to_number, end), strict=True)]
        for value, start, end in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    ]
    rows = [
        LabelScores(precision, recall, f1, support, predicted, correct)
        for (precision, recall, f1), (correct, predicted, support) in zip(estimates, _count_rows(counts), strict=True)
    ]
    named = {label: row for label, row in zip(labels, rows[2:], strict=True) if row.support or row.predicted}
    return ScoreTable(rows[0], rows[1], named)


def build_difference_table(
    labels: Sequence[str], counts: tuple[Array, Array], resampled: tuple[Array, Array]
) -> DifferenceTable:
    """Build a table of the differences between a model and another.

    Args:
        labels: The labels of both.
        counts: Correct, predicted and gold items of each model, ``[L, 3]``.
        resampled: The same in each resample, ``[R, L, 3]``; both models have the same resamples.

    Returns:
        The table; labels without gold and predictions are left out.
    """
    model, other = (np.nan_to_num(compute_scores_of_counts(part)) for part in counts)
    samples = compute_scores_of_counts(resampled[0]) - compute_scores_of_counts(resampled[1])
    interval = find_interval(samples)
    defined = (~np.isnan(samples)).sum(0)
    better, worse = (
        np.divide(count, defined, out=np.full(defined.shape, np.nan), where=defined > 0)
        for count in ((samples > 0).sum(0), (samples < 0).sum(0))
    )
    scores = np.stack([model, other, model - other], -1).tolist()
    doubts = np.stack([*interval, better, worse], -1).tolist()
    differences = [
        [Difference(*known, *map(_to_number, unsure)) for known, unsure in zip(*figures, strict=True)]
        for figures in zip(scores, doubts, strict=True)
    ]
    rows = [
        ScoreDifferences(precision, recall, f1, support)
        for (precision, recall, f1), (_, _, support) in zip(differences, _count_rows(np.maximum(*counts)), strict=True)
    ]
    shown = (counts[0] + counts[1]).sum(-1) > 0
    named = {label: row for label, row, keep in zip(labels, rows[2:], shown.tolist(), strict=True) if keep}
    return DifferenceTable(rows[0], rows[1], named)


def _count_rows(counts: Array) -> list[list[int]]:
    """Return correct, predicted and gold items for micro, macro, and each label."""
    total: list[int] = counts.sum(0).astype(int).tolist()
    return [total, total, *counts.astype(int).tolist()]


def _to_number(value: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value

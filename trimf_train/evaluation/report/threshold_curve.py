"""Compute scores by threshold, and what F1 to expect of a threshold that is chosen on the data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trimf_train.evaluation.annotation import EntityKey, RelationKey

from .bootstrap import Array, compute_scores_of_counts, draw_weights
from .schema import LabelThreshold, ThresholdCurve, ThresholdPoint

#: Thresholds of relations that are tried; the first is the floor of candidates.
RELATION_THRESHOLDS = tuple(hundredths / 100 for hundredths in range(5, 100))

#: Those of entities, which need none: the first keeps all.
ENTITY_THRESHOLDS = (0.0, *RELATION_THRESHOLDS)

#: Resamples that estimate the F1 of a chosen threshold on other data.
_HELD_OUT_RESAMPLES = 200

#: Least number of sentences or documents with gold items for that estimate.
_LEAST_UNITS = 10

_IntArray = npt.NDArray[np.integer[Any]]


class ScoredItems(NamedTuple):
    """Items of one text, whose last part is their label.

    Attributes:
        gold: Gold items.
        predicted: What the model predicts with the thresholds in use.
        scores: Score of whatever the model may predict.
    """

    gold: Collection[EntityKey | RelationKey]
    predicted: Collection[EntityKey | RelationKey]
    scores: Mapping[Any, float]


class _Items(NamedTuple):
    """Items of all texts as columns.

    ``gold`` has the unit and the label of each gold item, ``[2, G]``; ``place`` of each scored item, ``[2, S]``.
    """

    gold: _IntArray
    place: _IntArray
    score: Array
    right: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.bool_]


def build_threshold_curve(
    texts: Sequence[ScoredItems],
    units: Sequence[int],
    current: Mapping[str, float],
    thresholds: Sequence[float],
    seed: int,
) -> ThresholdCurve:
    """Compute scores by threshold.

    Args:
        texts: The items of each text.
        units: Number of the unit of each text, counted from 0 without gaps.
        current: Threshold in use by label.
        thresholds: Thresholds to try, in ascending order.
        seed: Seed of the resamples.

    Returns:
        The curve.
    """
    labels = sorted({key[2] for text in texts for keys in (text.gold, text.scores) for key in keys})
    items = _collect_items(texts, units, labels)
    by_unit, in_use = _count_items(items, 0, max(units, default=-1) + 1, thresholds)
    total = by_unit.sum(0)
    points = [
        ThresholdPoint(threshold, 100.0 * correct / predicted if predicted else None, recall, f1)
        for threshold, (correct, predicted, _), (_, recall, f1) in zip(
            thresholds, total.tolist(), _score(total).tolist(), strict=True
        )
    ]
    best = max(points, key=lambda point: point.f1) if total[0, 2] else None
    held_out = _estimate_held_out(by_unit, in_use, seed)
    return ThresholdCurve(dict(current), points, best, *held_out, list(_choose_by_label(items, labels, thresholds)))


def _collect_items(texts: Sequence[ScoredItems], units: Sequence[int], labels: Sequence[str]) -> _Items:
    columns = {label: index for index, label in enumerate(labels)}
    gold = [(unit, columns[key[2]]) for text, unit in zip(texts, units, strict=True) for key in text.gold]
    scored = [
        (unit, columns[key[2]], score, key in text.gold, key in text.predicted)
        for text, unit in zip(texts, units, strict=True)
        for key, score in text.scores.items()
    ]
    unit, label, score, right, predicted = np.array(scored, np.float64).reshape(-1, 5).T
    place = np.stack([unit, label]).astype(np.int64)
    gold_place = np.array(gold, np.int64).reshape(-1, 2).T
    return _Items(gold_place, place, score, right.astype(np.bool_), predicted.astype(np.bool_))


def _count_items(items: _Items, axis: int, groups: int, thresholds: Sequence[float]) -> tuple[Array, Array]:
    """Count correct, predicted and gold items by unit (``axis`` 0) or by label (1).

    Returns:
        Counts by threshold, ``[G, T, 3]``, and with the thresholds in use, ``[G, 3]``.
    """
    group = items.place[axis]
    gold = np.bincount(items.gold[axis], minlength=groups)
    below = np.searchsorted(thresholds, items.score, side="left")  # number of thresholds that the score exceeds
    size = len(thresholds) + 1
    by_threshold = np.empty((groups, len(thresholds), 3), np.float32)
    in_use = np.empty((groups, 3))
    for column, chosen in enumerate((items.right, np.ones_like(items.right))):
        counts = np.bincount(group[chosen] * size + below[chosen], minlength=groups * size).reshape(groups, size)
        by_threshold[..., column] = counts[:, ::-1].cumsum(1)[:, -2::-1]
        in_use[:, column] = np.bincount(group[chosen & items.predicted], minlength=groups)
    by_threshold[..., 2], in_use[:, 2] = gold[:, None], gold
    return by_threshold, in_use


def _score(counts: Array) -> Array:
    """Return precision, recall and F1 in per cent, 0 where not defined, from counts ``[..., 3]``."""
    return np.nan_to_num(compute_scores_of_counts(counts[..., None, :])[..., 0, :])


def _estimate_held_out(by_unit: Array, in_use: Array, seed: int) -> tuple[float | None, float | None]:
    """Choose a threshold on each resample, and measure F1 on the units that are not in it.

    Returns:
        Mean F1 of the chosen thresholds and of those in use, in per cent; None with too little data.
    """
    units = len(by_unit)
    if np.count_nonzero(in_use[:, 2]) < _LEAST_UNITS:
        return None, None
    figures = []
    flat = by_unit.reshape(units, -1)
    for _, weights in draw_weights(units, _HELD_OUT_RESAMPLES, seed):
        left_out = (weights == 0).astype(np.float32)
        chosen = _score((weights @ flat).reshape(-1, *by_unit.shape[1:]))[..., 2].argmax(1)
        rows = np.arange(len(weights))
        tested = (left_out @ flat).reshape(-1, *by_unit.shape[1:])[rows, chosen]
        figures.append(np.stack([_score(tested)[:, 2], _score(left_out @ in_use)[:, 2]])[:, tested[:, 2] > 0])
    joined = np.concatenate(figures, 1)
    if not joined.shape[1]:
        return None, None
    chosen_f1, current_f1 = joined.mean(1).tolist()
    return chosen_f1, current_f1


def _choose_by_label(items: _Items, labels: Sequence[str], thresholds: Sequence[float]) -> Iterable[LabelThreshold]:
    by_label, in_use = _count_items(items, 1, len(labels), thresholds)
    f1 = _score(by_label)[..., 2]
    current = _score(in_use)[:, 2].tolist()
    for index, label in enumerate(labels):
        if in_use[index, 2]:
            best = int(f1[index].argmax())
            support = int(in_use[index, 2])
            yield LabelThreshold(label, thresholds[best], float(f1[index, best]), current[index], support)

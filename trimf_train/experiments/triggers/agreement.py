"""Compare word weights with the effects of leaving words out, as figures over relations that a bootstrap can weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from trimf.runtime.decoding.span_decoding import FloatArray
from trimf.runtime.text.batch_arrays import BoolArray

from .effects import RelationEffects
from .resampling import Figure

#: Difference in logits up to which two effects are equal; scores of a sentence in different batches differ by less.
TIE = 1e-6


def rank_words(weights: FloatArray) -> list[int]:
    """Return the indices of words by descending weight; of equal ones the first in the sentence comes first."""
    order: list[int] = np.argsort(-weights, kind="stable").tolist()
    return order


def names_first_word(relation: RelationEffects, weights: FloatArray) -> bool:
    """Return True if a method names a word with the largest effect first.

    Args:
        relation: A relation with at least one candidate word.
        weights: Weights of the candidate words by the method; one without a positive weight names none, which is wrong.
    """
    place = int(np.argmax(weights))
    return bool(weights[place] > 0) and bool(_find_largest(relation)[place])


def guess_first_word(relation: RelationEffects) -> float:
    """Return the probability that a random candidate word has the largest effect."""
    return float(np.mean(_find_largest(relation)))


def _find_largest(relation: RelationEffects) -> BoolArray:
    """Return True for the words with the largest effect, ``[C]``; there are several if they tie."""
    largest: BoolArray = relation.logits >= relation.logits.max() - TIE
    return largest


def shows_none(weights: FloatArray) -> bool:
    """Return True if a method shows no word: no candidate has a positive weight."""
    return not bool(np.any(weights > 0))


def mean_over(values: Sequence[float] | Sequence[bool], among: Sequence[bool] | None = None) -> Figure:
    """Create the figure of a weighted mean over relations.

    Args:
        values: Value of each relation, ``[R]``.
        among: The relations to average over; None means all.

    Returns:
        The mean, NaN if no relation has a weight.
    """
    numbers = np.array(values, np.float64)
    chosen = np.ones(len(numbers)) if among is None else np.array(among, np.float64)
    return lambda weights: _divide(weights @ (numbers * chosen), weights @ chosen)


def ratio_of_means(values: Sequence[float] | FloatArray, reference: Sequence[float] | FloatArray) -> Figure:
    """Create the figure of a ratio between two means over the same relations.

    Args:
        values: Value of each relation in the numerator, ``[R]``.
        reference: Value of each relation in the denominator, ``[R]``.

    Returns:
        The ratio, NaN unless the denominator is positive.
    """
    above, below = np.array(values, np.float64), np.array(reference, np.float64)
    return lambda weights: _divide(weights @ above, weights @ below)


def area_under_curve(scores: Sequence[float], positive: Sequence[bool]) -> Figure:
    """Create the figure of the area under the ROC curve: how well scores tell positive relations from the others.

    It is the probability that a random positive relation scores above a random other one; a tie counts as one half.

    Args:
        scores: Score of each relation, ``[R]``.
        positive: The positive relations, ``[R]``.

    Returns:
        The area from 0 to 1, NaN unless there are relations of both kinds.
    """
    order = np.argsort(np.array(scores, np.float64), kind="stable")
    ordered = np.array(scores, np.float64)[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, np.int64)
    is_positive: BoolArray = np.array(positive, np.bool_)[order]

    def compute(weights: FloatArray) -> FloatArray:
        if not len(ordered):
            return np.full(len(weights), np.nan)
        ranked = weights[:, order]
        high = np.add.reduceat(np.where(is_positive, ranked, 0.0), starts, axis=1)
        low = np.add.reduceat(np.where(is_positive, 0.0, ranked), starts, axis=1)
        below = np.cumsum(low, axis=1) - low
        return _divide((high * (below + low / 2)).sum(1), high.sum(1) * low.sum(1))

    return compute


def correlate(one: FloatArray, other: FloatArray) -> float:
    """Return Pearson's correlation of two series; NaN if one of them is constant or has fewer than two values."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def correlate_ranks(one: FloatArray, other: FloatArray) -> float:
    """Return Spearman's correlation of two series, with mean ranks for ties; NaN as for ``correlate``."""
    return correlate(rankdata(one), rankdata(other)) if len(one) else float("nan")


def _divide(above: FloatArray, below: FloatArray) -> FloatArray:
    """Divide where the denominator is positive, NaN elsewhere."""
    result: FloatArray = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return result

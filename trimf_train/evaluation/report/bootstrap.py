"""Resample sentences or documents to find how far scores would differ on other data of the same kind (bootstrap).

Every score is a function of counts, which add up over sentences. So a resample needs no scoring: it is a row of
weights, and all resamples of all labels are one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

#: Ends of a 95 % interval as shares of the sorted resamples.
_TAILS = (0.025, 0.975)

#: Weights that are drawn at once, which bounds the memory.
_BLOCK_WEIGHTS = 1 << 22


class Interval(NamedTuple):
    """95 % intervals of several figures, NaN where a figure is defined in no resample."""

    low: Array
    high: Array


def sum_resamples(tables: Sequence[Array], resamples: int, seed: int) -> list[Array]:
    """Draw resamples of the units with replacement, and sum the counts of each; all tables share the resamples.

    Args:
        tables: Counts of each unit, ``[U, ...]`` with the same U > 0.
        resamples: Number of resamples, R.
        seed: Seed of the random numbers.

    Returns:
        Sums over the units of each resample, ``[R, ...]``, one array per table. One unit gives no resamples, R = 0:
        all would be equal and look certain.
    """
    if len(tables[0]) < 2:
        resamples = 0
    sums = [np.zeros((resamples, *table.shape[1:])) for table in tables]
    units = len(tables[0])
    # Sums of counts stay far below 2 ** 24, up to which float32 is exact.
    flat = [table.reshape(units, -1).astype(np.float32) for table in tables]
    for start, weights in draw_weights(units, resamples, seed):
        rows = slice(start, start + len(weights))
        for table, total in zip(flat, sums, strict=True):
            total[rows] = (weights @ table).reshape(total[rows].shape)
    return sums


def draw_weights(units: int, resamples: int, seed: int) -> Iterator[tuple[int, Array]]:
    """Draw how often each unit is in each resample.

    Args:
        units: Number of units, U.
        resamples: Number of resamples, R.
        seed: Seed of the random numbers.

    Yields:
        Number of the first resample of a block, and its weights, ``[b, U]``; a row sums to U.
    """
    generator = np.random.default_rng(seed)
    block = max(_BLOCK_WEIGHTS // units, 1)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(0, units, size=(size, units))
        drawn += np.arange(size)[:, None] * units
        weights = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        yield start, weights.astype(np.float32)


def compute_scores_of_counts(counts: Array) -> Array:
    """Compute precision, recall and F1 from counts, as ``evaluation.scores`` does.

    Args:
        counts: Correct, predicted and gold items of each label, ``[..., L, 3]``.

    Returns:
        Precision, recall and F1 in per cent, ``[..., 2 + L, 3]``: micro, macro, then each label. They are NaN where a
        denominator is 0. Macro scores are the mean over the labels that occur in gold, where what is not defined counts
        as 0; they are NaN without such a label.
    """
    per_type = _divide(counts)
    in_gold = counts[..., 2] > 0
    labels = in_gold.sum(-1)[..., None, None]
    total = np.where(in_gold[..., None], np.nan_to_num(per_type), 0.0).sum(-2, keepdims=True)
    macro = np.divide(total, labels, out=np.full(total.shape, np.nan), where=labels > 0)
    return np.concatenate([_divide(counts.sum(-2, keepdims=True)), macro, per_type], -2)


def _divide(counts: Array) -> Array:
    """Return precision, recall and F1 in per cent from counts of correct, predicted and gold items, ``[..., 3]``."""
    correct, predicted, gold = np.moveaxis(counts.astype(np.float64), -1, 0)
    parts = np.stack([correct, correct, 2 * correct], -1)
    wholes = np.stack([predicted, gold, predicted + gold], -1)
    scores: Array = np.divide(100.0 * parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)
    return scores


def find_interval(values: Array) -> Interval:
    """Return the 95 % percentile interval over the resamples in which a figure is defined.

    Args:
        values: A figure in each resample, NaN where it is not defined, ``[R, ...]``; R may be 0.

    Returns:
        The ends, each ``[...]``.
    """
    if not len(values):
        values = np.full((1, *values.shape[1:]), np.nan)
    ordered = np.sort(values, axis=0)  # NaN last
    defined = (~np.isnan(ordered)).sum(0)
    ends = []
    for tail in _TAILS:
        place = tail * np.maximum(defined - 1, 0)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(defined - 1, 0))
        low, high = (np.take_along_axis(ordered, index[None], 0)[0] for index in (below, above))
        ends.append(low + (place - below) * (high - low))
    return Interval(*ends)

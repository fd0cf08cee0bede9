"""Estimate figures over relations with 95 % intervals from a bootstrap over their sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from trimf.runtime.decoding.span_decoding import FloatArray
from trimf_train.evaluation.report.bootstrap import draw_weights, find_interval

#: A figure as a function of the weights of the relations, ``[B, R]`` to ``[B]``; NaN where it is not defined.
Figure = Callable[[FloatArray], FloatArray]


class Estimate(msgspec.Struct, frozen=True):
    """Figure with its 95 % interval; None where it is not defined, or a single sentence gives no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Resamples:
    """Resamples of sentences, the same for all figures.

    Args:
        sentences: Number of sentences.
        count: Number of resamples.
        seed: Seed of the random numbers.
    """

    def __init__(self, sentences: int, count: int, seed: int) -> None:
        blocks = [weights for _, weights in draw_weights(sentences, count, seed)] if sentences else []
        self._weights = np.concatenate(blocks) if blocks else np.empty((0, sentences), np.float32)

    def estimate(self, figure: Figure, sentences: Sequence[int]) -> Estimate:
        """Estimate a figure over relations.

        Args:
            figure: The figure.
            sentences: Index of the sentence of each relation, ``[R]``.

        Returns:
            The figure over all relations, and its interval. Relations of one sentence alone have no interval: all
            resamples would be equal and look certain.
        """
        value = as_number(figure(np.ones((1, len(sentences))))[0])
        if value is None or len(set(sentences)) < 2 or not len(self._weights):
            return Estimate(value)
        with np.errstate(divide="ignore", invalid="ignore"):
            interval = find_interval(figure(self._weights[:, list(sentences)].astype(np.float64)))
        return Estimate(value, as_number(float(interval.low)), as_number(float(interval.high)))


def as_number(value: float | np.floating) -> float | None:
    """Return a number for JSON, None for NaN or infinity."""
    return float(value) if math.isfinite(value) else None

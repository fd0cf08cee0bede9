"""Compare the scores of predictions with the share that is correct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trimf_train.evaluation.calibration import CALIBRATION_BINS, measure_calibration

from .schema import Reliability, ReliabilityBin


class JudgedScore(NamedTuple):
    """Score of a prediction or candidate.

    Attributes:
        score: The score, from 0 to 1.
        right: Whether it is in gold.
        predicted: Whether the model predicts it; else it is a candidate.
    """

    score: float
    right: bool
    predicted: bool


def measure_reliability(judged: Sequence[JudgedScore]) -> Reliability:
    """Group scores into intervals of equal width, and compare the mean score with the share that is correct.

    Args:
        judged: Predictions and candidates.

    Returns:
        The bins, and the expected calibration errors of the predictions alone and of all.
    """
    scores = np.array([one.score for one in judged], np.float64)
    right = np.array([one.right for one in judged], np.float64)
    index = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    counts = np.bincount(index, minlength=CALIBRATION_BINS).tolist()
    totals = np.bincount(index, scores, CALIBRATION_BINS).tolist()
    correct = np.bincount(index, right, CALIBRATION_BINS).tolist()
    bins = [
        ReliabilityBin(
            place / CALIBRATION_BINS,
            (place + 1) / CALIBRATION_BINS,
            count,
            total / count if count else None,
            hits / count if count else None,
        )
        for place, (count, total, hits) in enumerate(zip(counts, totals, correct, strict=True))
    ]
    found = [one for one in judged if one.predicted]
    predictions, candidates = (
        measure_calibration([one.score for one in part], [one.right for one in part]) for part in (found, judged)
    )
    return Reliability(predictions["found"], predictions["error"], candidates["found"], candidates["error"], bins)

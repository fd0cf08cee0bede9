"""Define the scores in a report, with their intervals."""

from __future__ import annotations

import msgspec


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A score in per cent with its 95 % bootstrap interval.

    Attributes:
        value: The score on the data; 0 where it is not defined, as ``trimf eval`` prints it.
        low: Lower end of the interval; null if the score is defined in no resample, and with one sentence or document.
        high: Upper end of the interval; null with ``low``.
    """

    value: float
    low: float | None
    high: float | None


class LabelScores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one label or of an average.

    Attributes:
        precision: Share of predictions that are correct.
        recall: Share of gold items that are found.
        f1: Harmonic mean of precision and recall.
        support: Number of gold items.
        predicted: Number of predictions.
        correct: Number of predictions that are correct.
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate
    support: int
    predicted: int
    correct: int


class ScoreTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of entities or of relations under one way of matching.

    Attributes:
        micro: Scores over all items.
        macro: Mean of the scores of the labels that occur in gold.
        per_type: Scores of every label that occurs in gold or in the predictions.
    """

    micro: LabelScores
    macro: LabelScores
    per_type: dict[str, LabelScores]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Difference of a score, model minus other, in percentage points.

    Attributes:
        model: Score of the model, in per cent.
        other: Score of the other model.
        difference: Difference between them.
        low: Lower end of the 95 % interval from a paired bootstrap; null if it is not defined.
        high: Upper end of the interval.
        better: Share of resamples in which the model has the higher score; null if it is not defined.
        worse: Share of resamples in which the other has the higher score.
    """

    model: float
    other: float
    difference: float
    low: float | None
    high: float | None
    better: float | None
    worse: float | None


class ScoreDifferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Differences of the scores of one label or of an average.

    Attributes:
        precision: Difference of precision.
        recall: Difference of recall.
        f1: Difference of F1.
        support: Number of gold items.
    """

    precision: Difference
    recall: Difference
    f1: Difference
    support: int


class DifferenceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Differences of entities or of relations under one way of matching.

    Attributes:
        micro: Over all items.
        macro: Of the means of the labels that occur in gold.
        per_type: Of every label that occurs in gold or in the predictions of a model.
    """

    micro: ScoreDifferences
    macro: ScoreDifferences
    per_type: dict[str, ScoreDifferences]

"""Define the report on a model, as ``trimf report --json`` writes it.

Scores and their intervals are in per cent, shares and the scores of predictions from 0 to 1. A figure that is not
defined is null, never NaN. Offsets count characters of the text beside them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from trimf.runtime.results import build_record_schema
from trimf_train.evaluation.results import UnreachableItems

from .error_schema import ComparedSentence, EntityErrors, OutcomeCount, RelationErrors, TypeConfusion
from .score_schema import DifferenceTable, ScoreTable

#: Version of the structure of a report.
SCHEMA_VERSION = 1


class ReliabilityBin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores within one interval.

    Attributes:
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: Number of scores.
        mean_score: Mean score; null without scores.
        right: Share that is correct; null without scores.
    """

    low: float
    high: float
    count: int
    mean_score: float | None
    right: float | None


class Reliability(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Agreement between scores and the share that is correct.

    Attributes:
        predictions: Number of predictions.
        predictions_error: Expected calibration error of the predictions, as ``trimf eval --calibration`` prints it.
        candidates: Number of predictions and candidates; candidates are what scores above 0.05.
        candidates_error: Expected calibration error of both.
        bins: Predictions and candidates by score.
    """

    predictions: int
    predictions_error: float
    candidates: int
    candidates_error: float
    bins: list[ReliabilityBin]


class ThresholdPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Micro scores with one threshold.

    Attributes:
        threshold: The threshold, which a score must exceed.
        precision: Precision in per cent; null if nothing scores above the threshold.
        recall: Recall in per cent.
        f1: F1 in per cent.
    """

    threshold: float
    precision: float | None
    recall: float
    f1: float


class LabelThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Threshold with the best F1 of one label on this data.

    Attributes:
        label: The label.
        threshold: The threshold.
        f1: F1 with it, in per cent.
        current_f1: F1 with the thresholds in use.
        support: Number of gold items.
    """

    label: str
    threshold: float
    f1: float
    current_f1: float
    support: int


class ThresholdCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores by threshold, the same for all labels.

    Attributes:
        current: Threshold in use by label.
        points: Micro scores by threshold.
        best: The point with the highest F1; null without gold items.
        held_out_f1: F1 to expect of a threshold that is chosen in this way, measured on sentences or documents that
            were not used to choose it (mean over resamples); null with too little data.
        held_out_current_f1: F1 of the thresholds in use on the same sentences or documents.
        per_type: Best threshold of each label with gold items.
    """

    current: dict[str, float]
    points: list[ThresholdPoint]
    best: ThresholdPoint | None
    held_out_f1: float | None
    held_out_current_f1: float | None
    per_type: list[LabelThreshold]


class EntityReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All about entities. An entity is correct if span and type are correct.

    Attributes:
        scores: Precision, recall and F1.
        outcomes: What became of gold and predicted entities.
        types: Which types are confused.
        errors: The worst errors.
        reliability: Agreement between scores and the share that is correct.
        thresholds: Scores by threshold.
    """

    scores: ScoreTable
    outcomes: list[OutcomeCount]
    types: list[TypeConfusion]
    errors: EntityErrors
    reliability: Reliability
    thresholds: ThresholdCurve


class RelationReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All about relations; all but boundary is strict.

    Attributes:
        strict: Precision, recall and F1 where entity types must be correct.
        boundary: The same where they need not.
        outcomes: What became of gold and predicted relations.
        types: Which types are confused.
        errors: The worst errors.
        reliability: Agreement between scores and the share that is correct.
        thresholds: Scores by threshold.
    """

    strict: ScoreTable
    boundary: ScoreTable
    outcomes: list[OutcomeCount]
    types: list[TypeConfusion]
    errors: RelationErrors
    reliability: Reliability
    thresholds: ThresholdCurve


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Model and other model on the same data.

    A sentence is right if its entities and its relations are exactly those of gold.

    Attributes:
        other: The other model.
        entities: Differences of entities.
        strict: Differences of relations, strict.
        boundary: Differences of relations, boundary.
        both_right: Number of sentences that both get right.
        model_right: Number of sentences that the model alone gets right.
        other_right: Number of sentences that the other alone gets right.
        both_wrong: Number of sentences that both get wrong.
        model_right_examples: Some that the model alone gets right.
        other_right_examples: Some that the other alone gets right.
    """

    other: str
    entities: DifferenceTable
    strict: DifferenceTable
    boundary: DifferenceTable
    both_right: int
    model_right: int
    other_right: int
    both_wrong: int
    model_right_examples: list[ComparedSentence]
    other_right_examples: list[ComparedSentence]


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One epoch of training.

    Attributes:
        epoch: Its number.
        stage: Stage of the training.
        losses: Mean losses by name.
        entity_f1: Micro F1 of entities on the development data, in per cent; null without such data.
        relation_f1: Strict micro F1 of relations on the development data.
    """

    epoch: int
    stage: int | str | None
    losses: dict[str, float]
    entity_f1: float | None
    relation_f1: float | None


class LearningCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Course of a training.

    Attributes:
        epochs: The epochs.
        best: Epoch of the checkpoint that was kept; null if it is not known.
    """

    epochs: list[Epoch]
    best: int | None


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Report on a model.

    Attributes:
        schema_version: Version of this schema.
        trimf: Version of TriMF.
        model: The model, as named by the caller.
        data: The data file, as named by the caller.
        protocol: Protocol that says which scores of ``trimf eval`` are reported.
        average: Average of that protocol.
        relation_matching: Matching of relations of that protocol.
        sentences: Number of sentences.
        unit: What was resampled for the intervals.
        units: Number of these.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resamples.
        warnings: What limits the report.
        entities: All about entities.
        relations: All about relations.
        comparison: Comparison with another model, if there is one.
        learning_curve: Course of the training, if the model is a run folder.
        unreachable: Gold items of running text that no prediction of the model can equal; null for sentences of words.
    """

    schema_version: int
    trimf: str
    model: str
    data: str
    protocol: str
    average: Literal["micro", "macro"]
    relation_matching: Literal["strict", "boundary"]
    sentences: int
    unit: Literal["sentences", "documents"]
    units: int
    resamples: int
    seed: int
    warnings: list[str]
    entities: EntityReport
    relations: RelationReport
    comparison: Comparison | None = None
    learning_curve: LearningCurve | None = None
    unreachable: UnreachableItems | None = None


def build_schema() -> dict[str, Any]:
    """Build the JSON schema of a report, in draft 2020-12, with a description of each object and property."""
    return build_record_schema(Report)

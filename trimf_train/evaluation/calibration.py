"""Measure how well the scores of predictions match the share of correct predictions (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.pipeline import SentenceResult
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.annotation import Annotation, gold_annotation, strict_key
from trimf_train.evaluation.prediction import annotation_from_result
from trimf_train.evaluation.results import Calibration, Calibrations

#: Number of equal-width intervals for the expected calibration error.
CALIBRATION_BINS = 15


def measure_calibration(scores: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Measure how well scores match the share of correct predictions.

    The expected calibration error groups the scores into ``CALIBRATION_BINS`` intervals of equal width. It is the mean
    distance between the mean score and the share of correct predictions in each interval, weighted by the number of
    scores in it (Guo et al. 2017).

    Args:
        scores: The score of each prediction, from 0 to 1.
        right: Whether each prediction is correct.

    Returns:
        The calibration of the predictions; all values are 0 if there are none.
    """
    count = max(len(scores), 1)
    distances = [0.0] * CALIBRATION_BINS
    for score, correct in zip(scores, right, strict=True):
        distances[min(int(score * CALIBRATION_BINS), CALIBRATION_BINS - 1)] += score - correct
    return {
        "found": len(scores),
        "score": sum(scores) / count,
        "right": sum(right) / count,
        "error": sum(map(abs, distances)) / count,
    }


class ScoredPredictions(NamedTuple):
    """Scores of all predictions and whether each prediction is correct, as parallel lists per kind."""

    entities: tuple[list[float], list[bool]]
    relations: tuple[list[float], list[bool]]


def score_predictions(
    results: Sequence[SentenceResult], sentences: Sequence[Sentence], labels: Labels
) -> ScoredPredictions:
    """Compare every predicted entity and relation with the gold annotation of its sentence.

    Args:
        results: The pipeline's result for each sentence.
        sentences: The same sentences with gold annotation, in the same order.
        labels: The label names of the model.

    Returns:
        The score of each prediction and whether it is correct; relations are compared strictly.
    """
    predicted = [annotation_from_result(result, labels) for result in results]
    return judge_predictions(results, predicted, map(gold_annotation, sentences), labels.symmetric)


def judge_predictions(
    results: Sequence[SentenceResult],
    predicted: Sequence[Annotation],
    gold: Iterable[Annotation],
    symmetric: Collection[str],
) -> ScoredPredictions:
    """Compare every predicted entity and relation with gold annotation.

    Args:
        results: The pipeline's result for each sentence.
        predicted: The same results as annotation.
        gold: What the annotation of each sentence is compared with.
        symmetric: Relation types whose head and tail may be exchanged.

    Returns:
        The score of each prediction and whether it is correct; relations are compared strictly.
    """
    judged = ScoredPredictions(([], []), ([], []))
    for result, found, expected in zip(results, predicted, gold, strict=True):
        entities = set(expected.entities)
        relations = {strict_key(relation, symmetric) for relation in expected.relations}
        judged.entities[0].extend(entity.score for entity in result.decoded.entities)
        judged.entities[1].extend(entity in entities for entity in found.entities)
        judged.relations[0].extend(relation.score for relation in result.decoded.relations)
        judged.relations[1].extend(strict_key(relation, symmetric) in relations for relation in found.relations)
    return judged


def measure_calibrations(judged: ScoredPredictions) -> Calibrations:
    """Measure the calibration of entities and relations."""
    return {
        "entities": measure_calibration(*judged.entities),
        "relations": measure_calibration(*judged.relations),
    }

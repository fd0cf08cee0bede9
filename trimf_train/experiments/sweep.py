"""Measure relation scores at many thresholds (paper, Figure 5).

One inference pass suffices, because a higher threshold only removes relations.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec

from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.annotation import gold_annotation
from trimf_train.evaluation.prediction import annotation_from_result, run_pipeline
from trimf_train.evaluation.protocols import EvaluationProtocol
from trimf_train.evaluation.results import PrecisionRecallF1
from trimf_train.evaluation.scores import compute_scores
from trimf_train.experiments.report import ThresholdSweep
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint

#: Relation thresholds of the sweep; the first and last stand for 0 and 1, which are not valid thresholds.
THRESHOLDS = (1e-6, *(step / 20 for step in range(1, 20)), 1 - 1e-6)


def score_by_threshold(
    checkpoint: Checkpoint, sentences: Sequence[Sentence], protocol: EvaluationProtocol
) -> list[PrecisionRecallF1]:
    """Compute the reported relation scores at each of ``THRESHOLDS``.

    Args:
        checkpoint: The model.
        sentences: Prepared sentences with gold annotation.
        protocol: The evaluation protocol.

    Returns:
        One score per threshold.
    """
    description = checkpoint.description
    lowest = msgspec.structs.replace(description.decode, relation_threshold=THRESHOLDS[0])
    low = Checkpoint(checkpoint.model, msgspec.structs.replace(description, decode=lowest), checkpoint.tokenizer_json)
    results = run_pipeline(inference.build_pipeline(low), sentences)
    gold = [gold_annotation(sentence) for sentence in sentences]
    labels = description.labels
    scores = []
    for threshold in THRESHOLDS:
        predicted = [annotation_from_result(result, labels, threshold) for result in results]
        scores.append(protocol.relation_scores(compute_scores(gold, predicted, labels.symmetric)))
    return scores


def average_seeds(seeds: Sequence[Sequence[PrecisionRecallF1]]) -> ThresholdSweep:
    """Average the scores of several seeds.

    Args:
        seeds: For each seed, one score per threshold.

    Returns:
        Mean precision, recall and F1 at each threshold, and the standard deviation of F1.
    """
    columns = list(zip(*seeds, strict=True))
    f1 = [[leaf["f1"] for leaf in column] for column in columns]
    return ThresholdSweep(
        threshold=list(THRESHOLDS),
        precision=[fmean(leaf["precision"] for leaf in column) for column in columns],
        recall=[fmean(leaf["recall"] for leaf in column) for column in columns],
        f1=[fmean(values) for values in f1],
        deviation=[stdev(values) if len(values) > 1 else 0.0 for values in f1],
    )

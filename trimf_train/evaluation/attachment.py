"""Compute attachment scores of dependency arcs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trimf_train.evaluation.results import SyntaxScores
from trimf_train.evaluation.scores import to_percent

if TYPE_CHECKING:
    from trimf.runtime.pipeline import DependencyArcs

#: Dependency label that attachment scores ignore.
PUNCTUATION_LABEL = "punct"


def attachment_scores(gold: Iterable[DependencyArcs], predicted: Iterable[DependencyArcs]) -> SyntaxScores:
    """Compute unlabeled and labeled attachment scores, ignoring punctuation.

    Args:
        gold: The gold dependency tree of every sentence.
        predicted: The predicted trees of the same sentences, in the same order.

    Returns:
        UAS and LAS in per cent, and the number of words that were counted.
    """
    words = correct_heads = correct_arcs = 0
    for expected, actual in zip(gold, predicted, strict=True):
        arcs = zip(expected.heads, expected.labels, actual.heads, actual.labels, strict=True)
        for head, label, predicted_head, predicted_label in arcs:
            if label == PUNCTUATION_LABEL:
                continue
            words += 1
            correct_heads += int(head == predicted_head)
            correct_arcs += int(head == predicted_head and label == predicted_label)
    return {"uas": to_percent(correct_heads, words), "las": to_percent(correct_arcs, words), "words": words}

"""Compute precision, recall and F1 of entities and relations, in plain Python (paper, section 4.3).

An entity is correct if its span and its type are correct. In *strict* evaluation, a relation is correct if its type
and the spans and types of both entities are correct. In *boundary* evaluation, entity types are ignored: the relation
type and both spans must be correct. Predictions are compared as sets, so a repeated item counts once. Relations that
differ only in their entity types count as one relation in boundary evaluation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence

from trimf.runtime.errors import InputError
from trimf_train.evaluation.annotation import Annotation, boundary_key, strict_key
from trimf_train.evaluation.results import Evaluation, PrecisionRecallF1, Scores


def compute_scores(
    gold: Sequence[Annotation], predicted: Sequence[Annotation], symmetric: Collection[str] = ()
) -> Evaluation:
    """Compare predictions with gold annotation, sentence by sentence.

    ``macro`` averages precision, recall and F1 over the types that occur in *gold*, so macro F1 is a mean of F1
    values, not the F1 of mean precision and recall. A type that occurs only in the predictions is listed in
    ``per_type`` with support 0; it lowers the micro precision but does not affect the macro scores.

    Source: paper, section 4.3; strict and boundary evaluation as in Bekoulis et al., 2018, and Taillé et al., EMNLP
    2020.

    Args:
        gold: The annotation of every sentence.
        predicted: The predictions for the same sentences, in the same order.
        symmetric: Relation types whose head and tail may be exchanged; both directions count as the same relation.

    Returns:
        The scores of entities and of relations (strict and boundary).

    Raises:
        InputError: ``gold`` and ``predicted`` have different lengths.
    """
    if len(gold) != len(predicted):
        raise InputError(f"predicted must have {len(gold)} sentences, as many as gold; got {len(predicted)}")
    unordered = frozenset(symmetric)

    def score_items(key: Callable[[Annotation], set[tuple[Hashable, str]]]) -> Scores:
        return _compute_scores([(key(expected), key(actual)) for expected, actual in zip(gold, predicted, strict=True)])

    return {
        "sentences": len(gold),
        "entities": score_items(lambda sentence: {((start, end), type) for start, end, type in sentence.entities}),
        "relations": {
            "strict": score_items(
                lambda sentence: {strict_key(relation, unordered) for relation in sentence.relations}
            ),
            "boundary": score_items(
                lambda sentence: {boundary_key(relation, unordered) for relation in sentence.relations}
            ),
        },
    }


def _compute_scores(sentences: Iterable[tuple[set[tuple[Hashable, str]], set[tuple[Hashable, str]]]]) -> Scores:
    """Compute scores from the gold and predicted sets of (item, type) of every sentence."""
    correct: Counter[str] = Counter()
    predictions: Counter[str] = Counter()
    support: Counter[str] = Counter()
    for gold, predicted in sentences:
        support.update(label for _, label in gold)
        predictions.update(label for _, label in predicted)
        correct.update(label for _, label in gold & predicted)
    per_type = {
        label: _score_counts(correct[label], predictions[label], support[label])
        for label in sorted(support | predictions)
    }
    return {
        "micro": _score_counts(correct.total(), predictions.total(), support.total()),
        "macro": _average_scores([leaf for leaf in per_type.values() if leaf["support"]]),
        "per_type": per_type,
    }


def _score_counts(correct: int, predicted: int, support: int) -> PrecisionRecallF1:
    """Compute precision, recall and F1 from counts of correct, predicted and gold items."""
    return {
        "precision": to_percent(correct, predicted),
        "recall": to_percent(correct, support),
        "f1": to_percent(2 * correct, predicted + support),  # equals 2PR/(P+R), without its rounding and its 0/0
        "support": support,
    }


def _average_scores(leaves: list[PrecisionRecallF1]) -> PrecisionRecallF1:
    """Average the scores of several types and sum their support."""
    count = max(len(leaves), 1)
    return {
        "precision": sum(leaf["precision"] for leaf in leaves) / count,
        "recall": sum(leaf["recall"] for leaf in leaves) / count,
        "f1": sum(leaf["f1"] for leaf in leaves) / count,
        "support": sum(leaf["support"] for leaf in leaves),
    }


def to_percent(part: int, total: int) -> float:
    """Return ``part`` as a percentage of ``total``, 0 if ``total`` is 0."""
    return 100.0 * part / total if total else 0.0

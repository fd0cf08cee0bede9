"""Compute precision, recall and F1 of entities and relations, in plain Python (paper, section 4.3).

An entity is correct if its span and its type are correct. In *strict* evaluation, a relation is correct if its type
and the spans and types of both entities are correct. In *boundary* evaluation, entity types are ignored: the relation
type and both spans must be correct. Predictions are compared as sets, so a repeated item counts once. Relations that
differ only in their entity types count as one relation in boundary evaluation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

from trimf.runtime.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group

    from trimf.runtime.pipeline import DependencyArcs

    from ..data.sentence import Sentence

#: Dependency label that attachment scores ignore.
PUNCTUATION_LABEL = "punct"

#: Number of equal-width intervals for the expected calibration error.
CALIBRATION_BINS = 15

#: First word, last word (exclusive), entity type.
EntityKey = tuple[int, int, str]

#: Head entity, tail entity, relation type.
RelationKey = tuple[EntityKey, EntityKey, str]


class Annotation(NamedTuple):
    """Entities and relations of one sentence, gold or predicted; order and repetition do not matter."""

    entities: Iterable[EntityKey]
    relations: Iterable[RelationKey]


class PrecisionRecallF1(TypedDict):
    """Precision, recall and F1 in per cent, 0 where undefined; ``support`` is the number of gold items."""

    precision: float
    recall: float
    f1: float
    support: int


class Scores(TypedDict):
    """Scores of entities or of relations under one protocol.

    ``micro`` is computed over all items; ``macro`` is the mean over the types that occur in gold; ``per_type`` lists
    every type that occurs in gold or in the predictions, in alphabetical order.
    """

    micro: PrecisionRecallF1
    macro: PrecisionRecallF1
    per_type: dict[str, PrecisionRecallF1]


class RelationScores(TypedDict):
    """Relation scores in strict and in boundary evaluation."""

    strict: Scores
    boundary: Scores


class SyntaxScores(TypedDict):
    """Attachment scores in per cent over ``words``, the number of words without punctuation.

    ``uas`` (unlabeled) counts words with the correct head, ``las`` (labeled) words with the correct head and label.
    A root is its own head.
    """

    uas: float
    las: float
    words: int


class Calibration(TypedDict):
    """Agreement between the scores of predictions and the share of correct predictions.

    ``found`` is the number of predictions, ``score`` their mean score, ``right`` the share that is correct, and
    ``error`` the expected calibration error.
    """

    found: int
    score: float
    right: float
    error: float


class Calibrations(TypedDict):
    """Calibration of all predicted entities and of all predicted relations (compared strictly)."""

    entities: Calibration
    relations: Calibration


class Evaluation(TypedDict):
    """Scores of a model on a data set, as printed by ``trimf eval --json``.

    ``syntax`` is present if the model has an in-model parser, ``measure_calibration`` if it was requested.
    """

    sentences: int
    entities: Scores
    relations: RelationScores
    syntax: NotRequired[SyntaxScores]
    calibration: NotRequired[Calibrations]


def gold_annotation(sentence: Sentence) -> Annotation:
    """Return the gold annotation of a sentence record."""
    entities = [(entity.start, entity.end, entity.type) for entity in sentence.entities]
    relations = [(entities[relation.head], entities[relation.tail], relation.type) for relation in sentence.relations]
    return Annotation(entities, relations)


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
                lambda sentence: {_boundary_key(relation, unordered) for relation in sentence.relations}
            ),
        },
    }


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
    return {"uas": _to_percent(correct_heads, words), "las": _to_percent(correct_arcs, words), "words": words}


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


def strict_key(relation: RelationKey, symmetric: Collection[str]) -> tuple[Hashable, str]:
    """Return the key under which two relations count as equal in strict evaluation.

    Args:
        relation: The relation with the spans and types of its entities.
        symmetric: Relation types whose head and tail may be exchanged.

    Returns:
        Both entities, sorted if the relation type is symmetric, and the relation type.
    """
    head, tail, label = relation
    pair = (tuple(head), tuple(tail))
    return (tuple(sorted(pair)) if label in symmetric else pair), label


def _boundary_key(relation: RelationKey, symmetric: frozenset[str]) -> tuple[Hashable, str]:
    """Return the key under which two relations count as equal in boundary evaluation."""
    head, tail, label = relation
    pair = (tuple(head[:2]), tuple(tail[:2]))
    return (tuple(sorted(pair)) if label in symmetric else pair), label


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
        "precision": _to_percent(correct, predicted),
        "recall": _to_percent(correct, support),
        "f1": _to_percent(2 * correct, predicted + support),  # equals 2PR/(P+R), without its rounding and its 0/0
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


def _to_percent(part: int, total: int) -> float:
    """Return ``part`` as a percentage of ``total``, 0 if ``total`` is 0."""
    return 100.0 * part / total if total else 0.0


def build_tables(result: Evaluation) -> Group:
    """Build the tables that ``trimf eval`` prints.

    Args:
        result: The scores of a model.

    Returns:
        One table each for entities, strict relations and boundary relations, with a row per type followed by the
        micro and macro averages; then the tables of dependency arcs and calibration, if ``result`` has them.
    """
    from rich.console import Group
    from rich.table import Table

    parts: Mapping[str, Scores] = {
        "Entities": result["entities"],
        "Relations, strict": result["relations"]["strict"],
        "Relations, boundary": result["relations"]["boundary"],
    }
    tables = []
    for title, scores in parts.items():
        view = Table(title=f"{title} ({result['sentences']} sentences)", title_justify="left")
        view.add_column("type")
        for column in ("precision", "recall", "F1", "support"):
            view.add_column(column, justify="right")
        rows = [*scores["per_type"].items(), ("micro", scores["micro"]), ("macro", scores["macro"])]
        for i, (name, leaf) in enumerate(rows):
            figures = [f"{leaf[key]:.2f}" for key in ("precision", "recall", "f1")]
            view.add_row(name, *figures, str(leaf["support"]), end_section=i == len(scores["per_type"]) - 1)
        tables.append(view)
    if syntax := result.get("syntax"):
        view = Table(title=f"Dependency arcs ({syntax['words']} words without punctuation)", title_justify="left")
        for column in ("UAS", "LAS"):
            view.add_column(column, justify="right")
        view.add_row(f"{syntax['uas']:.2f}", f"{syntax['las']:.2f}")
        tables.append(view)
    if calibrations := result.get("calibration"):
        view = Table(title="Calibration of the scores", title_justify="left")
        for column in ("", "predicted", "mean score", "share correct", "calibration error"):
            view.add_column(column, justify="right" if column else "left")
        for name, measured in (("entities", calibrations["entities"]), ("relations", calibrations["relations"])):
            view.add_row(name, str(measured["found"]), *(f"{measured[key]:.3f}" for key in ("score", "right", "error")))
        tables.append(view)
    return Group(*tables)

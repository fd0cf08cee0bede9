"""Precision, recall and F1 of entities and relations, strict and boundary (model.md §8), in plain Python.

An entity is right if its span and type are. A relation is right, *strict*, if its type and both entities, spans and
types, are; *boundary*, if its type and both spans are. Sets are compared, so a repeated item counts once; two
relations that differ only in entity types are one for *boundary*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

from trimf.runtime.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group

    from trimf.runtime.pipeline import Tree

    from .data.sentence import Sentence

PUNCTUATION = "punct"
"""The label of arcs that attachment scores leave out."""

BINS = 15
"""Intervals of a calibration error."""

Entity = tuple[int, int, str]
"""First word, last word (exclusive), type."""

Relation = tuple[Entity, Entity, str]
"""Head, tail, type."""


class Annotation(NamedTuple):
    """The entities and relations of one sentence, gold or predicted; order and repetition do not matter."""

    entities: Iterable[Entity]
    relations: Iterable[Relation]


class Leaf(TypedDict):
    """Precision, recall and F1 in per cent, 0 where they are 0/0; ``support`` is the number of gold items."""

    precision: float
    recall: float
    f1: float
    support: int


class Scores(TypedDict):
    """``micro`` over all items; ``macro``; and every type that is in gold or was predicted, in alphabetical order."""

    micro: Leaf
    macro: Leaf
    per_type: dict[str, Leaf]


class RelationScores(TypedDict):
    """The two protocols for relations."""

    strict: Scores
    boundary: Scores


class SyntaxScores(TypedDict):
    """Attachment scores in per cent of ``words`` that are no punctuation; roots are their own heads.

    ``uas``: the head is right; ``las``: head and label are.
    """

    uas: float
    las: float
    words: int


class Calibration(TypedDict):
    """Of ``found`` items their mean ``score``, the share that is ``right``, and the expected calibration ``error``."""

    found: int
    score: float
    right: float
    error: float


class Calibrations(TypedDict):
    """The same of all entities and of all relations (strict) that were found."""

    entities: Calibration
    relations: Calibration


class Evaluation(TypedDict):
    """What :func:`evaluate` returns, and ``trimf eval --json`` prints; ``syntax`` where the model parses by itself,
    ``calibration`` where it was asked for.
    """

    sentences: int
    entities: Scores
    relations: RelationScores
    syntax: NotRequired[SyntaxScores]
    calibration: NotRequired[Calibrations]


def annotation(sentence: Sentence) -> Annotation:
    """The gold annotation of a sentence record."""
    entities = [(entity.start, entity.end, entity.type) for entity in sentence.entities]
    relations = [(entities[relation.head], entities[relation.tail], relation.type) for relation in sentence.relations]
    return Annotation(entities, relations)


def evaluate(
    gold: Sequence[Annotation], predicted: Sequence[Annotation], symmetric: Collection[str] = ()
) -> Evaluation:
    """Compare predictions with gold, sentence by sentence.

    ``macro`` is the mean over the types that occur in *gold* of their precision, recall and F1 (so macro F1 is a mean
    of F1 values, not the F1 of the means). A type that was only predicted is in ``per_type`` with support 0; it
    lowers the micro precision, not the macro figures.

    Args:
        gold: The annotation of every sentence.
        predicted: The predictions for the same sentences, in the same order.
        symmetric: The relation types whose head and tail may be exchanged: both directions are one relation.

    Raises:
        InputError: ``gold`` and ``predicted`` are of different lengths.

    Source: §4.3 of the paper; strict and boundary as in Bekoulis et al., 2018, and Taillé et al., EMNLP 2020.
    """
    if len(gold) != len(predicted):
        raise InputError(f"predicted: got {len(predicted)} sentences, expected {len(gold)}, as many as gold")
    unordered = frozenset(symmetric)

    def scores(key: Callable[[Annotation], set[tuple[Hashable, str]]]) -> Scores:
        return _scores([(key(one), key(other)) for one, other in zip(gold, predicted, strict=True)])

    return {
        "sentences": len(gold),
        "entities": scores(lambda sentence: {((start, end), type) for start, end, type in sentence.entities}),
        "relations": {
            "strict": scores(lambda sentence: {strict(relation, unordered) for relation in sentence.relations}),
            "boundary": scores(lambda sentence: {_boundary(relation, unordered) for relation in sentence.relations}),
        },
    }


def attachment(gold: Iterable[Tree], predicted: Iterable[Tree]) -> SyntaxScores:
    """How far predicted arcs agree with those of the same sentences in gold, punctuation left out."""
    words = heads = both = 0
    for one, other in zip(gold, predicted, strict=True):
        for head, label, found, name in zip(one.heads, one.labels, other.heads, other.labels, strict=True):
            if label == PUNCTUATION:
                continue
            words += 1
            heads += int(head == found)
            both += int(head == found and label == name)
    return {"uas": _per_cent(heads, words), "las": _per_cent(both, words), "words": words}


def calibration(scores: Sequence[float], right: Sequence[bool]) -> Calibration:
    """How far scores say how often they are right; all 0 of nothing.

    The expected calibration error is the mean distance between the two in :data:`BINS` intervals of equal width, by
    how many scores each has (Guo et al. 2017).
    """
    count = max(len(scores), 1)
    distances = [0.0] * BINS
    for score, truth in zip(scores, right, strict=True):
        distances[min(int(score * BINS), BINS - 1)] += score - truth
    return {
        "found": len(scores),
        "score": sum(scores) / count,
        "right": sum(right) / count,
        "error": sum(map(abs, distances)) / count,
    }


def strict(relation: Relation, symmetric: Collection[str]) -> tuple[Hashable, str]:
    """What two relations have alike that are the same strictly: both entities, in order unless symmetric, and type."""
    head, tail, label = relation
    pair = (tuple(head), tuple(tail))
    return (tuple(sorted(pair)) if label in symmetric else pair), label


def _boundary(relation: Relation, symmetric: frozenset[str]) -> tuple[Hashable, str]:
    head, tail, label = relation
    pair = (tuple(head[:2]), tuple(tail[:2]))
    return (tuple(sorted(pair)) if label in symmetric else pair), label


def _scores(sentences: Iterable[tuple[set[tuple[Hashable, str]], set[tuple[Hashable, str]]]]) -> Scores:
    """Scores of (gold, predicted) sets of (what, type)."""
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    support: Counter[str] = Counter()
    for gold, predicted in sentences:
        support.update(label for _, label in gold)
        found.update(label for _, label in predicted)
        right.update(label for _, label in gold & predicted)
    per_type = {label: _leaf(right[label], found[label], support[label]) for label in sorted(support | found)}
    return {
        "micro": _leaf(right.total(), found.total(), support.total()),
        "macro": _mean([leaf for leaf in per_type.values() if leaf["support"]]),
        "per_type": per_type,
    }


def _leaf(right: int, found: int, support: int) -> Leaf:
    return {
        "precision": _per_cent(right, found),
        "recall": _per_cent(right, support),
        "f1": _per_cent(2 * right, found + support),  # = 2PR/(P+R), without its rounding and its 0/0
        "support": support,
    }


def _mean(leaves: list[Leaf]) -> Leaf:
    count = max(len(leaves), 1)
    return {
        "precision": sum(leaf["precision"] for leaf in leaves) / count,
        "recall": sum(leaf["recall"] for leaf in leaves) / count,
        "f1": sum(leaf["f1"] for leaf in leaves) / count,
        "support": sum(leaf["support"] for leaf in leaves),
    }


def _per_cent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def table(result: Evaluation) -> Group:
    """Three tables for a terminal (entities, relations strict, relations boundary): one row a type, then the means."""
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
        view = Table(title=f"Arcs ({syntax['words']} words without punctuation)", title_justify="left")
        for column in ("UAS", "LAS"):
            view.add_column(column, justify="right")
        view.add_row(f"{syntax['uas']:.2f}", f"{syntax['las']:.2f}")
        tables.append(view)
    if calibrations := result.get("calibration"):
        view = Table(title="Scores, and how often they are right", title_justify="left")
        for column in ("", "found", "mean score", "right", "calibration error"):
            view.add_column(column, justify="right" if column else "left")
        for name, one in (("entities", calibrations["entities"]), ("relations", calibrations["relations"])):
            view.add_row(name, str(one["found"]), *(f"{one[key]:.3f}" for key in ("score", "right", "error")))
        tables.append(view)
    return Group(*tables)

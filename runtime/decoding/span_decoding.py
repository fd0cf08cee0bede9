"""Decode logits into the entities and relations of a sentence, as word indices (paper, sections 3.1 and 3.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


class EntitySpan(NamedTuple):
    """Entity as a span of words.

    Attributes:
        start: Index of the first word.
        end: Index after the last word.
        type_index: Index of the entity type in ``Labels.entity_types``.
        score: Probability of the entity type.
    """

    start: int
    end: int
    type_index: int
    score: float


class RelationSpan(NamedTuple):
    """Relation between two entities of a sentence.

    Attributes:
        head: Index of the head entity.
        tail: Index of the tail entity.
        type_index: Index of the relation type in ``Labels.relation_types``.
        score: Probability of the relation type.
        trigger_weights: Trigger weight of each word of the sentence, or of one window of it: the word's contribution to
            the relation's logit, negative where it speaks against the relation. It is ``t_ij (E_g C)``, from equations
            (24)-(27), where C is the part of ``W_r M_R^T`` that applies to the trigger context.
        first_word: Index of the word to which ``trigger_weights[0]`` belongs.
        phrase_weights: By how much the logit falls without each word and the stop word after it, if the model estimates
            that; of a word that none follows, the same as for the word alone.
    """

    head: int
    tail: int
    type_index: int
    score: float
    trigger_weights: FloatArray
    first_word: int = 0
    phrase_weights: FloatArray | None = None


class DecodedSentence(NamedTuple):
    """Entities and relations of one sentence.

    Attributes:
        entities: Entities in order of (start, end, type_index).
        relations: Relations in order of (head, tail, type_index).
        entity_candidates: Spans and types above a low floor, in order of (start, end, type_index), if requested.
        relation_candidates: Relations above a low floor, in order of (head, tail, type_index), if requested.
    """

    entities: list[EntitySpan]
    relations: list[RelationSpan]
    entity_candidates: Sequence[EntitySpan] = ()
    relation_candidates: Sequence[RelationSpan] = ()


def sort_by_position(entities: list[EntitySpan]) -> list[EntitySpan]:
    """Sort entities by position (start, end), then by entity type."""
    return sorted(entities, key=lambda entity: entity[:3])


def decode_entities(
    logits: FloatArray, lengths: Sequence[int], overlap: bool, thresholds: Sequence[float] | None = None
) -> list[list[EntitySpan]]:
    """Decode entity logits: a span is an entity if its most probable type is not None (type 0).

    Args:
        logits: Entity logits, ``[B, N, K, n_e+1]``; entry (b, i, w) is the span of words i to i+w (inclusive) of
            sentence b.
        lengths: Number of words of each sentence, ``[B]``. Spans that reach beyond it are ignored.
        overlap: Whether entities may overlap. If False, the highest-scoring of overlapping spans is kept.
        thresholds: Probability that an entity of each type must exceed, ``[n_e]``; one that does not is left out before
            overlapping spans compete. None keeps all.

    Returns:
        The entities of each sentence.
    """
    words, widths, types = logits.shape[1:]
    flat = logits.reshape(-1, types)
    best_types = flat.argmax(1)
    entities: list[list[EntitySpan]] = [[] for _ in lengths]
    for index in best_types.nonzero()[0].tolist():
        span, width = divmod(index, widths)
        row, start = divmod(span, words)
        end = start + width + 1
        if end <= lengths[row]:
            best_type, values = int(best_types[index]), flat[index].tolist()
            best = values[best_type]
            score = 1 / sum([math.exp(value - best) for value in values])
            if thresholds is None or score > thresholds[best_type - 1]:
                entities[row].append(EntitySpan(start, end, best_type - 1, score))
    return entities if overlap else [greedy_non_overlapping(spans) for spans in entities]


def find_entity_candidates(logits: FloatArray, lengths: Sequence[int], floor: float) -> list[list[EntitySpan]]:
    """Find every span and entity type whose probability exceeds a floor, whether or not it is an entity.

    Args:
        logits: Entity logits, ``[B, N, K, n_e+1]``, as in ``decode_entities``.
        lengths: Number of words of each sentence, ``[B]``.
        floor: Probability that a candidate must exceed.

    Returns:
        The candidates of each sentence in order of (start, end, type_index).
    """
    words, widths, types = logits.shape[1:]
    flat = logits.reshape(-1, types)
    # A score above the floor means a logit less than log(1 / floor) below the best one; the rest need no softmax.
    near = (flat[:, 1:] > flat.max(1, keepdims=True) + math.log(floor)).nonzero()
    candidates: list[list[EntitySpan]] = [[] for _ in lengths]
    for index, kind, values in zip(near[0].tolist(), near[1].tolist(), flat[near[0]].tolist(), strict=True):
        span, width = divmod(index, widths)
        row, start = divmod(span, words)
        best = max(values)
        score = math.exp(values[kind + 1] - best) / sum(math.exp(value - best) for value in values)
        if score > floor and start + width + 1 <= lengths[row]:
            candidates[row].append(EntitySpan(start, start + width + 1, kind, score))
    return [sort_by_position(spans) for spans in candidates]


def greedy_non_overlapping(entities: list[EntitySpan]) -> list[EntitySpan]:
    """Remove overlapping entities greedily.

    Args:
        entities: Entities of one sentence.

    Returns:
        The highest-scoring entity, then the highest-scoring entity that shares no word with it, and so on, sorted by
        position. Ties go to the earlier and then the shorter span.
    """
    ordered = sort_by_position(entities)
    if all(before.end <= after.start for before, after in pairwise(ordered)):
        return ordered
    taken: set[int] = set()
    kept = []
    for entity in sorted(entities, key=lambda entity: (-entity.score, entity.start, entity.end)):
        words = range(entity.start, entity.end)
        if taken.isdisjoint(words):
            taken.update(words)
            kept.append(entity)
    return sort_by_position(kept)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Compute the logistic function without overflow, in float64."""
    return np.exp(-np.logaddexp(0, -logits.astype(np.float64)))


def logit(probability: float) -> float:
    """Return the inverse of ``sigmoid``; ±inf at 0 and 1."""
    if not 0 < probability < 1:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def merge_symmetric_relations(relations: list[RelationSpan], symmetric: frozenset[int]) -> list[RelationSpan]:
    """Merge the two directions of symmetric relations.

    Args:
        relations: Relations of one sentence.
        symmetric: Indices of the relation types without direction.

    Returns:
        The relations in order of (head, tail, type_index). A symmetric relation appears once, with the entity that
        comes first as its head and the higher score of the two directions.
    """
    kept: dict[tuple[int, int, int], RelationSpan] = {}
    for relation in relations:
        if relation.type_index in symmetric and relation.head > relation.tail:
            relation = relation._replace(head=relation.tail, tail=relation.head)
        key = relation[:3]
        if key not in kept or kept[key].score < relation.score:
            kept[key] = relation
    return [kept[key] for key in sorted(kept)]

"""From logits to entities and relations of one sentence, in words (paper 3.1, 3.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


class EntitySpan(NamedTuple):
    """Words ``start`` to ``end`` (exclusive) with the number of an entity type (from 0) and its probability."""

    start: int
    end: int
    label: int
    score: float


class RelationSpan(NamedTuple):
    """Entities ``head`` and ``tail`` (indices) with a relation type, its probability and trigger weights.

    ``triggers`` are the weights of the words from ``first`` on, all of the sentence or those of one window of it: what
    each adds to the relation's logit (negative where it speaks against it), ``t_ij (E_g C)`` of paper (24)-(27).
    """

    head: int
    tail: int
    label: int
    score: float
    triggers: FloatArray
    first: int = 0


class Found(NamedTuple):
    """What one sentence holds: entities in order of (start, end), relations in order of (head, tail, label)."""

    entities: list[EntitySpan]
    relations: list[RelationSpan]


def order(entities: list[EntitySpan]) -> list[EntitySpan]:
    """Entities by where they stand."""
    return sorted(entities, key=lambda entity: entity[:3])


def entity_spans(logits: FloatArray, lengths: Sequence[int], overlap: bool) -> list[list[EntitySpan]]:
    """Every span whose likeliest type is not None (type 0).

    ``logits`` ``[B,N,K,n_e+1]`` cover spans of words i to i+w; past a sentence's end (``lengths`` ``[B]``) none counts.
    Without ``overlap`` the surest span wins its words.
    """
    words, widths, types = logits.shape[1:]
    flat = logits.reshape(-1, types)
    best = flat.argmax(1)
    places = best.nonzero()[0]
    found: list[list[EntitySpan]] = [[] for _ in lengths]
    for place, label, values in zip(places.tolist(), best[places].tolist(), flat[places].tolist(), strict=True):
        span, width = divmod(place, widths)
        row, start = divmod(span, words)
        end = start + width + 1
        if end <= lengths[row]:
            score = 1 / sum(math.exp(value - values[label]) for value in values)
            found[row].append(EntitySpan(start, end, label - 1, score))
    return found if overlap else [without_overlap(entities) for entities in found]


def without_overlap(entities: list[EntitySpan]) -> list[EntitySpan]:
    """The surest entity of all, the surest that shares no word with it, and so on."""
    taken: set[int] = set()
    kept = []
    for entity in sorted(entities, key=lambda entity: (-entity.score, entity.start, entity.end)):
        words = range(entity.start, entity.end)
        if taken.isdisjoint(words):
            taken.update(words)
            kept.append(entity)
    return order(kept)


def sigmoid(logits: FloatArray) -> FloatArray:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -logits.astype(np.float64)))


def logit(probability: float) -> float:
    """What :func:`sigmoid` makes ``probability`` of; infinite at 0 and 1."""
    if not 0 < probability < 1:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def fold_symmetric(relations: list[RelationSpan], symmetric: frozenset[int]) -> list[RelationSpan]:
    """A relation type without direction is reported once, from the entity that stands first; the surer score counts."""
    kept: dict[tuple[int, int, int], RelationSpan] = {}
    for relation in relations:
        head, tail = relation.head, relation.tail
        if relation.label in symmetric and head > tail:
            head, tail = tail, head
        key = (head, tail, relation.label)
        if key not in kept or kept[key].score < relation.score:
            kept[key] = relation._replace(head=head, tail=tail)
    return [kept[key] for key in sorted(kept)]

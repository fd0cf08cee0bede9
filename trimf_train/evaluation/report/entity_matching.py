"""Pair gold and predicted entities to say what is wrong with each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from trimf_train.evaluation.annotation import EntityKey

from .error_schema import EntityOutcome


class EntityMatch(NamedTuple):
    """A gold entity, a predicted one, or a pair of both, and what became of it."""

    outcome: EntityOutcome
    gold: EntityKey | None
    predicted: EntityKey | None


def match_entities(gold: Collection[EntityKey], predicted: Collection[EntityKey]) -> list[EntityMatch]:
    """Pair each gold entity with at most one predicted entity.

    Equal entities are paired first, then those with equal spans (wrong type), then those that overlap: with equal types
    (wrong boundary) before others (wrong boundary and type), and with more characters in common before less.

    Args:
        gold: Gold entities of a text.
        predicted: Predicted entities.

    Returns:
        Every gold and every predicted entity exactly once, alone or in a pair, in order of position.
    """
    correct = set(gold) & set(predicted)
    matches = [EntityMatch("correct", entity, entity) for entity in correct]
    missed, spurious = set(gold) - correct, set(predicted) - correct
    for pairs in (_pair_equal_spans, _pair_overlaps):
        for one, other in list(pairs(missed, spurious)):
            if one in missed and other in spurious:
                missed.remove(one)
                spurious.remove(other)
                matches.append(EntityMatch(_compare(one, other), one, other))
    matches += [EntityMatch("missed", entity, None) for entity in missed]
    matches += [EntityMatch("spurious", None, entity) for entity in spurious]
    return sorted(matches, key=lambda match: match.gold or match.predicted or ())


def _pair_equal_spans(
    gold: Collection[EntityKey], predicted: Collection[EntityKey]
) -> Iterator[tuple[EntityKey, EntityKey]]:
    by_span: defaultdict[tuple[int, int], tuple[list[EntityKey], list[EntityKey]]] = defaultdict(lambda: ([], []))
    for side, entities in enumerate((gold, predicted)):
        for entity in sorted(entities):
            by_span[entity[:2]][side].append(entity)
    for ones, others in by_span.values():
        yield from zip(ones, others, strict=False)


def _pair_overlaps(
    gold: Collection[EntityKey], predicted: Collection[EntityKey]
) -> Iterator[tuple[EntityKey, EntityKey]]:
    """Yield the pairs that overlap, the best first; an entity may be in several."""
    pairs = []
    for one in gold:
        for other in predicted:
            common = min(one[1], other[1]) - max(one[0], other[0])
            if common > 0:
                union = max(one[1], other[1]) - min(one[0], other[0])
                pairs.append((one[2] != other[2], -common / union, one, other))
    for _, _, one, other in sorted(pairs):
        yield one, other


def _compare(gold: EntityKey, predicted: EntityKey) -> EntityOutcome:
    if gold[:2] == predicted[:2]:
        return "wrong_type"
    return "wrong_boundary" if gold[2] == predicted[2] else "wrong_boundary_and_type"

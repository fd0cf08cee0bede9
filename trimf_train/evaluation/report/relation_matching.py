"""Pair gold and predicted relations to say what is wrong with each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator
from typing import NamedTuple

from trimf_train.evaluation.annotation import EntityKey, RelationKey

from .error_schema import RelationOutcome


class RelationMatch(NamedTuple):
    """A gold relation, a predicted one, or a pair of both, and what became of it."""

    outcome: RelationOutcome
    gold: RelationKey | None
    predicted: RelationKey | None


def match_relations(
    gold: Collection[RelationKey],
    predicted: Collection[RelationKey],
    gold_entities: Collection[EntityKey],
    predicted_entities: Collection[EntityKey],
) -> list[RelationMatch]:
    """Pair each gold relation with at most one predicted relation.

    Equal relations are paired first, then those of the same type between the same entities the other way round (wrong
    direction), then those between the same entities with another type (wrong type). What is left is wrong because of
    an entity if an entity of a gold relation was not predicted, or an entity of a predicted one is not gold; of these,
    those of the same type whose entities overlap are paired. All else is missed or spurious.

    Args:
        gold: Gold relations of a text, as ``scored_text.sort_ends`` returns them.
        predicted: Predicted relations, likewise.
        gold_entities: Gold entities.
        predicted_entities: Predicted entities.

    Returns:
        Every gold and every predicted relation exactly once, alone or in a pair, in order of position.
    """
    correct = set(gold) & set(predicted)
    matches = [RelationMatch("correct", relation, relation) for relation in correct]
    missed, spurious = set(gold) - correct, set(predicted) - correct

    def pair(outcome: RelationOutcome, pairs: Iterator[tuple[RelationKey, RelationKey]]) -> None:
        for one, other in list(pairs):
            if one in missed and other in spurious:
                missed.remove(one)
                spurious.remove(other)
                matches.append(RelationMatch(outcome, one, other))

    pair("wrong_direction", ((one, _turn(one)) for one in sorted(missed)))
    pair("wrong_type", _pair_equal_entities(missed, spurious, ordered=True))
    pair("wrong_type", _pair_equal_entities(missed, spurious, ordered=False))
    lost = {relation for relation in missed if not {*relation[:2]} <= set(predicted_entities)}
    false = {relation for relation in spurious if not {*relation[:2]} <= set(gold_entities)}
    pair("wrong_entity", _pair_overlaps(lost, false))
    for relation in missed:
        matches.append(RelationMatch("wrong_entity" if relation in lost else "missed", relation, None))
    for relation in spurious:
        matches.append(RelationMatch("wrong_entity" if relation in false else "spurious", None, relation))
    return sorted(matches, key=lambda match: (match.gold or match.predicted or (), match.predicted is None))


def _turn(relation: RelationKey) -> RelationKey:
    head, tail, label = relation
    return tail, head, label


def _pair_equal_entities(
    gold: Collection[RelationKey], predicted: Collection[RelationKey], *, ordered: bool
) -> Iterator[tuple[RelationKey, RelationKey]]:
    """Yield pairs of relations between the same entities, in the same direction or in any."""
    groups: defaultdict[Hashable, tuple[list[RelationKey], list[RelationKey]]] = defaultdict(lambda: ([], []))
    for side, relations in enumerate((gold, predicted)):
        for relation in sorted(relations):
            groups[relation[:2] if ordered else frozenset(relation[:2])][side].append(relation)
    for ones, others in groups.values():
        yield from zip(ones, others, strict=False)


def _pair_overlaps(
    gold: Collection[RelationKey], predicted: Collection[RelationKey]
) -> Iterator[tuple[RelationKey, RelationKey]]:
    """Yield pairs of relations of the same type whose heads overlap and whose tails overlap."""
    for one in sorted(gold):
        for other in sorted(predicted):
            if one[2] == other[2] and all(
                left[0] < right[1] and right[0] < left[1] for left, right in zip(one[:2], other[:2], strict=True)
            ):
                yield one, other

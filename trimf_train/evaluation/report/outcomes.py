"""Count what became of gold and predicted items, and which types are confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

from .entity_matching import EntityMatch
from .error_schema import EntityOutcome, OutcomeCount, RelationOutcome, TypeConfusion
from .relation_matching import RelationMatch

#: Outcomes that pair items by equal spans or entities, so that their types can be compared.
_SAME_PLACE = ("correct", "wrong_type")


def count_outcomes(
    matches: Iterable[EntityMatch | RelationMatch], outcomes: Sequence[EntityOutcome | RelationOutcome]
) -> list[OutcomeCount]:
    """Count the gold and the predicted items with each outcome.

    Args:
        matches: All matches.
        outcomes: The outcomes to list.

    Returns:
        One count per outcome. The counts of gold sum to all gold items, those of predictions to all predictions.
    """
    gold: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    for match in matches:
        gold[match.outcome] += match.gold is not None
        predicted[match.outcome] += match.predicted is not None
    return [
        OutcomeCount(
            outcome,
            *(_count(gold, outcome) if outcome != "spurious" else (None, None)),
            *(_count(predicted, outcome) if outcome != "missed" else (None, None)),
        )
        for outcome in outcomes
    ]


def _count(counts: Counter[str], outcome: str) -> tuple[int, float | None]:
    total = counts.total()
    return counts[outcome], counts[outcome] / total if total else None


def count_type_confusions(matches: Iterable[EntityMatch | RelationMatch]) -> list[TypeConfusion]:
    """Count the pairs of gold type and predicted type, most frequent first.

    Args:
        matches: All matches. Those with equal spans, or with equal entities, are counted as pairs, others as two items
            without a partner.

    Returns:
        The counts; those of a gold type sum to all its gold items, those of a predicted type to all its predictions.
    """
    counts: Counter[tuple[str | None, str | None]] = Counter()
    for match in matches:
        gold = match.gold[2] if match.gold else None
        predicted = match.predicted[2] if match.predicted else None
        if match.outcome in _SAME_PLACE:
            counts[gold, predicted] += 1
        else:
            for pair in ((gold, None), (None, predicted)):
                counts[pair] += pair != (None, None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    return [TypeConfusion(gold, predicted, count) for (gold, predicted), count in ordered if count]


ENTITY_OUTCOMES: tuple[EntityOutcome, ...] = get_args(EntityOutcome)
RELATION_OUTCOMES: tuple[RelationOutcome, ...] = get_args(RelationOutcome)

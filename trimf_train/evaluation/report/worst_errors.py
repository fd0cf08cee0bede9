"""Choose the errors that say most: wrong predictions with high scores, and missed items with low scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from .entity_matching import EntityMatch
from .error_schema import EntityError, EntityErrors, RelationError, RelationErrors
from .passages import cut_passage, shift_link, shift_span
from .relation_matching import RelationMatch
from .scored_text import ScoredText

_Match = TypeVar("_Match", EntityMatch, RelationMatch)


class _Found(NamedTuple):
    """An error with its text; ``number`` is the index of the text, ``score`` is None below the floor of candidates."""

    number: int
    score: float | None


def choose_entity_errors(
    texts: Sequence[ScoredText], matches: Sequence[Sequence[EntityMatch]], limit: int
) -> EntityErrors:
    """Choose the worst errors of entities.

    Args:
        texts: The texts.
        matches: Matches of the entities of each text.
        limit: Maximum number of errors of each kind.

    Returns:
        The errors.
    """
    wrong = [
        (_Found(number, text.predicted.entities[match.predicted]), match)
        for number, (text, found) in enumerate(zip(texts, matches, strict=True))
        for match in found
        if match.predicted and match.outcome != "correct"
    ]
    missed = [
        (_Found(number, text.predicted.entity_candidates.get(match.gold)), match)
        for number, (text, found) in enumerate(zip(texts, matches, strict=True))
        for match in found
        if match.gold and not match.predicted
    ]
    return EntityErrors(
        len(wrong),
        [_build_entity_error(texts, *error) for error in _sort_wrong(wrong)[:limit]],
        len(missed),
        [_build_entity_error(texts, *error) for error in _sort_missed(missed)[:limit]],
    )


def choose_relation_errors(
    texts: Sequence[ScoredText], matches: Sequence[Sequence[RelationMatch]], limit: int
) -> RelationErrors:
    """Choose the worst errors of relations; see ``choose_entity_errors``."""
    wrong = [
        (_Found(number, text.predicted.relations[match.predicted]), match)
        for number, (text, found) in enumerate(zip(texts, matches, strict=True))
        for match in found
        if match.predicted and match.outcome != "correct"
    ]
    missed = [
        (_Found(number, text.predicted.relation_candidates.get(match.gold)), match)
        for number, (text, found) in enumerate(zip(texts, matches, strict=True))
        for match in found
        if match.gold and not match.predicted
    ]
    return RelationErrors(
        len(wrong),
        [_build_relation_error(texts, *error) for error in _sort_wrong(wrong)[:limit]],
        len(missed),
        [_build_relation_error(texts, *error) for error in _sort_missed(missed)[:limit]],
    )


def _sort_wrong(errors: list[tuple[_Found, _Match]]) -> list[tuple[_Found, _Match]]:
    return sorted(errors, key=lambda error: -(error[0].score or 0.0))


def _sort_missed(errors: list[tuple[_Found, _Match]]) -> list[tuple[_Found, _Match]]:
    return sorted(errors, key=lambda error: error[0].score or 0.0)


def _build_entity_error(texts: Sequence[ScoredText], found: _Found, match: EntityMatch) -> EntityError:
    text = texts[found.number]
    spans = [span for span in (match.gold, match.predicted) if span]
    start, end = min(span[0] for span in spans), max(span[1] for span in spans)
    passage = cut_passage(text, found.number + 1, start, end, text.predicted.entities)
    gold = shift_span(text, match.gold, passage.start) if match.gold else None
    predicted = shift_span(text, match.predicted, passage.start) if match.predicted else None
    return EntityError(match.outcome, found.score, gold, predicted, passage)


def _build_relation_error(texts: Sequence[ScoredText], found: _Found, match: RelationMatch) -> RelationError:
    text = texts[found.number]
    spans = [span for relation in (match.gold, match.predicted) if relation for span in relation[:2]]
    start, end = min(span[0] for span in spans), max(span[1] for span in spans)
    passage = cut_passage(text, found.number + 1, start, end, text.predicted.entities)
    gold = shift_link(text, match.gold, passage.start) if match.gold else None
    predicted = shift_link(text, match.predicted, passage.start) if match.predicted else None
    return RelationError(match.outcome, found.score, gold, predicted, passage)

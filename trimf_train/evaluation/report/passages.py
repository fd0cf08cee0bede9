"""Cut the part of a text that shows an error, with the entities in it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from trimf_train.evaluation.annotation import EntityKey, RelationKey

from .error_schema import Link, Passage, Span
from .scored_text import ScoredText

#: Characters of the sentence that are shown before and after an error.
CONTEXT = 240


def cut_passage(
    text: ScoredText, number: int, start: int, end: int, predicted: Iterable[EntityKey], context: int | None = CONTEXT
) -> Passage:
    """Cut the sentences that hold a range of characters, shortened to some context where they are long.

    Args:
        text: The text.
        number: Number of the text in the data, counted from 1.
        start: First character of the range.
        end: Character after its last one.
        predicted: Predicted entities to show.
        context: Characters to show before and after the range; None shows whole sentences.

    Returns:
        The passage, with the gold and predicted entities that lie wholly in it.
    """
    starts = [first for first, _ in text.sentences]
    low = min(starts[max(bisect_right(starts, start) - 1, 0)], start) if starts else start
    high = max(text.sentences[max(bisect_right(starts, max(end - 1, start)) - 1, 0)][1], end) if starts else end
    first, last = low, high
    if context is not None:
        if start - context > low:
            first = text.text.find(" ", start - context, start) + 1 or start - context
        if end + context < high:
            space = text.text.rfind(" ", end, end + context)
            last = space if space >= 0 else end + context
    return Passage(
        text.id,
        number,
        first,
        text.text[first:last],
        (first > low, last < high),
        _select_spans(text, text.gold_entities, first, last),
        _select_spans(text, predicted, first, last),
    )


def _select_spans(text: ScoredText, entities: Iterable[EntityKey], first: int, last: int) -> list[Span]:
    inside = sorted(key for key in entities if first <= key[0] and key[1] <= last)
    return [shift_span(text, key, first) for key in inside]


def shift_span(text: ScoredText, entity: EntityKey, offset: int) -> Span:
    """Return an entity as a span of a passage that begins at ``offset``."""
    start, end, label = entity
    return Span(start - offset, end - offset, label, text.text[start:end])


def shift_link(text: ScoredText, relation: RelationKey, offset: int) -> Link:
    """Return a relation as a link between spans of a passage that begins at ``offset``."""
    head, tail, label = relation
    return Link(shift_span(text, head, offset), label, shift_span(text, tail, offset))

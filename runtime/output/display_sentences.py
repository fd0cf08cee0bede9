"""Prepare extractions for display: split them into sentences, and replace the characters that are unsafe to show.

Text and labels are untrusted. What shows them, shows them through ``make_visible``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from ..results import Entity, Extraction, Relation
from .plain_text import make_visible

#: Number of colours that tell entity types apart, on a console and in ``page.css``.
_COLOUR_COUNT = 8

#: Columns of the table of relations.
RELATION_COLUMNS = ("Head", "Relation", "Tail", "Score", "Triggers")

#: Note on an extraction without entities.
_NOTHING = "No entities found."


class Mark(NamedTuple):
    """A character range of a sentence to mark; the label of a trigger is empty."""

    start: int
    end: int
    label: str


class WordArc(NamedTuple):
    """A word with the index of its head in the sentence (a root has its own index) and its dependency label."""

    word: str
    head: int
    label: str


class DisplaySentence(NamedTuple):
    """A sentence prepared for display; marks are in order and count characters of ``text``."""

    text: str
    entities: list[Mark]
    triggers: list[Mark]
    relations: list[Relation]
    arcs: list[WordArc]


def list_notes(extraction: Extraction) -> list[str]:
    """Return the notices of an extraction, and a note if it has no entities."""
    nothing = [] if extraction.entities else [_NOTHING]
    return nothing + [f"Note: {make_visible(notice)}" for notice in extraction.notices]


def split_sentences(extraction: Extraction) -> Iterator[DisplaySentence]:
    """Yield the sentences of an extraction, each with the entities, relations and words that begin in it."""
    ranges = (extraction.sentences or ((0, len(extraction.text)),)) if extraction.text else ()
    starts = [start for start, _ in ranges]
    entities: list[list[Entity]] = [[] for _ in ranges]
    relations: list[list[Relation]] = [[] for _ in ranges]
    arcs: list[list[WordArc]] = [[] for _ in ranges]
    offsets: list[int] = [0] * len(ranges)
    for index, arc in enumerate(extraction.arcs):
        row = _find_sentence(starts, arc.start)
        if not arcs[row]:
            offsets[row] = index
        arcs[row].append(WordArc(make_visible(arc.text), arc.head - offsets[row], make_visible(arc.label)))
    for entity in extraction.entities:
        entities[_find_sentence(starts, entity.start)].append(entity)
    for relation in extraction.relations:
        relations[_find_sentence(starts, relation.head.start)].append(relation)
    for (start, end), sentence_entities, sentence_relations, words in zip(
        ranges, entities, relations, arcs, strict=True
    ):
        triggers = {(trigger.start, trigger.end) for relation in sentence_relations for trigger in relation.triggers}
        yield DisplaySentence(
            make_visible(extraction.text[start:end]),
            [Mark(entity.start - start, min(entity.end, end) - start, entity.label) for entity in sentence_entities],
            [Mark(first - start, last - start, "") for first, last in sorted(triggers) if start <= first < last <= end],
            sentence_relations,
            words,
        )


def _find_sentence(starts: list[int], position: int) -> int:
    """Return the index of the sentence that a character belongs to."""
    return max(bisect_right(starts, position) - 1, 0)


def choose_colour(label: str) -> int:
    """Return the number of the colour of an entity type, from 0 to 7; it is the same on every page."""
    return sum(label.encode()) % _COLOUR_COUNT


def format_score(score: float) -> str:
    """Format a score from 0 to 1 as it is shown everywhere."""
    return f"{score:.2f}"

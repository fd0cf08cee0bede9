"""Prepare extractions for display: split them into sentences, and replace the characters that are unsafe to show.

Text and labels are untrusted. What shows them, shows them through ``make_visible``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..results import Entity, Extraction, Relation
from .plain_text import make_visible

#: Number of colours that tell entity types apart, on a console and in ``page.css``.
_COLOUR_COUNT = 8

#: Columns of the table of relations; the last one is left out if triggers were not asked for.
RELATION_COLUMNS = ("Head", "Relation", "Tail", "Score", "Triggers")

#: What a relation rests on where no word or phrase matters.
NAMES_ALONE = "the two names and their order"

#: What the cell of a relation shows of which it is not known what it rests on.
UNKNOWN_BASIS = "–"

#: Note on an extraction without entities.
_NOTHING = "No entities found."


class Mark(NamedTuple):
    """A character range of a sentence to mark; the label of a trigger is empty."""

    start: int
    end: int
    label: str


class ShownTrigger(NamedTuple):
    """A trigger with its effect, such as "−31 points without it"; the effect is empty if the score is no loss."""

    text: str
    effect: str
    score: float


class WordArc(NamedTuple):
    """A word with the index of its head in the sentence (a root has its own index) and its dependency label."""

    word: str
    head: int
    label: str


class DisplaySentence(NamedTuple):
    """A sentence prepared for display; marks are in order and count characters of ``text``.

    Triggers overlap neither each other nor an entity.
    """

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
        text = extraction.text[start:end]
        marks = [Mark(entity.start - start, min(entity.end, end) - start, entity.label) for entity in sentence_entities]
        triggers = [
            (trigger.start - start, trigger.end - start)
            for relation in sentence_relations
            for trigger in relation.triggers
            if start <= trigger.start < trigger.end <= end
        ]
        yield DisplaySentence(
            make_visible(text), marks, list(_mark_triggers(text, triggers, marks)), sentence_relations, words
        )


def _find_sentence(starts: list[int], position: int) -> int:
    """Return the index of the sentence that a character belongs to."""
    return max(bisect_right(starts, position) - 1, 0)


def _mark_triggers(text: str, triggers: Iterable[tuple[int, int]], entities: Sequence[Mark]) -> Iterator[Mark]:
    """Yield marks for the characters of triggers outside entities; those of overlapping triggers become one.

    Two relations may rest on phrases that share words, and a phrase may reach into an entity that the caller gave.
    """
    joined: list[list[int]] = []
    for start, end in sorted(triggers):
        if joined and start < joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    for start, end in joined:
        cuts = sorted((entity.start, entity.end) for entity in entities if entity.start < end and start < entity.end)
        for first, last in [*cuts, (end, end)]:
            piece = text[start:first]
            if piece.strip():
                start += len(piece) - len(piece.lstrip())
                yield Mark(start, start + len(piece.strip()), "")
            start = max(start, last)


def shows_triggers(relations: Iterable[Relation]) -> bool:
    """Return True if it is known of a relation what it rests on, so that a table has something to say about it."""
    return any(relation.triggers or relation.basis for relation in relations)


def list_triggers(relation: Relation) -> list[ShownTrigger]:
    """Return the triggers of a relation by decreasing score, as they are shown.

    The score of a trigger is a loss if ``Relation.basis`` says so. It is not in results of bundles of manifest schema 4
    or older, nor in those that earlier versions wrote.
    """
    ordered = sorted(relation.triggers, key=lambda trigger: -trigger.score)
    measured = relation.basis == "words"
    effects = [f"{format_points(trigger.score)} without it" if measured else "" for trigger in ordered]
    return [
        ShownTrigger(make_visible(trigger.text), effect, trigger.score)
        for trigger, effect in zip(ordered, effects, strict=True)
    ]


def format_points(loss: float) -> str:
    """Format what a relation loses as points of probability, such as "−31 points"; a gain has a plus.

    Args:
        loss: The loss, from -1 to 1.
    """
    size = abs(round(100 * loss)) if abs(loss) >= 0.01 else abs(round(100 * loss, 1))
    sign = "" if not size else "−" if loss > 0 else "+"
    return f"{sign}{size:g} point{'s' * (size != 1)}"


def choose_colour(label: str) -> int:
    """Return the number of the colour of an entity type, from 0 to 7; it is the same on every page."""
    return sum(label.encode()) % _COLOUR_COUNT


def format_score(score: float) -> str:
    """Format a score from 0 to 1 as it is shown everywhere."""
    return f"{score:.2f}"

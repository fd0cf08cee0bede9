"""Record types for annotated sentences, shared by all readers and the trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from trimf.runtime.text.parser import Parse


class EntityMention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Gold entity that covers words ``start`` to ``end`` (exclusive) of its sentence."""

    type: str
    start: int
    end: int


class RelationMention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Gold relation; ``head`` and ``tail`` are indices into the entities of its sentence."""

    type: str
    head: int
    tail: int


class Sentence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Sentence of N words with its annotation and, once prepared, its dependency parse.

    ``heads[i]`` is the index of the head of word i; a root is its own head. ``labels[i]`` is the dependency label of
    that arc, as named by the parser. Both are None before ``trimf prepare``. ``id`` identifies the sentence in
    reports.
    """

    tokens: list[str]
    entities: list[EntityMention] = []
    relations: list[RelationMention] = []
    heads: list[int] | None = None
    labels: list[str] | None = None
    id: str = ""


def with_parse(sentence: Sentence, parse: Parse) -> Sentence:
    """Return a copy of a sentence with the dependency parse of a parser.

    Args:
        sentence: The sentence; an existing parse is replaced.
        parse: Heads and labels of its words.

    Returns:
        The copy, with heads as plain integers so that it can be written as JSON.
    """
    return msgspec.structs.replace(sentence, heads=np.asarray(parse.heads).tolist(), labels=list(parse.labels))

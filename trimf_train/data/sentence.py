"""The one record every reader yields and the trainer reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from trimf.runtime.parser import Parse


class EntityMention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A gold entity: words ``start`` to ``end`` (exclusive) of its sentence."""

    type: str
    start: int
    end: int


class RelationMention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A gold relation; ``head`` and ``tail`` are indices into the sentence's entities."""

    type: str
    head: int
    tail: int


class Sentence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One sentence of N words with its annotation and, once prepared, its dependency parse.

    ``heads[i]`` is the index of the head of word i (its own index for a root), ``labels[i]`` the label of that arc as
    the parser names it. Both are None before ``trimf prepare``. ``id`` names the sentence in reports.
    """

    tokens: list[str]
    entities: list[EntityMention] = []
    relations: list[RelationMention] = []
    heads: list[int] | None = None
    labels: list[str] | None = None
    id: str = ""


def with_parse(sentence: Sentence, parse: Parse) -> Sentence:
    """The sentence with a parser's tree, in numbers that JSON has."""
    return msgspec.structs.replace(sentence, heads=np.asarray(parse.heads).tolist(), labels=list(parse.labels))

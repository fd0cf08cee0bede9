"""What an extraction returns: entities, relations and trigger words as immutable values."""

from __future__ import annotations

from typing import Any

import msgspec


class Entity(msgspec.Struct, frozen=True):
    """One typed span of the text.

    ``start`` and ``end`` (exclusive) count characters of the caller's string: ``text == source[start:end]``.
    ``score`` is the softmax probability of ``label`` (paper (26)).
    """

    start: int
    end: int
    text: str
    label: str
    score: float


class Trigger(msgspec.Struct, frozen=True):
    """A word that made the model believe a relation, with what it adds to the relation's logit.

    That is the trigger sensor's weight of the word (paper (24)) times what the word as context says for the relation
    (27). A bundle of an older schema than 5 gives the sensor's weight alone.
    """

    start: int
    end: int
    text: str
    score: float


class Relation(msgspec.Struct, frozen=True):
    """A directed, typed relation between two entities of the same extraction.

    ``score`` is the sigmoid probability of ``label`` (paper (27)); ``triggers`` are ordered by falling weight.
    """

    head: Entity
    label: str
    tail: Entity
    score: float
    triggers: tuple[Trigger, ...] = ()


class Arc(msgspec.Struct, frozen=True):
    """A word and the arc to it in its sentence's dependency parse.

    ``head`` is the index of the word that it depends on in the extraction's ``arcs``, of a root its own; ``label`` is
    the parser's name for the arc, such as "nsubj", of a root "ROOT".
    """

    start: int
    end: int
    text: str
    head: int
    label: str


class Extraction(msgspec.Struct, frozen=True):
    """Everything found in one text.

    ``entities`` are in order of (start, end), ``relations`` in order of head, tail and label. ``sentences`` holds the
    character range of each sentence. ``notices`` says in words what was not treated like the rest (a word too long
    for the tokenizer, a cap that took effect); it is empty for ordinary text. ``arcs`` holds every word of the text
    with its dependency arc, where that was asked for.
    """

    text: str
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    sentences: tuple[tuple[int, int], ...] = ()
    notices: tuple[str, ...] = ()
    arcs: tuple[Arc, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object: ``head`` and ``tail`` of a relation are indices into ``entities``.

        ``notices`` and ``arcs`` are keys only where there are any.
        """
        index = {entity: number for number, entity in enumerate(self.entities)}
        result: dict[str, Any] = {
            "text": self.text,
            "entities": [msgspec.to_builtins(entity) for entity in self.entities],
            "relations": [
                {
                    "head": index[relation.head],
                    "tail": index[relation.tail],
                    "label": relation.label,
                    "score": relation.score,
                    "triggers": [msgspec.to_builtins(trigger) for trigger in relation.triggers],
                }
                for relation in self.relations
            ],
        }
        if self.notices:
            result["notices"] = list(self.notices)
        if self.arcs:
            result["arcs"] = [msgspec.to_builtins(arc) for arc in self.arcs]
        return result

    def to_json(self) -> str:
        """:meth:`to_dict` as one line of JSON."""
        return msgspec.json.encode(self.to_dict()).decode()

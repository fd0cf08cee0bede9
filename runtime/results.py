"""Results of an extraction: entities, relations and trigger words as immutable values."""

from __future__ import annotations

from typing import Any

import msgspec


class Entity(msgspec.Struct, frozen=True):
    """A typed span of the text.

    Attributes:
        start: Index of the first character in the caller's string.
        end: Index after the last character (exclusive): ``text == source[start:end]``.
        text: The characters of the span.
        label: The entity type.
        score: Softmax probability of ``label`` (paper, section 3.6, equation (26)).
    """

    start: int
    end: int
    text: str
    label: str
    score: float


class Trigger(msgspec.Struct, frozen=True):
    """A word that supports a relation.

    Attributes:
        start: Index of the first character in the caller's string.
        end: Index after the last character (exclusive).
        text: The word.
        score: Contribution of the word to the relation's logit: the trigger sensor's attention to the word (paper,
            section 3.5, equation (24)) times the word's own logit for the relation as context (equation (27)). In a
            bundle of manifest schema 4 or older it is the attention only.
    """

    start: int
    end: int
    text: str
    score: float


class Relation(msgspec.Struct, frozen=True):
    """A directed, typed relation between two entities of the same extraction.

    Attributes:
        head: The entity that the relation starts from.
        label: The relation type.
        tail: The entity that the relation points to.
        score: Sigmoid probability of ``label`` (paper, section 3.6, equation (27)).
        triggers: Trigger words in order of decreasing score.
    """

    head: Entity
    label: str
    tail: Entity
    score: float
    triggers: tuple[Trigger, ...] = ()


class Arc(msgspec.Struct, frozen=True):
    """A word with its head in the dependency parse of its sentence.

    Attributes:
        start: Index of the word's first character in the caller's string.
        end: Index after its last character (exclusive).
        text: The word.
        head: Index of the word's head in ``Extraction.arcs``; a root has its own index.
        label: Dependency label as the parser names it, such as "nsubj"; "ROOT" for a root.
    """

    start: int
    end: int
    text: str
    head: int
    label: str


class Extraction(msgspec.Struct, frozen=True):
    """All entities and relations of one text.

    Attributes:
        text: The caller's string.
        entities: Entities in order of (start, end).
        relations: Relations in order of head, tail and label.
        sentences: Character range ``(start, end)`` of each sentence.
        notices: Messages about parts of the text with limited results, such as a word too long for the tokenizer or
            too many entities in a sentence; empty for ordinary text.
        arcs: Every word of the text with its dependency arc; empty unless the extractor was loaded with ``syntax``.
    """

    text: str
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    sentences: tuple[tuple[int, int], ...] = ()
    notices: tuple[str, ...] = ()
    arcs: tuple[Arc, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON object as a dictionary.

        Returns:
            A dictionary with the keys ``text``, ``entities`` and ``relations``; ``notices`` and ``arcs`` are present
            only if they are not empty. ``head`` and ``tail`` of a relation are indices into ``entities``.
        """
        entity_index = {entity: index for index, entity in enumerate(self.entities)}
        result: dict[str, Any] = {
            "text": self.text,
            "entities": [msgspec.to_builtins(entity) for entity in self.entities],
            "relations": [
                {
                    "head": entity_index[relation.head],
                    "tail": entity_index[relation.tail],
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
        """Return ``to_dict`` as one line of JSON."""
        return msgspec.json.encode(self.to_dict()).decode()

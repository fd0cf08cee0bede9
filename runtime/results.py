"""Results of an extraction: entities, relations and trigger words as immutable values."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import Annotated, Any, Literal

import msgspec

from .errors import InputError

#: What a relation rests on: single words or phrases, or only the two names and their order.
Basis = Literal["words", "names"]


class Entity(msgspec.Struct, frozen=True):
    """A typed span of the text.

    Attributes:
        start: Index of the first character in the caller's string.
        end: Index after the last character (exclusive): ``text == source[start:end]``.
        text: The characters of the span.
        label: The entity type.
        score: Softmax probability of ``label`` (paper, section 3.6, equation (26)); of an entity that the caller gave,
            the caller's score.
    """

    start: int
    end: int
    text: str
    label: str
    score: float


class Trigger(msgspec.Struct, frozen=True):
    """A word, or a phrase of adjacent words, that a relation rests on.

    Attributes:
        start: Index of the first character in the caller's string.
        end: Index after the last character (exclusive): ``text == source[start:end]``.
        text: The word or phrase.
        score: Probability that the relation loses without the words, from 0 to 1: measured by leaving them out if the
            extractor was loaded with ``triggers="exact"``, else estimated by the trigger sensor (paper, section 3.5).
            In a bundle of manifest schema 4 or older it is the sensor's attention (equation (24)), which is no loss.
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
        triggers: Words and phrases that the relation rests on, in order of decreasing score.
        basis: ``"words"`` if the relation rests on ``triggers``; ``"names"`` if no word or phrase matters enough to be
            shown, so that it rests on the two names and their order; None if triggers were not asked for, or the model
            cannot say how much a relation loses without a word.
    """

    head: Entity
    label: str
    tail: Entity
    score: float
    triggers: tuple[Trigger, ...] = ()
    basis: Basis | None = None


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


class Candidates(msgspec.Struct, frozen=True):
    """Everything that the model considered in a text above a low floor, whether or not it is in the results.

    Attributes:
        entities: Every span and entity type with a score above the floor, in order of (start, end, label); types of
            the same span compete, so their scores add up to at most 1.
        relations: Every relation type with a score above the floor, between entities of ``Extraction.entities``.
    """

    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()


class Extraction(msgspec.Struct, frozen=True):
    """All entities and relations of one text.

    Attributes:
        text: The caller's string.
        entities: Entities in order of (start, end); those that the caller gave are in the caller's order.
        relations: Relations in order of head, tail and label.
        sentences: Character range ``(start, end)`` of each sentence.
        notices: Messages about parts of the text with limited results, such as a word too long for the tokenizer or
            too many entities in a sentence; empty for ordinary text.
        arcs: Every word of the text with its dependency arc; empty unless the extractor was loaded with ``syntax``.
        error: Why the text could not be read, if this stands in its place (``on_error``); else empty.
        candidates: What the model considered; None unless the extractor was loaded with ``candidates``.
    """

    text: str
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    sentences: tuple[tuple[int, int], ...] = ()
    notices: tuple[str, ...] = ()
    arcs: tuple[Arc, ...] = ()
    error: str = ""
    candidates: Candidates | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON object as a dictionary.

        Returns:
            A dictionary with the keys ``text``, ``entities`` and ``relations``; ``sentences``, ``notices``, ``arcs``,
            ``error`` and ``candidates`` are present only if they are not empty. ``head`` and ``tail`` of a relation are
            indices into ``entities``.
        """
        # Entities of a caller may be equal; an index names the first of them.
        entity_index = {entity: index for index, entity in reversed([*enumerate(self.entities)])}
        result: dict[str, Any] = {
            "text": self.text,
            "entities": [msgspec.to_builtins(entity) for entity in self.entities],
            "relations": _relations_to_builtins(self.relations, entity_index),
        }
        if self.sentences:
            result["sentences"] = [{"start": start, "end": end} for start, end in self.sentences]
        if self.notices:
            result["notices"] = list(self.notices)
        if self.arcs:
            result["arcs"] = [msgspec.to_builtins(arc) for arc in self.arcs]
        if self.error:
            result["error"] = self.error
        if self.candidates is not None:
            result["candidates"] = {
                "entities": [msgspec.to_builtins(entity) for entity in self.candidates.entities],
                "relations": _relations_to_builtins(self.candidates.relations, entity_index),
            }
        return result

    def to_json(self) -> str:
        """Return ``to_dict`` as one line of JSON."""
        return msgspec.json.encode(self.to_dict()).decode()

    def to_triples(self) -> list[dict[str, Any]]:
        """Return the relations as rows of a table or edges of a graph.

        Returns:
            A dictionary for each relation with the keys ``TRIPLE_KEYS``: ``head``, ``tail``, ``sentence`` (of the head)
            and each of ``triggers`` are text; ``head_start`` and the like are indices of characters of ``text``.
            ``points`` has for each trigger the loss of the relation without it in points of probability, from 0 to 100,
            and is empty where that is not known; ``basis`` is that of the relation.
        """
        rows = []
        starts = [start for start, _ in self.sentences]
        for relation in self.relations:
            head, tail = relation.head, relation.tail
            index = bisect_right(starts, head.start) - 1
            sentence = self.text[slice(*self.sentences[index])] if index >= 0 else self.text
            names = [trigger.text for trigger in relation.triggers]
            points = [round(100 * trigger.score, 1) for trigger in relation.triggers if relation.basis == "words"]
            texts = (head.text, relation.label, tail.text, relation.score, head.label, tail.label)
            row = (*texts, head.start, head.end, tail.start, tail.end, sentence, names, points, relation.basis)
            rows.append(dict(zip(TRIPLE_KEYS, row, strict=True)))
        return rows

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Extraction:
        """Build an extraction from what ``to_dict`` returned; the result equals the original.

        Args:
            content: The dictionary. Keys that ``to_dict`` does not know are ignored.

        Returns:
            The extraction.

        Raises:
            InputError: A value is missing, of a wrong type, or an index without its entity or word.
        """
        try:
            return _build_extraction(msgspec.convert(content, ExtractionRecord))
        except (msgspec.ValidationError, IndexError) as error:
            raise InputError(f"not an extraction: {error}") from None

    @classmethod
    def from_json(cls, content: str | bytes) -> Extraction:
        """Build an extraction from what ``to_json`` returned; see ``from_dict``.

        Raises:
            InputError: The content is not JSON, or not an extraction.
        """
        try:
            return _build_extraction(msgspec.json.decode(content, type=ExtractionRecord))
        except (msgspec.DecodeError, IndexError, TypeError, RecursionError) as error:
            raise InputError(f"not an extraction: {error}") from None


#: Keys of ``Extraction.to_dict``.
RESULT_KEYS = ("text", "entities", "relations", "sentences", "notices", "arcs", "error", "candidates")


#: Keys of ``Extraction.to_triples``, in their order.
TRIPLE_KEYS = (
    *("head", "relation", "tail", "score", "head_type", "tail_type"),
    *("head_start", "head_end", "tail_start", "tail_end", "sentence", "triggers"),
    *("points", "basis"),
)


class RecordExtraction(Extraction, frozen=True):
    """Extraction of a record, such as a line of a JSON lines file; it has the other fields of the record too.

    Attributes:
        fields: The fields of the record that are no keys of a result.
    """

    fields: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Path of the text's file, or the ``id`` of its record; else empty."""
        return str(self.fields.get("path", self.fields.get("id", "")))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the record, then those of ``Extraction.to_dict``."""
        return {**self.fields, **Extraction.to_dict(self)}


class SentenceRecord(msgspec.Struct, frozen=True):
    """JSON of a sentence.

    Attributes:
        start: Index of the first character in the caller's string.
        end: Index after the last character (exclusive).
    """

    start: int
    end: int


class RelationRecord(msgspec.Struct, frozen=True):
    """JSON of a directed, typed relation between two entities of the same extraction.

    Attributes:
        head: Index into ``entities`` of the entity that the relation starts from.
        tail: Index into ``entities`` of the entity that the relation points to.
        label: The relation type.
        score: Sigmoid probability of ``label``.
        triggers: Words and phrases that the relation rests on, in order of decreasing score.
        basis: "words" if the relation rests on its triggers; "names" if no word or phrase matters enough to be shown,
            so that it rests on the two names and their order; null if that is not known.
    """

    head: Annotated[int, msgspec.Meta(ge=0)]
    tail: Annotated[int, msgspec.Meta(ge=0)]
    label: str
    score: float
    triggers: tuple[Trigger, ...] = ()
    basis: Basis | None = None


class CandidatesRecord(msgspec.Struct, frozen=True):
    """JSON of everything that the model considered in a text above a low floor.

    Attributes:
        entities: Every span and entity type with a score above the floor.
        relations: Every relation type with a score above the floor; ``head`` and ``tail`` are indices into the entities
            of the extraction, not into those of the candidates.
    """

    entities: tuple[Entity, ...] = ()
    relations: tuple[RelationRecord, ...] = ()


class ExtractionRecord(msgspec.Struct, frozen=True):
    """JSON of all entities and relations of one text.

    Attributes:
        text: The text.
        entities: Entities in order of ``start`` and ``end``; those that the caller gave are in the caller's order.
        relations: Relations, sentence by sentence, in order of head, tail and label.
        sentences: Character range of each sentence; present only if not empty.
        notices: Messages about parts of the text with limited results; present only if not empty.
        arcs: Every word of the text with its dependency arc; present only if requested.
        error: Why the text could not be read; present only in such a place.
        candidates: What the model considered; present only if requested.
    """

    text: str
    entities: tuple[Entity, ...]
    relations: tuple[RelationRecord, ...]
    sentences: tuple[SentenceRecord, ...] = ()
    notices: tuple[str, ...] = ()
    arcs: tuple[Arc, ...] = ()
    error: str = ""
    candidates: CandidatesRecord | None = None


def build_schema() -> dict[str, Any]:
    """Build the JSON schema of an extraction (``Extraction.to_dict``).

    Other keys are allowed, because the result of a JSON record has the fields of the record too.

    Returns:
        The schema, in draft 2020-12 of JSON Schema, with a description of each object and property.
    """
    return build_record_schema(ExtractionRecord)


def build_record_schema(record: type[msgspec.Struct]) -> dict[str, Any]:
    """Build the JSON schema of a record, described by its docstring and those of the records in it.

    Args:
        record: Type of the record. Every docstring has a section ``Attributes`` with a line for each property.

    Returns:
        The schema, in draft 2020-12 of JSON Schema, with a description of each object and property.
    """
    schema = msgspec.json.schema(record)
    for definition in schema["$defs"].values():
        # Without docstrings (python -OO) there is nothing to describe.
        purpose, _, attributes = cleandoc(definition.get("description", "")).partition("Attributes:\n")
        definition["description"] = _join_lines(purpose)
        for name, meaning in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE):
            definition["properties"][name]["description"] = _join_lines(meaning)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _join_lines(text: str) -> str:
    return " ".join(text.replace("``", "").split())


def _relations_to_builtins(relations: Iterable[Relation], entity_index: Mapping[Entity, int]) -> list[dict[str, Any]]:
    return [
        {
            "head": entity_index[relation.head],
            "tail": entity_index[relation.tail],
            "label": relation.label,
            "score": relation.score,
            "triggers": [msgspec.to_builtins(trigger) for trigger in relation.triggers],
            "basis": relation.basis,
        }
        for relation in relations
    ]


def _build_extraction(record: ExtractionRecord) -> Extraction:
    """Build an extraction of its JSON; raise IndexError for an index without its entity or word."""
    candidates = record.candidates
    for index, arc in enumerate(record.arcs):
        if not 0 <= arc.head < len(record.arcs):
            raise IndexError(f"arcs[{index}].head is {arc.head}, but there are {len(record.arcs)} arcs")
    return Extraction(
        record.text,
        record.entities,
        _build_relations(record.relations, record.entities, "relations"),
        tuple((sentence.start, sentence.end) for sentence in record.sentences),
        record.notices,
        record.arcs,
        record.error,
        None
        if candidates is None
        else Candidates(
            candidates.entities, _build_relations(candidates.relations, record.entities, "candidates.relations")
        ),
    )


def _build_relations(records: Sequence[RelationRecord], entities: Sequence[Entity], where: str) -> tuple[Relation, ...]:
    for index, record in enumerate(records):
        if max(record.head, record.tail) >= len(entities):
            raise IndexError(
                f"{where}[{index}] refers to entity {max(record.head, record.tail)}, but there are {len(entities)}"
            )
    return tuple(
        Relation(
            entities[record.head], record.label, entities[record.tail], record.score, record.triggers, record.basis
        )
        for record in records
    )

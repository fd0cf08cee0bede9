"""Record types for annotated running text, the common form of every format that counts characters."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from trimf.runtime.text.word_alignment import trim_range

from .json_errors import field_error

#: Characters of an entity that a description repeats.
_MAX_DESCRIBED_CHARS = 40


class EntityAnnotation(msgspec.Struct, frozen=True):
    """Entity that covers the characters ``start`` to ``end`` (exclusive) of its document."""

    start: int
    end: int
    label: str


class RelationAnnotation(msgspec.Struct, frozen=True):
    """Relation; ``head`` and ``tail`` are indices into the entities of its document."""

    head: int
    tail: int
    label: str


class AnnotatedDocument(msgspec.Struct, frozen=True):
    """Text with its annotation.

    Attributes:
        text: The text, exactly as it was annotated.
        entities: Entities in any order; they may overlap.
        relations: Relations between them.
        id: Identifies the document in reports.
        location: Where the document comes from; error messages start with it.
    """

    text: str
    entities: list[EntityAnnotation] = []
    relations: list[RelationAnnotation] = []
    id: str = ""
    location: str = ""


def validate_document(document: AnnotatedDocument) -> AnnotatedDocument:
    """Check that every offset lies in the text and every relation joins two entities.

    Args:
        document: The document.

    Returns:
        The same document.

    Raises:
        DataError: A rule is violated; the message names the location, the field, the value and what was expected.
    """
    size, location = len(document.text), document.location
    for index, entity in enumerate(document.entities):
        field = f"entities[{index}]"
        if not entity.label:
            raise field_error(location, f"{field}.label", entity.label, "a non-empty string")
        if not 0 <= entity.start < max(size, 1):
            raise field_error(location, f"{field}.start", entity.start, f"a character index from 0 to {size - 1}")
        if not entity.start < entity.end <= size:
            limits = f"from {entity.start + 1} to {size} (exclusive; the text has {size} characters)"
            raise field_error(location, f"{field}.end", entity.end, limits)
        if document.text[entity.start : entity.end].isspace():
            raise field_error(
                location, field, document.text[entity.start : entity.end], "a span with a character that is not blank"
            )
    expected = f"an index into the {len(document.entities)} entities of the document (counted from 0)"
    for index, relation in enumerate(document.relations):
        if not relation.label:
            raise field_error(location, f"relations[{index}].label", relation.label, "a non-empty string")
        for name, end in (("head", relation.head), ("tail", relation.tail)):
            if not 0 <= end < len(document.entities):
                raise field_error(location, f"relations[{index}].{name}", end, expected)
    return document


def trim_entity(text: str, entity: EntityAnnotation) -> EntityAnnotation:
    """Return an entity without the white space at its ends."""
    start, end = trim_range(text, entity.start, entity.end)
    return entity if (start, end) == (entity.start, entity.end) else EntityAnnotation(start, end, entity.label)


def normalize_document(document: AnnotatedDocument, symmetric: Collection[str] = ()) -> AnnotatedDocument:
    """Leave out white space at the ends of entities, and merge repeated entities and relations.

    Args:
        document: A checked document.
        symmetric: Relation types whose head and tail may be exchanged; both directions are the same relation.

    Returns:
        A document in which every entity and every relation occurs once. The first of equal items stays.
    """
    new_index: dict[EntityAnnotation, int] = {}
    renumbered = [
        new_index.setdefault(trim_entity(document.text, entity), len(new_index)) for entity in document.entities
    ]
    relations: dict[RelationAnnotation, None] = {}
    for relation in document.relations:
        head, tail = renumbered[relation.head], renumbered[relation.tail]
        if RelationAnnotation(tail, head, relation.label) not in relations or relation.label not in symmetric:
            relations[RelationAnnotation(head, tail, relation.label)] = None
    return msgspec.structs.replace(document, entities=list(new_index), relations=list(relations))


def describe_entity(document: AnnotatedDocument, entity: EntityAnnotation) -> str:
    """Describe an entity for a report, with its place."""
    covered = quote_text(document.text[entity.start : entity.end])
    return f"{covered} ({entity.label}, {entity.start} to {entity.end} of document {document.id})"


def describe_pair(document: AnnotatedDocument, relation: RelationAnnotation) -> str:
    """Describe the two entities of a relation for a report."""
    head, tail = (document.entities[index] for index in (relation.head, relation.tail))
    texts = [quote_text(document.text[entity.start : entity.end]) for entity in (head, tail)]
    return f"{texts[0]} and {texts[1]} (document {document.id})"


def quote_text(text: str) -> str:
    """Return a text in quotes, with its middle left out if it is long."""
    if len(text) > _MAX_DESCRIBED_CHARS:
        text = f"{text[: _MAX_DESCRIBED_CHARS // 2]}…{text[-_MAX_DESCRIBED_CHARS // 2 :]}"
    return repr(text)

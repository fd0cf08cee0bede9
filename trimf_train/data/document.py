"""Record types for annotated running text, the common form of every format that counts characters."""

from __future__ import annotations

import msgspec

from .json_errors import field_error


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

"""Read annotated running text with character offsets, TriMF's own format: JSON lines, one document each.

``docs/annotation.schema.json`` is its JSON schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError

from ..document import AnnotatedDocument, EntityAnnotation, RelationAnnotation, validate_document
from ..json_errors import decode_record, field_error
from ..json_records import read_json_records
from ..reading_report import ReadingReport


class OffsetEntity(msgspec.Struct, frozen=True):
    """Entity: the characters ``start`` to ``end`` (exclusive) of the text."""

    start: int
    end: int
    label: str
    id: str | int | None = None


class OffsetRelation(msgspec.Struct, frozen=True):
    """Relation; ``head`` and ``tail`` are indices into the entities, counted from 0, or their ids."""

    head: int | str
    tail: int | str
    label: str


class OffsetDocument(msgspec.Struct, frozen=True):
    """Document; further fields are ignored."""

    text: str
    entities: list[OffsetEntity]
    relations: list[OffsetRelation] = []
    id: str | int | None = None


_DECODER = msgspec.json.Decoder(OffsetDocument)


def read_offsets(path: Path, report: ReadingReport) -> Iterator[AnnotatedDocument]:
    """Read the documents of a file of character offsets.

    Args:
        path: The file: JSON lines, one list, or pretty-printed records.
        report: Counts what is left out; this format loses nothing here.

    Yields:
        The checked documents, in file order. ``id`` is that of the record, or its number, counted from 1.

    Raises:
        DataError: The file or a record cannot be used; the message names the line, the field, the value and what was
            expected.
    """
    for number, record in enumerate(read_json_records(path), 1):
        yield decode_document(record.content, f"{path}: {record.name}", number)


def decode_document(content: bytes, location: str, number: int) -> AnnotatedDocument:
    """Decode and check one record.

    Args:
        content: The record as JSON.
        location: Where it comes from; error messages start with it.
        number: Number of the record, counted from 1, which is its id if it has none.

    Returns:
        The document.

    Raises:
        DataError: The record cannot be used.
    """
    document = decode_record(_DECODER, content, location)
    _check_field_names(content, location)
    ids = {entity.id: index for index, entity in enumerate(document.entities) if entity.id is not None}
    if len(ids) < sum(entity.id is not None for entity in document.entities):
        raise DataError(f"{location}: two entities have the same id")
    return validate_document(
        AnnotatedDocument(
            text=document.text,
            entities=[EntityAnnotation(entity.start, entity.end, entity.label) for entity in document.entities],
            relations=[
                RelationAnnotation(
                    _find_entity(relation.head, ids, location, f"relations[{index}].head"),
                    _find_entity(relation.tail, ids, location, f"relations[{index}].tail"),
                    relation.label,
                )
                for index, relation in enumerate(document.relations)
            ],
            id=str(number if document.id is None else document.id),
            location=location,
        )
    )


def _find_entity(name: int | str, ids: dict[str | int, int], location: str, field: str) -> int:
    """Return the index of an entity that is named by its index or, as a string, by its id."""
    if isinstance(name, int):
        return name
    if name not in ids:
        raise field_error(location, field, name, "the id or the index of an entity of the document")
    return ids[name]


def _check_field_names(content: bytes, location: str) -> None:
    """Refuse a field whose name is nearly that of an annotation, which would otherwise be lost."""
    for name in msgspec.json.decode(content, type=dict[str, msgspec.Raw]):
        if name not in OffsetDocument.__struct_fields__:
            meant = get_close_matches(name.lower(), ("entities", "relations"), 1, 0.75)
            if meant:
                raise DataError(f"{location}: unknown field {name!r}; did you mean {meant[0]!r}?")

"""Read annotated running text with character offsets, TriMF's own format: JSON lines, one document each.

``docs/annotation.schema.json`` is its JSON schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec

from trimf.runtime.errors import DataError
from trimf.runtime.results import build_record_schema

from ..document import AnnotatedDocument, EntityAnnotation, RelationAnnotation, validate_document
from ..json_errors import decode_record, field_error
from ..json_records import read_json_records
from ..reading_report import ReadingReport

# The limits below are those that ``validate_document`` checks with a clearer message.
_Offset = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0})]
_Label = Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1})]


class OffsetEntity(msgspec.Struct, frozen=True):
    """An entity: a typed span of the text.

    Entities may overlap, and may be longer than a sentence or a word, but words are what a model learns.

    Attributes:
        start: Index of the first character in the text, counted from 0. An emoji or a combining mark counts as many
            characters as it has Unicode code points.
        end: Index after the last character (exclusive).
        label: The entity type.
        id: Names the entity for the relations of its document, where it must be unique.
    """

    start: _Offset
    end: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1})]
    label: _Label
    id: str | int | None = None


class OffsetRelation(msgspec.Struct, frozen=True):
    """A directed, typed relation between two entities of the same document.

    Attributes:
        head: The entity that the relation starts from: its index in the entities, counted from 0, or, as a string, its
            id.
        tail: The entity that the relation points to, named in the same way.
        label: The relation type.
    """

    head: _Offset | str
    tail: _Offset | str
    label: _Label


class OffsetDocument(msgspec.Struct, frozen=True):
    """A text of any length with its annotation, one line of a JSON lines file. Further properties are ignored.

    Attributes:
        text: The text, exactly as it was annotated.
        entities: The entities, in any order.
        relations: The relations between them.
        id: Identifies the document in reports; its number in the file by default.
    """

    text: str
    entities: list[OffsetEntity]
    relations: list[OffsetRelation] = []
    id: str | int | None = None


_DECODER = msgspec.json.Decoder(OffsetDocument)


def build_schema() -> dict[str, Any]:
    """Build the JSON schema of a document, which ``docs/annotation.schema.json`` holds.

    Returns:
        The schema, in draft 2020-12 of JSON Schema.
    """
    return build_record_schema(OffsetDocument)


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
        if ids.get(name, name) != name:
            meanings = f"clear, but {name} is both an index and the id of entities[{ids[name]}]; write ids as strings"
            raise field_error(location, field, name, meanings)
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

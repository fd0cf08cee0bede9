"""Read the JSON lines of doccano: entities and relations, or the older lists of start, end and label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from trimf.runtime.errors import DataError

from ..document import AnnotatedDocument
from ..document_building import DocumentBuilder, SourceSpan
from ..json_errors import decode_record, field_error
from ..json_records import read_json_records
from ..offset_counting import CODE_POINTS, GRAPHEMES, UTF16, CountedSpan, Counting, are_ambiguous, count_word_ends
from ..reading_report import ReadingReport
from .format import FormatSample, items_of

#: What doccano may count; it does not write which. The first is its default, graphemes an option of the project.
_COUNTINGS = (
    UTF16,
    GRAPHEMES,
    CODE_POINTS,
    Counting("UTF-16 code units", True),
    Counting("code points", True),
)


class Span(msgspec.Struct, frozen=True):
    """Entity of a project with relations."""

    start_offset: int
    end_offset: int
    label: str | int
    id: int | str | None = None


class Relation(msgspec.Struct, frozen=True):
    """Relation between the ids of two entities."""

    from_id: int | str
    to_id: int | str
    type: str | None = None


_Triple = tuple[int, int, str]


class Example(msgspec.Struct, frozen=True):
    """Document; some versions call its text ``data``, and its entities ``label``, ``labels`` or ``annotations``."""

    text: str | None = None
    data: str | None = None
    entities: list[Span | _Triple] | None = None
    label: list[Span | _Triple] | None = None
    labels: list[Span | _Triple] | None = None
    annotations: list[Span | _Triple] | None = None
    relations: list[Relation] | None = None
    id: int | str | None = None


_DECODER = msgspec.json.Decoder(Example)
_FIELDS = ("entities", "label", "labels", "annotations")


def is_doccano(sample: FormatSample) -> bool:
    """Return True if a record has a text with spans as doccano writes them, or the comments that only it writes."""
    return any(
        ("text" in record or isinstance(record.get("data"), str))
        and ("Comments" in record or any(map(_is_span, items_of(record, *_FIELDS)[:1])))
        for record in sample.records
    )


def _is_span(item: Any) -> bool:
    if isinstance(item, dict):
        return "start_offset" in item
    return isinstance(item, list) and len(item) == 3 and isinstance(item[0], int) and isinstance(item[2], str)


def read_doccano(path: Path, report: ReadingReport) -> Iterator[AnnotatedDocument]:
    """Read the documents of a doccano export.

    doccano counts UTF-16 code units or, by an option of the project, grapheme clusters, and writes neither which nor
    the covered text. Where it matters, what makes most entities begin and end between words is taken for the file.

    Args:
        path: The file: JSON lines, or one list.
        report: Counts the documents whose offsets were converted, and the relations without entities.

    Yields:
        The checked documents, in file order. ``id`` is that of the record, or its number, counted from 1.

    Raises:
        DataError: The file or a record cannot be used; the message names the line, the field and what was expected.
    """
    counting, matters = _choose_counting(path)
    for number, (location, example) in enumerate(_read_examples(path), 1):
        text = _text_of(example, location)
        name, items = _items_of(example)
        builder = DocumentBuilder(text, location, report, str(number if example.id is None else example.id))
        ids: set[int | str] = set()
        for index, item in enumerate(items):
            field = f"{name}[{index}]"
            span, label, id = _convert_item(item, field, location)
            if id is not None and id in ids:
                raise field_error(location, f"{field}.id", id, "an id that no other entity has")
            ids |= {id} - {None}  # type: ignore[arg-type]
            builder.add_entity(SourceSpan(span, label, field), id)
        for relation in example.relations or ():
            builder.add_relation(relation.from_id, relation.to_id, relation.type)
        if matters and are_ambiguous(text, [source.span for source in builder.spans], _COUNTINGS):
            report.add("unchecked_offsets", str(counting), f"document {builder.id}")
        yield builder.build(counting)


def _read_examples(path: Path) -> Iterator[tuple[str, Example]]:
    for record in read_json_records(path):
        location = f"{path}: {record.name}"
        yield location, decode_record(_DECODER, record.content, location)


def _text_of(example: Example, location: str) -> str:
    text = example.text if example.text is not None else example.data
    if text is None:
        raise DataError(f"{location}: missing required field 'text'")
    return text


def _items_of(example: Example) -> tuple[str, list[Span | _Triple]]:
    """Return the entities of a record and the name of their field."""
    return next(((name, items) for name in _FIELDS if (items := getattr(example, name))), ("entities", []))


def _convert_item(item: Span | _Triple, field: str, location: str) -> tuple[CountedSpan, str, int | str | None]:
    if isinstance(item, tuple):
        return CountedSpan(item[0], item[1]), item[2], None
    if isinstance(item.label, int):
        raise DataError(
            f"{location}: {field}.label is the number {item.label}, and the file does not say of which label; export "
            "as JSONL with the text of the labels"
        )
    return CountedSpan(item.start_offset, item.end_offset), item.label, item.id


def _choose_counting(path: Path) -> tuple[Counting, bool]:
    """Choose what the offsets of a file count, and say whether it matters."""
    scores = dict.fromkeys(_COUNTINGS, 0)
    matters = False
    for location, example in _read_examples(path):
        text, (name, items) = _text_of(example, location), _items_of(example)
        spans = [_convert_item(item, f"{name}[{index}]", location)[0] for index, item in enumerate(items)]
        if not are_ambiguous(text, spans, _COUNTINGS):
            continue
        matters = True
        for counting in _COUNTINGS:
            scores[counting] += count_word_ends(text, spans, counting)
    return (max(_COUNTINGS, key=scores.__getitem__) if matters else CODE_POINTS), matters

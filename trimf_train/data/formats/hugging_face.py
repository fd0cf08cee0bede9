"""Read Hugging Face data sets: rows of words with tags or entities, or of text with entities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimf.runtime.errors import DataError

from ..dataset_files import Row, is_dataset_path, read_columns, read_rows
from ..document import AnnotatedDocument
from ..json_errors import field_error, short_repr
from ..reading_report import ReadingReport
from ..sentence import Sentence
from ..tag_decoding import decode_tags
from .format import FormatSample
from .offsets import decode_document
from .spert import decode_sentence

#: Columns that may hold the words, and their tags.
WORD_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("ner_tags", "tags", "ner")


def is_dataset_of_words(sample: FormatSample) -> bool:
    """Return True for Arrow or Parquet data without a column of text and entities, and for JSON with words and tags."""
    if is_dataset_path(sample.path):
        columns = read_columns(sample.path)
        return columns is None or not _has_text(columns)
    return any(_first(record, WORD_COLUMNS) and _first(record, TAG_COLUMNS) for record in sample.records)


def is_dataset_of_text(sample: FormatSample) -> bool:
    """Return True for Arrow or Parquet data with text and entities, and for JSON with entities as columns."""
    if is_dataset_path(sample.path):
        columns = read_columns(sample.path)
        return columns is not None and _has_text(columns)
    return any("text" in record and isinstance(record.get("entities"), dict) for record in sample.records)


def _has_text(columns: list[str]) -> bool:
    return {"text", "entities"} <= set(columns) and not set(columns) & set(WORD_COLUMNS)


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in record), None)


def read_dataset_of_words(path: Path, report: ReadingReport) -> Iterator[Sentence]:
    """Read rows with the columns ``tokens`` and ``ner_tags`` or ``entities``, and ``relations`` if there is one.

    Entities and relations are as in the format spert; with tags, relations count the entities in their order.

    Args:
        path: A folder of ``save_to_disk``, a folder with the files of one split, or one file.
        report: Counts what is left out.

    Yields:
        The checked sentences. ``id`` is that of the row, or its number, counted from 1.

    Raises:
        DataError: A file is missing, or a row cannot be used; the message names the row, the field and the value.
        BackendError: The files need pyarrow, which is not installed.
    """
    for number, row in enumerate(read_rows(path), 1):
        words = _first(row.values, WORD_COLUMNS)
        if words is None:
            raise _missing_columns(row, "tokens with ner_tags or entities", "text", "datasets-text")
        record = {"tokens": row.values[words], "orig_id": _id_of(row, number)}
        if "entities" in row.values:
            record["entities"] = row.values["entities"]
        else:
            record["entities"] = _decode_row_tags(row, words)
        record["relations"] = row.values.get("relations") or []
        sentence = decode_sentence(msgspec.json.encode(record), row.location, str(number), report)
        if sentence is not None:
            yield sentence


def read_dataset_of_text(path: Path, report: ReadingReport) -> Iterator[AnnotatedDocument]:
    """Read rows with the columns ``text``, ``entities`` and, if there is one, ``relations``, as in the format offsets.

    Args:
        path: A folder of ``save_to_disk``, a folder with the files of one split, or one file.
        report: Counts what is left out; this format loses nothing here.

    Yields:
        The checked documents. ``id`` is that of the row, or its number, counted from 1.

    Raises:
        DataError: A file is missing, or a row cannot be used; the message names the row, the field and the value.
        BackendError: The files need pyarrow, which is not installed.
    """
    for number, row in enumerate(read_rows(path), 1):
        if not _has_text(list(row.values)):
            raise _missing_columns(row, "text and entities", "tokens", "datasets")
        names = ("text", "entities", "relations")
        record = {name: row.values[name] for name in names if row.values.get(name) is not None}
        record["id"] = _id_of(row, number)
        yield decode_document(msgspec.json.encode(record), row.location, number)


def _missing_columns(row: Row, needed: str, other: str, format: str) -> DataError:
    columns = ", ".join(map(short_repr, row.values)) or "none"
    hint = f"; use --format {format}" if other in row.values else ""
    return DataError(f"{row.location}: needs the columns {needed}, got {columns[:200]}{hint}")


def _id_of(row: Row, number: int) -> str | int:
    id = row.values.get("id")
    return id if isinstance(id, str | int) else number


def _decode_row_tags(row: Row, words: str) -> list[dict[str, Any]]:
    """Return the entities of a row of words and tags, as records of spert."""
    column = _first(row.values, TAG_COLUMNS)
    if column is None:
        raise _missing_columns(row, "tokens with ner_tags or entities", "text", "datasets-text")
    tags, tokens = row.values[column], row.values[words]
    if not isinstance(tags, list) or not isinstance(tokens, list) or len(tags) != len(tokens):
        raise field_error(row.location, column, tags, f"a list of tags, one for each item of {words}")
    for index, tag in enumerate(tags):
        if not isinstance(tag, str):
            raise DataError(
                f"{row.location}: {column}[{index}] is {short_repr(tag)}, not a tag as B-Person; save the data set "
                "with save_to_disk or to_parquet, which keep the names of the tags"
            )
    entities = decode_tags(tags, [row.location] * len(tags), column)
    return [{"type": entity.type, "start": entity.start, "end": entity.end} for entity in entities]

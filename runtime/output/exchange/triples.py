"""Write one row per relation, for graphs and data frames: tab-separated, comma-separated or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import msgspec

from ...results import TRIPLE_KEYS, Extraction, RecordExtraction
from .settings import Losses, ToolSettings

#: What stands between the triggers of a cell, and between their points; a phrase has spaces.
SEPARATOR = "; "

#: Columns of a table: those of ``Extraction.to_triples``, and where the text comes from.
COLUMNS = (*TRIPLE_KEYS, "number", "id", "path")


def write_triples_tsv(
    extractions: Iterable[Extraction], stream: TextIO, settings: ToolSettings, losses: Losses
) -> None:
    """Write a table whose columns are separated by tabs; see ``write_triples_csv``."""
    _write_table(extractions, stream, "\t")


def write_triples_csv(
    extractions: Iterable[Extraction], stream: TextIO, settings: ToolSettings, losses: Losses
) -> None:
    """Write a table whose columns are separated by commas.

    The first line names the columns. Triggers, and their points in the same order, are separated by ``; ``. A value
    with a separator, a quote or a line end is quoted as in RFC 4180, and read back exactly by every reader of CSV.

    Args:
        extractions: Extractions to write; each is consumed once.
        stream: Where to write.
        settings: Not used.
        losses: Not used; relations are never lost.
    """
    _write_table(extractions, stream, ",")


def write_triples_jsonl(
    extractions: Iterable[Extraction], stream: TextIO, settings: ToolSettings, losses: Losses
) -> None:
    """Write one JSON object per line with the columns as keys; see ``write_triples_csv``."""
    for row in _list_rows(extractions, stream):
        stream.write(msgspec.json.encode(row).decode() + "\n")


def _write_table(extractions: Iterable[Extraction], stream: TextIO, delimiter: str) -> None:
    # Python before 3.13 quotes a carriage return only if it is part of the line end.
    writer = csv.writer(_LineEnds(stream), delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in _list_rows(extractions, stream):
        for column in ("triggers", "points"):
            row[column] = SEPARATOR.join(map(str, row[column]))
        writer.writerow("" if value is None else _write_value(value) for value in row.values())


class _LineEnds:
    """A stream for the csv module, which writes each row at once: the line end of a row becomes a plain one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        """Write one row of a table."""
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def _write_value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _list_rows(extractions: Iterable[Extraction], stream: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the rows, and flush those of a text for readers of a pipe."""
    for number, extraction in enumerate(extractions, 1):
        fields = extraction.fields if isinstance(extraction, RecordExtraction) else {}
        for triple in extraction.to_triples():
            yield {**triple, "number": number, "id": fields.get("id"), "path": fields.get("path")}
        stream.flush()

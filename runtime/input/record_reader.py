"""Read texts with their other fields from plain text, JSON lines, JSON, and folders of documents."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import msgspec

from ..errors import InputError
from ..files.lines import BOM, strip_line_end
from ..results import RESULT_KEYS
from ..streaming.text_stream import BadTexts, OnError

#: How a file is divided into texts; see ``RecordReader.read``.
InputFormat = Literal["auto", "lines", "documents", "jsonl"]

#: Endings of the names of files whose content is JSON.
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


class Record(NamedTuple):
    """A text with what came with it.

    Attributes:
        text: The text; empty if it could not be read.
        fields: The other fields of its JSON object, and the path of its file in a folder.
        error: Why the text could not be read.
        notice: Which bytes of the text were replaced.
        entities: The field ``entities`` of its JSON object, if the reader takes it.
    """

    text: str
    fields: dict[str, Any]
    error: str = ""
    notice: str = ""
    entities: Any = ()


class RecordReader:
    """Reader of records, which keeps track of those that cannot be read.

    Args:
        on_error: What to do with a record that cannot be read: ``"stop"`` raises its error, ``"skip"`` leaves it out,
            ``"replace"`` gives a record with an empty text and the error. Bytes that are not UTF-8 are replaced by
            U+FFFD instead.
        takes_entities: Whether every record is a JSON object that has a field ``entities`` too.

    Attributes:
        bad_texts: The records that could not be read so far.
        replaced_keys: Fields of the input that results have too, and that are therefore not passed on.
    """

    def __init__(self, on_error: OnError = "stop", *, takes_entities: bool = False) -> None:
        self.on_error, self.takes_entities = on_error, takes_entities
        self._used_keys = {"text", "entities"} if takes_entities else {"text"}
        self.bad_texts = BadTexts()
        self.replaced_keys: set[str] = set()
        self._count = 0

    def read_arguments(self, texts: Iterable[str]) -> Iterator[Record]:
        """Yield a record for each text of a command line, where bytes that are not UTF-8 are lone surrogates."""
        for number, text in enumerate(texts, 1):
            yield from self._decode(text.encode("utf-8", "surrogateescape"), f"TEXT {number}", {})

    def read(self, source: Path, input_format: InputFormat = "auto") -> Iterator[Record]:
        """Yield the records of a file, of standard input (``-``), or of the files of a folder.

        Args:
            source: File or folder. The files of a folder are read in the order of their paths; hidden ones are left
                out. Each record has the relative ``path`` of its file.
            input_format: ``"lines"``: every line is a text. ``"documents"``: every file is a text. ``"jsonl"``: every
                line is a JSON object with a field ``text``, or the file is a JSON array of such objects. ``"auto"``:
                JSON if the name ends in one of ``JSON_SUFFIXES`` or the first line is a JSON object; else documents
                in a folder, and lines in a file.

        Raises:
            InputError: A file cannot be read, or a record cannot be read and ``on_error`` is ``"stop"``.
        """
        if str(source) == "-":
            yield from self._read_stream(sys.stdin.buffer, "standard input", "", input_format, {})
        elif source.is_dir():
            yield from self._read_folder(source, input_format)
        else:
            yield from self._read_file(source, input_format, {})

    def _read_folder(self, folder: Path, input_format: InputFormat) -> Iterator[Record]:
        paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
        names = {path: path.relative_to(folder) for path in paths}
        visible = [path for path in paths if not any(part.startswith(".") for part in names[path].parts)]
        if not visible:
            raise InputError(f"{folder}: the folder holds no files to read")
        for path in visible:
            chosen: InputFormat = input_format
            if input_format == "auto" and path.suffix.lower() not in JSON_SUFFIXES:
                chosen = "documents"
            fields = {"path": names[path].as_posix()}
            if path.is_file():
                yield from self._read_file(path, chosen, fields)
            else:  # a pipe or a broken link
                yield from self._fail(f"{path}: not a regular file", fields)

    def _read_file(self, path: Path, input_format: InputFormat, fields: dict[str, Any]) -> Iterator[Record]:
        try:
            with path.open("rb") as stream:
                yield from self._read_stream(stream, str(path), path.suffix.lower(), input_format, fields)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error

    def _read_stream(
        self, stream: BinaryIO, name: str, suffix: str, input_format: InputFormat, fields: dict[str, Any]
    ) -> Iterator[Record]:
        if input_format == "documents":
            yield from self._decode(stream.read(), name, fields)
            return
        first = stream.readline()
        start = [first]
        while first and not first.removeprefix(BOM).strip():
            first = stream.readline()
            start.append(first)
        lines = chain(filter(None, start), stream)
        head = first.removeprefix(BOM).strip()
        if input_format == "auto":
            input_format = "jsonl" if suffix in JSON_SUFFIXES or _is_json(head) else "lines"
        if input_format == "lines":
            yield from self._read_lines(lines, name, fields)
        elif head.startswith(b"[") or (suffix == ".json" and not _is_json(head)):
            yield from self._read_json(b"".join(lines), name, fields)
        else:
            yield from self._read_json_lines(lines, name, fields)

    def _read_lines(self, lines: Iterable[bytes], name: str, fields: dict[str, Any]) -> Iterator[Record]:
        position = 0
        for number, line in enumerate(lines, 1):
            place = {**fields, "line": number} if fields else {}
            yield from self._decode(strip_line_end(line), f"{name}, line {number}", place, position)
            position += len(line)

    def _read_json_lines(self, lines: Iterable[bytes], name: str, fields: dict[str, Any]) -> Iterator[Record]:
        position = 0
        for number, line in enumerate(lines, 1):
            if line.removeprefix(BOM).strip():
                where = f"{name}, line {number}"
                for record in self._decode(strip_line_end(line), where, fields, position):
                    yield from [record] if record.error else self._read_object(record, where)
            position += len(line)

    def _read_json(self, content: bytes, name: str, fields: dict[str, Any]) -> Iterator[Record]:
        """Yield the records of one JSON value: an array of objects, or an object."""
        try:
            values = msgspec.json.decode(content.removeprefix(BOM))
        except (msgspec.DecodeError, RecursionError) as error:
            raise InputError(
                f"{name}: not JSON: {error}; to read it as plain text, pass --lines or --documents"
            ) from None
        for number, value in enumerate(values if isinstance(values, list) else [values], 1):
            yield from self._build(value, f"{name}, record {number}", fields)

    def _read_object(self, line: Record, where: str) -> Iterator[Record]:
        try:
            value = msgspec.json.decode(line.text)
        except (msgspec.DecodeError, RecursionError) as error:
            yield from self._fail(f"{where}: not JSON: {error}; to read plain text, pass --lines", line.fields)
            return
        for record in self._build(value, where, line.fields):
            yield record._replace(notice=line.notice)

    def _build(self, value: Any, where: str, fields: dict[str, Any]) -> Iterator[Record]:
        """Yield the record of a JSON value."""
        if not isinstance(value, dict):
            yield from self._fail(
                f"{where}: a JSON object with a field 'text' is expected, got {_name_type(value)}", fields
            )
            return
        rest = {**fields, **{key: item for key, item in value.items() if key not in RESULT_KEYS}}
        self.replaced_keys |= value.keys() & set(RESULT_KEYS) - self._used_keys
        text = value.get("text")
        if self.takes_entities and "entities" not in value:
            names = ", ".join(map(repr, list(value)[:5])) or "none"
            yield from self._fail(f"{where}: the object has no field 'entities'; its fields: {names}", rest)
        elif isinstance(text, str):
            self._count += 1
            yield Record(text, rest, entities=value["entities"] if self.takes_entities else ())
        elif "text" in value:
            yield from self._fail(f"{where}: the field 'text' must be a string, got {_name_type(text)}", rest)
        else:
            names = ", ".join(map(repr, list(value)[:5])) or "none"
            yield from self._fail(f"{where}: the object has no field 'text'; its fields: {names}", rest)

    def _decode(self, raw: bytes, where: str, fields: dict[str, Any], position: int = 0) -> Iterator[Record]:
        """Yield a record with the text of UTF-8 bytes that start at a position of their file."""
        skipped = len(BOM) if position == 0 and raw.startswith(BOM) else 0
        try:
            record = Record(raw[skipped:].decode(), fields)
        except UnicodeDecodeError as error:
            at = skipped + error.start
            reason = f"{where}: byte 0x{raw[at]:02X} at position {position + at} is not UTF-8; convert it to UTF-8"
            if self.on_error != "replace":
                yield from self._fail(reason, fields)
                return
            self.bad_texts.add(self._count, reason)
            notice = f"bytes that are not UTF-8 were replaced by U+FFFD: {reason}"
            record = Record(raw[skipped:].decode("utf-8", "replace"), fields, notice=notice)
        self._count += 1
        yield record

    def _fail(self, reason: str, fields: dict[str, Any]) -> Iterator[Record]:
        """Do with a record that cannot be read what ``on_error`` says."""
        if self.on_error == "stop":
            raise InputError(reason)
        self.bad_texts.add(self._count, reason)
        self._count += 1
        if self.on_error == "replace":
            yield Record("", fields, error=reason)


def _is_json(line: bytes) -> bool:
    """Return True if the first line of a file shows that it is JSON: an object, or the start of an array of objects."""
    if line == b"[" or line == b"[]":
        return True
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


def _name_type(value: Any) -> str:
    """Return the JSON name of a value's type."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    names = {"dict": "an object", "list": "an array", "str": "a string"}
    return names.get(type(value).__name__, "a number")

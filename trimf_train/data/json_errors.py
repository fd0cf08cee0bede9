"""Read UTF-8 and JSON files with errors that name the location, the field and the value.

A *location* is the start of an error message: the path, followed by the line or record (``dev.json: record 4``).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trimf.runtime.errors import DataError

T = TypeVar("T")

#: Characters of an invalid value that an error message repeats.
_MAX_VALUE_LENGTH = 80

#: First bytes of files that are not text, and what they are.
_BINARY_FILES = {
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"PK\x03\x04": "a zip archive; extract it first",
    b"BZh": "compressed with bzip2; decompress it first",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; decompress it first",
    b"PAR1": "a Parquet file; convert it to JSON lines first",
    codecs.BOM_UTF16_LE: "UTF-16 text; save the file as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text; save the file as UTF-8",
}

# Error texts of msgspec: an optional path to the value, a type mismatch, a missing or unknown field, the steps of a
# path, and the byte offset of a syntax error.
_VALIDATION = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"Expected (?P<expected>.*), got (?P<got>.*)$", re.DOTALL)
_NAMED = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.(?P<key>\w+)|\[(?P<index>\d+)\]")
_BYTE = re.compile(r" \(byte (?P<byte>\d+)\)$")


def field_error(location: str, field: str, value: object, expected: str) -> DataError:
    """Build the error for one invalid field, as one line.

    Args:
        location: Where the field is; the message starts with it.
        field: The name of the field, such as ``entities[0].end``.
        value: The invalid value.
        expected: A noun phrase that completes "must be …".

    Returns:
        The error, which the caller raises.
    """
    return DataError(f"{location}: {field} must be {expected}, got {short_repr(value)}")


def short_repr(value: object) -> str:
    """Return the ``repr`` of a value, cut after 80 characters."""
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 1] + "…"


def read_bytes(path: Path) -> bytes:
    """Read a file that must be UTF-8 and remove its byte-order mark.

    Args:
        path: The file.

    Returns:
        The content of the file.

    Raises:
        DataError: The file is missing, unreadable, compressed or not UTF-8 (the message names the line).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _read_error(path, error) from error
    _check_text_file(path, data)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise _utf8_error(f"{path}: line {_line_number(data, error.start)}", error) from error
    return data


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a file that must be UTF-8, in constant memory.

    Args:
        path: The file.

    Yields:
        The number of each line (from 1) and its content, without line end and without byte-order mark.

    Raises:
        DataError: The file is missing, unreadable, compressed or not UTF-8 (the message names the line).
    """
    try:
        with path.open("rb") as file:
            for line_number, line in enumerate(file, 1):
                if line_number == 1:
                    _check_text_file(path, line)
                content = line.removeprefix(codecs.BOM_UTF8) if line_number == 1 else line
                try:
                    content.decode()
                except UnicodeDecodeError as error:
                    raise _utf8_error(f"{path}: line {line_number}", error) from error
                yield line_number, content.rstrip(b"\r\n")
    except OSError as error:
        raise _read_error(path, error) from error


def decode_record(decoder: msgspec.json.Decoder[T], data: bytes, location: str) -> T:
    """Decode one JSON value.

    Args:
        decoder: The decoder for the expected type.
        data: The JSON text.
        location: Where the value comes from; error messages start with it.

    Returns:
        The decoded value.

    Raises:
        DataError: The bytes are not valid JSON or do not fit the type; the message names the field.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error), data, location) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{location}: not valid JSON: {_syntax_reason(error)}") from error


def decode_list(data: bytes, path: Path) -> list[msgspec.Raw]:
    """Split a JSON list into its items without decoding them.

    Args:
        data: The content of the file.
        path: The file, for error messages.

    Returns:
        The undecoded items.

    Raises:
        DataError: The file is not valid JSON (the message names the line) or not a list.
    """
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise _validation_error(str(error), data, f"{path}: line 1") from error
    except (msgspec.DecodeError, RecursionError) as error:
        match = _BYTE.search(str(error))
        line_number = _line_number(data, int(match["byte"]) if match else len(data))
        raise DataError(f"{path}: line {line_number}: not valid JSON: {_syntax_reason(error)}") from error


def _syntax_reason(error: Exception) -> str:
    """Return the decoder's message without its prefix and without the byte offset.

    The offset is dropped because it counts from the start of a record, not of the file.
    """
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return _BYTE.sub("", str(error)).removeprefix("JSON is malformed: ")


def _validation_error(message: str, data: bytes, location: str) -> DataError:
    """Translate a msgspec validation message and add the invalid value, which msgspec does not report."""
    parts = _VALIDATION.match(message)
    what, path = (parts["what"], parts["path"] or "") if parts else (message, "")
    field = path.lstrip(".")
    if named := _NAMED.match(what):
        field = f"{field}.{named['name']}".lstrip(".")
        if named["what"].startswith("missing"):
            return DataError(f"{location}: missing required field {field!r}")
        return DataError(f"{location}: unknown field {field!r}")
    value = _show_value(data, path)
    subject = f"{location}: {field}" if field else location
    if mismatch := _EXPECTED.match(what):
        expected, actual = (mismatch[name].replace("`", "") for name in ("expected", "got"))
        return DataError(f"{subject}: expected {expected}, got {actual}{f': {value}' if value else ''}")
    return DataError(f"{subject}: {what}{f', got {value}' if value else ''}")


def _show_value(data: bytes, path: str) -> str:
    """Return the invalid value for a message; empty for one that has no value in Python, such as a huge number."""
    try:
        return short_repr(_value_at(msgspec.json.decode(data), path))
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError):
        return ""


def _value_at(value: Any, path: str) -> Any:
    """Return the value that a path of msgspec (``.entities[0].end``) leads to."""
    for step in _STEP.finditer(path):
        value = value[step["key"]] if step["key"] is not None else value[int(step["index"])]
    return value


def _line_number(data: bytes, offset: int) -> int:
    """Return the number (from 1) of the line that holds a byte offset."""
    return data.count(b"\n", 0, offset) + 1


def _check_text_file(path: Path, start: bytes) -> None:
    """Raise a DataError if the first bytes of a file say that it is compressed, or no text in UTF-8."""
    for signature, description in _BINARY_FILES.items():
        if start.startswith(signature):
            raise DataError(f"{path}: is {description}")


def _read_error(path: Path, error: OSError) -> DataError:
    """Build the error for a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a folder, not a data file")
    return DataError(f"{path}: cannot be read: {error.strerror or error}")


def _utf8_error(location: str, error: UnicodeDecodeError) -> DataError:
    """Build the error for a byte that is not valid UTF-8."""
    return DataError(f"{location}: byte 0x{error.object[error.start]:02x} is not valid UTF-8; save the file as UTF-8")

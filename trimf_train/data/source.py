"""Files with places: reading bytes and JSON so that every complaint says where and what.

A *place* is the start of an error message: the path, then the line or record (``dev.json: record 4``).
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

_SHOWN = 80  # characters of a bad value that an error repeats
_VALIDATION = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"Expected (?P<expected>.*), got (?P<got>.*)$", re.DOTALL)
_NAMED = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.(?P<key>\w+)|\[(?P<index>\d+)\]")
_BYTE = re.compile(r" \(byte (?P<byte>\d+)\)$")


def problem(place: str, field: str, value: object, expected: str) -> DataError:
    """The error for one bad field, as one line: place, field, value, what was expected."""
    return DataError(f"{place}, field {field}: got {shown(value)}, expected {expected}")


def shown(value: object) -> str:
    """A value on one line, cut after 80 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def read_bytes(path: Path) -> bytes:
    """The whole file, checked to be UTF-8, without a byte-order mark.

    Raises:
        DataError: The file is missing, unreadable or not UTF-8; the line is named.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(f"{path}: line {_line(data, error.start)}", error) from error
    return data


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and content of each line, without its end and without a byte-order mark; memory stays constant.

    Raises:
        DataError: The file is missing, unreadable or not UTF-8; the line is named.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                try:
                    content.decode()
                except UnicodeDecodeError as error:
                    raise _not_utf8(f"{path}: line {number}", error) from error
                yield number, content.rstrip(b"\r\n")
    except OSError as error:
        raise _unreadable(path, error) from error


def decode_record(decoder: msgspec.json.Decoder[T], data: bytes, place: str) -> T:
    """One JSON value as the decoder's type, or an error that names the field at ``place``.

    Raises:
        DataError: The bytes are not JSON, or not of the type.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), data, place) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{place}: not valid JSON: {_reason(error)}") from error


def decode_list(data: bytes, path: Path) -> list[msgspec.Raw]:
    """The undecoded items of a file that is one JSON list.

    Raises:
        DataError: The file is not JSON (the line is named) or not a list.
    """
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise _invalid(str(error), data, f"{path}: line 1") from error
    except (msgspec.DecodeError, RecursionError) as error:
        found = _BYTE.search(str(error))
        line = _line(data, int(found["byte"]) if found else len(data))
        raise DataError(f"{path}: line {line}: not valid JSON: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The decoder's own words, without its prefix and without an offset that counts from the wrong start."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return _BYTE.sub("", str(error)).removeprefix("JSON is malformed: ")


def _invalid(message: str, data: bytes, place: str) -> DataError:
    """A schema complaint of msgspec in this package's form, with the value looked up again."""
    parts = _VALIDATION.match(message)
    what, path = (parts["what"], parts["path"] or "") if parts else (message, "")
    field = path.lstrip(".")
    if named := _NAMED.match(what):
        field = f"{field}.{named['name']}".lstrip(".")
        if named["what"].startswith("missing"):
            return DataError(f"{place}, field {field}: missing, expected a value")
        return DataError(f"{place}, field {field}: unknown, expected no field of that name")
    value = _walk(msgspec.json.decode(data), path)
    if expected := _EXPECTED.match(what):
        return problem(
            place,
            field or "(all)",
            value,
            f"{expected['expected'].replace('`', '')}, not {expected['got'].replace('`', '')}",
        )
    return DataError(f"{place}, field {field or '(all)'}: got {shown(value)}: {what}")


def _walk(value: Any, path: str) -> Any:
    for step in _STEP.finditer(path):
        value = value[step["key"]] if step["key"] is not None else value[int(step["index"])]
    return value


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file; expected a data file")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a folder; expected a data file")
    return DataError(f"{path}: cannot be read: {error.strerror or error}")


def _not_utf8(place: str, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{place}: byte 0x{error.object[error.start]:02x} is not valid UTF-8; expected text in UTF-8")

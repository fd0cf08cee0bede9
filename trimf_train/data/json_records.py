"""Split a JSON data file into its records: the items of one list, or values one after another.

Published files have one record a line (JSON lines), one list of records, or pretty-printed records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from trimf.runtime.errors import DataError

from .json_errors import decode_list, read_bytes, read_lines


class JsonRecord(NamedTuple):
    """Undecoded record; ``name`` says where it begins in its file, such as ``line 3`` or ``record 3``."""

    name: str
    content: bytes


def read_json_records(path: Path) -> Iterator[JsonRecord]:
    """Read the records of a JSON file, without decoding them; JSON lines are read in constant memory.

    Args:
        path: The file.

    Yields:
        The records in file order; none if the file is blank.

    Raises:
        DataError: The file is missing, unreadable, not UTF-8 or not valid JSON; the message names the line. A line of a
            JSON lines file is checked when it is decoded.
    """
    lines = read_lines(path)
    number, first = next(((number, line) for number, line in lines if line.strip()), (0, b""))
    if not first:
        return
    if first.lstrip().startswith(b"["):
        items = decode_list(read_bytes(path), path)
        yield from (JsonRecord(f"record {index}", bytes(item)) for index, item in enumerate(items, 1))
    elif _is_complete(first):
        yield JsonRecord(f"line {number}", first)
        yield from (JsonRecord(f"line {number}", line) for number, line in lines if line.strip())
    else:
        yield from _split_values(read_bytes(path).decode(), path)


def _is_complete(line: bytes) -> bool:
    """Return True if a line is one complete JSON value."""
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _split_values(text: str, path: Path) -> Iterator[JsonRecord]:
    """Yield the JSON values of a text, which may extend over several lines, with only white space between them."""
    decoder = json.JSONDecoder()
    line_number, position = 1, 0
    while rest := text[position:].lstrip():
        start = len(text) - len(rest)
        line_number += text.count("\n", position, start)
        try:
            _, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: line {error.lineno}: not valid JSON: {error.msg}") from error
        except RecursionError as error:
            raise DataError(f"{path}: line {line_number}: not valid JSON: nested too deeply") from error
        yield JsonRecord(f"line {line_number}", text[start:position].encode())
        line_number += text.count("\n", start, position)

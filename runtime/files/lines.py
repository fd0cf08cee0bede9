"""Read UTF-8 line by line in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

#: UTF-8 byte order mark.
BOM = b"\xef\xbb\xbf"


def read_file_lines(path: str | Path) -> Iterator[str]:
    """Read a UTF-8 file line by line; see ``read_lines``.

    Args:
        path: File to read; it is opened when the first line is requested.

    Yields:
        The lines without their line ends.

    Raises:
        InputError: The file cannot be read, or a line is not UTF-8.
    """
    try:
        with Path(path).open("rb") as stream:
            yield from read_lines(stream, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Read a binary stream of UTF-8 line by line.

    Lines end at ``\\n`` or ``\\r\\n``. A byte order mark at the start of the stream is dropped; all other characters
    are kept.

    Args:
        stream: Binary stream to read.
        name: Name of the stream in error messages.

    Yields:
        The lines without their line ends.

    Raises:
        InputError: A line is not UTF-8; the message gives the line number (from 1) and the byte offset in the stream
            (from 0).
    """
    position = 0
    for line_number, raw in enumerate(stream, start=1):
        line = strip_line_end(raw)
        skipped = len(BOM) if line_number == 1 and line.startswith(BOM) else 0
        try:
            yield line[skipped:].decode()
        except UnicodeDecodeError as error:
            at = skipped + error.start
            raise InputError(
                f"{name}, line {line_number}: byte 0x{line[at]:02X} at position {position + at} is not UTF-8;"
                f" convert the file to UTF-8"
            ) from None
        position += len(raw)


def strip_line_end(line: bytes) -> bytes:
    """Return a line without its ``\\n`` or ``\\r\\n``."""
    without = line.removesuffix(b"\n")
    return without.removesuffix(b"\r") if len(without) < len(line) else line

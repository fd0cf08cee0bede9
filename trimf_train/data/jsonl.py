"""Read and write prepared JSON lines: one ``Sentence`` per line, written by ``trimf prepare``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from .json_errors import decode_record, read_lines
from .sentence import Sentence
from .validate import validate_sentence

_DECODER = msgspec.json.Decoder(Sentence)
_ENCODER = msgspec.json.Encoder()


def read_prepared_file(path: str | Path) -> Iterator[Sentence]:
    """Read the sentences of a prepared file in constant memory.

    Unknown fields and blank lines are errors.

    Args:
        path: The prepared file.

    Yields:
        The checked sentences, in file order.

    Raises:
        DataError: The file or a line cannot be used; the message names the line, the field, the value and what was
            expected.
    """
    path = Path(path)
    for line_number, line in read_lines(path):
        yield decode_line(line, f"{path}: line {line_number}")


def decode_line(line: bytes, location: str) -> Sentence:
    """Decode and check one line of a prepared file.

    Args:
        line: The line, with or without its line end.
        location: Where the line comes from; error messages start with it.

    Returns:
        The checked sentence.

    Raises:
        DataError: The line is not a usable sentence.
    """
    return validate_sentence(decode_record(_DECODER, line, location), location)


def encode_line(sentence: Sentence) -> bytes:
    """Encode a sentence as one line of a prepared file, line end included.

    Equal sentences always give identical bytes.
    """
    return _ENCODER.encode(sentence) + b"\n"

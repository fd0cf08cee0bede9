"""Prepared JSON lines: one :class:`Sentence` a line, as ``trimf prepare`` writes it and the trainer reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from .sentence import Sentence
from .source import decode_record, read_lines
from .validate import check

_DECODER = msgspec.json.Decoder(Sentence)
_ENCODER = msgspec.json.Encoder()


def read(path: str | Path) -> Iterator[Sentence]:
    """The sentences of a prepared file, in order, in constant memory; strict: unknown fields and blank lines fail.

    Raises:
        DataError: The file or a line cannot be used; the message names line, field, value and expectation.
    """
    path = Path(path)
    for number, line in read_lines(path):
        yield decode(line, f"{path}: line {number}")


def decode(line: bytes, place: str) -> Sentence:
    """One line of a prepared file; ``place`` opens the error message.

    Raises:
        DataError: The line is no usable sentence.
    """
    return check(decode_record(_DECODER, line, place), place)


def encode(sentence: Sentence) -> bytes:
    """One line of a prepared file, with its line end; the same sentence always gives the same bytes."""
    return _ENCODER.encode(sentence) + b"\n"

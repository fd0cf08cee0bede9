"""Every data format by name, and one function that reads any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError, InputError

from .ade import looks_like
from .sentence import Sentence
from .source import read_lines, shown
from .statistics import Statistics
from .validate import merge_repeated


@dataclass(frozen=True, slots=True)
class Format:
    """A data format: its name, the module whose ``read`` reads it, and how to recognise it."""

    name: str
    module: str
    shape: str


FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("spert", ".spert", 'one JSON list of {"tokens", "entities", "relations"}'),
        Format("dygie", ".dygie", 'JSON lines of {"sentences", "ner", "relations"}'),
        Format("ade", ".ade", "lines of PubMed id|sentence|effect|begin|end|drug|begin|end"),
        Format("prepared", ".prepared", 'JSON lines of {"tokens", "entities", "relations", "heads", "labels", "id"}'),
    )
}


def read_sentences(
    path: str | Path, format: str | None = None, statistics: Statistics | None = None
) -> Iterator[Sentence]:
    """The checked sentences of a data file in any format, in order, repeated annotation merged.

    Args:
        path: The file.
        format: A name of :data:`FORMATS`, or None to recognise the format by the file's content.
        statistics: Filled while sentences are read, if given.

    Raises:
        InputError: The format is unknown.
        DataError: The file cannot be read or recognised (before the first sentence is asked for), or a record cannot
            be used (when it is reached); the message names file, line or record, field, value and expectation.
    """
    path = Path(path)
    name = detect(path) if format is None else format
    if name not in FORMATS:
        raise InputError(f"format: got {shown(format)}, expected one of {', '.join(FORMATS)}")
    return _merged(import_module(FORMATS[name].module, __package__).read(path), statistics)


def _merged(sentences: Iterator[Sentence], statistics: Statistics | None) -> Iterator[Sentence]:
    for sentence in sentences:
        merged = merge_repeated(sentence)
        if statistics is not None:
            statistics.add(merged)
        yield merged.sentence


def detect(path: str | Path) -> str:
    """The name of a data file's format, going by its first line that is not blank.

    Raises:
        DataError: The file cannot be read, is empty, or is in no known format.
    """
    path = Path(path)
    for number, line in read_lines(path):
        if not line.strip():
            continue
        name = _format_of(line.strip())
        if name is None:
            known = "; ".join(f"{format.name} ({format.shape})" for format in FORMATS.values())
            raise DataError(f"{path}: line {number}: got {shown(line.decode())}, expected one of the formats {known}")
        return name
    raise DataError(f"{path}: the file is empty; expected sentences in one of the formats {', '.join(FORMATS)}")


class _Keys(msgspec.Struct):
    """The fields that tell the two JSON-lines formats apart; anything may be in them."""

    sentences: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _format_of(line: bytes) -> str | None:
    if line.startswith(b"["):
        return "spert"
    if line.startswith(b"{"):
        try:
            keys = msgspec.json.decode(line, type=_Keys)
        except (msgspec.DecodeError, RecursionError):
            return None
        if keys.sentences is not msgspec.UNSET:
            return "dygie"
        return "prepared" if keys.tokens is not msgspec.UNSET else None
    return "ade" if looks_like(line.decode()) else None

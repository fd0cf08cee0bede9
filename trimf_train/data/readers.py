"""Recognise and read every supported data format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError, InputError

from .ade import is_ade_line, read_ade
from .dygie import read_dygie
from .json_errors import read_lines, short_repr
from .jsonl import read_prepared_file
from .sentence import Sentence
from .spert import read_spert
from .statistics import DataStatistics
from .validate import merge_repeated_annotation


@dataclass(frozen=True, slots=True)
class Format:
    """Data format: its name, the function that reads a file of it, and a description of its content."""

    name: str
    read: Callable[[Path], Iterator[Sentence]]
    description: str


#: Supported formats by name.
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("spert", read_spert, 'one JSON list of {"tokens", "entities", "relations"}'),
        Format("dygie", read_dygie, 'JSON lines of {"sentences", "ner", "relations"}'),
        Format("ade", read_ade, "lines of PubMed id|sentence|effect|begin|end|drug|begin|end"),
        Format(
            "prepared", read_prepared_file, 'JSON lines of {"tokens", "entities", "relations", "heads", "labels", "id"}'
        ),
    )
}


def read_sentences(
    path: str | Path, format: str | None = None, statistics: DataStatistics | None = None
) -> Iterator[Sentence]:
    """Read the sentences of a data file in any supported format; merge repeated annotation.

    Args:
        path: The file.
        format: A name of ``FORMATS``, or None to recognise the format by the file's content.
        statistics: Counts to update while sentences are read, if not None.

    Returns:
        An iterator over the checked sentences, in file order.

    Raises:
        InputError: The format is unknown.
        DataError: The file cannot be read or recognised (raised by the call), or a record cannot be used (raised
            when iteration reaches it). The message names the file, the line or record, the field, the value and what
            was expected.
    """
    path = Path(path)
    name = detect_format(path) if format is None else format
    if name not in FORMATS:
        raise InputError(f"unknown format {short_repr(format)}; choose from {', '.join(FORMATS)}")
    return _merge_sentences(FORMATS[name].read(path), statistics)


def _merge_sentences(sentences: Iterator[Sentence], statistics: DataStatistics | None) -> Iterator[Sentence]:
    """Merge repeated annotation of every sentence and count it in ``statistics``."""
    for sentence in sentences:
        merged = merge_repeated_annotation(sentence)
        if statistics is not None:
            statistics.add(merged)
        yield merged.sentence


def detect_format(path: str | Path) -> str:
    """Recognise the format of a data file by its first line that is not blank.

    Args:
        path: The file.

    Returns:
        The name of the format.

    Raises:
        DataError: The file cannot be read, is empty, or is in no supported format.
    """
    path = Path(path)
    for line_number, line in read_lines(path):
        if not line.strip():
            continue
        name = _recognise_line(line.strip())
        if name is None:
            known = "; ".join(f"{format.name} ({format.description})" for format in FORMATS.values())
            location = f"{path}: line {line_number}"
            raise DataError(f"{location}: unknown data format: {short_repr(line.decode())}; supported formats: {known}")
        return name
    raise DataError(f"{path}: the file is empty; it must contain sentences in one of the formats {', '.join(FORMATS)}")


class _FormatKeys(msgspec.Struct, frozen=True):
    """Fields that distinguish the two JSON-lines formats; their values are not decoded."""

    sentences: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _recognise_line(line: bytes) -> str | None:
    """Return the name of the format that a first line belongs to, or None."""
    if line.startswith(b"["):
        return "spert"
    if line.startswith(b"{"):
        try:
            keys = msgspec.json.decode(line, type=_FormatKeys)
        except (msgspec.DecodeError, RecursionError):
            return None
        if keys.sentences is not msgspec.UNSET:
            return "dygie"
        return "prepared" if keys.tokens is not msgspec.UNSET else None
    return "ade" if is_ade_line(line.decode()) else None

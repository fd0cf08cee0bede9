"""Recognise and read every supported data format."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError, InputError
from trimf.runtime.output.plain_text import make_visible

from .ade import is_ade_line, read_ade
from .dygie import read_dygie
from .json_errors import read_lines, short_repr
from .json_records import read_json_records
from .jsonl import read_prepared_file
from .omissions import Omissions
from .sentence import Sentence
from .spert import read_spert
from .statistics import DataStatistics
from .validate import merge_repeated_annotation

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Format:
    """Data format: its name, the function that reads a file of it, and a description of its content.

    The function counts what it leaves out of published data in its second argument.
    """

    name: str
    read: Callable[[Path, Omissions], Iterator[Sentence]]
    description: str


#: Supported formats by name.
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format("spert", read_spert, 'a JSON list, or JSON lines, of {"tokens", "entities", "relations"}'),
        Format("dygie", read_dygie, 'JSON lines, or a JSON list, of {"sentences", "ner", "relations"}'),
        Format("ade", lambda path, _: read_ade(path), "lines of PubMed id|sentence|effect|begin|end|drug|begin|end"),
        Format(
            "prepared",
            lambda path, _: read_prepared_file(path),
            'JSON lines of {"tokens", "entities", "relations", "heads", "labels", "id"}',
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
        statistics: Counts to update while sentences are read, if not None. The caller then reports what was left out;
            otherwise a warning of the logger ``trimf_train.data.readers`` says it, which Python prints on stderr.

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
    return _merge_sentences(FORMATS[name], path, statistics)


def _merge_sentences(format: Format, path: Path, statistics: DataStatistics | None) -> Iterator[Sentence]:
    """Merge repeated annotation of every sentence and count it in ``statistics``."""
    omissions = Omissions() if statistics is None else statistics.omissions
    for sentence in format.read(path, omissions):
        merged = merge_repeated_annotation(sentence)
        if statistics is not None:
            statistics.add(merged)
        yield merged.sentence
    if statistics is None and str(omissions):
        _LOG.warning("%s: left out %s", make_visible(str(path)), omissions)


def detect_format(path: str | Path) -> str:
    """Recognise the format of a data file by its first record.

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
        text, reason = line.strip(), short_repr(line.decode())
        if text.startswith(b"["):  # never a prepared file, which has one record a line
            return "dygie" if _recognise_record(_read_first_record(path)) == "dygie" else "spert"
        if text.startswith(b"{"):
            try:
                name = _recognise_record(_read_first_record(path))
            except DataError as error:  # not JSON, so in no format
                name, reason = None, str(error).removeprefix(f"{path}: ")
        else:
            name = "ade" if is_ade_line(text.decode()) else None
        if name is None:
            known = "; ".join(f"{format.name} ({format.description})" for format in FORMATS.values())
            location = f"{path}: line {line_number}"
            raise DataError(f"{location}: unknown data format: {reason}; supported formats: {known}")
        return name
    raise DataError(f"{path}: the file is empty; it must contain sentences in one of the formats {', '.join(FORMATS)}")


class _FormatKeys(msgspec.Struct, frozen=True):
    """Fields that distinguish the JSON formats; their values are not decoded."""

    sentences: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    heads: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    labels: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _read_first_record(path: Path) -> bytes:
    """Return the first record of a JSON file; empty if it has none."""
    return next((record.content for record in read_json_records(path)), b"")


def _recognise_record(record: bytes) -> str | None:
    """Return the name of the format that a JSON record belongs to, or None.

    SpERT and prepared records look alike. Only prepared ones have ``heads``, ``labels`` or ``id``, and only SpERT
    records have fields that prepared ones do not know.
    """
    try:
        keys = msgspec.json.decode(record, type=_FormatKeys)
    except (msgspec.DecodeError, RecursionError):
        return None
    if keys.sentences is not msgspec.UNSET:
        return "dygie"
    if keys.tokens is msgspec.UNSET:
        return None
    if all(value is msgspec.UNSET for value in (keys.heads, keys.labels, keys.id)) and _has_unknown_field(record):
        return "spert"
    return "prepared"


def _has_unknown_field(record: bytes) -> bool:
    """Return True if a record has a field that a prepared sentence does not have."""
    try:
        msgspec.json.decode(record, type=Sentence)
    except msgspec.ValidationError as error:
        return "unknown field" in str(error)
    return False

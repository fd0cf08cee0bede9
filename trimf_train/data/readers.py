"""Recognise and read every supported data format."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trimf.runtime.errors import DataError, InputError
from trimf.runtime.output.plain_text import make_visible

from .document import AnnotatedDocument
from .document_splitting import DEFAULT_SPLITTING, DocumentSplitting, iterate_document_sentences
from .formats.registry import FORMATS, Format, FormatSample
from .json_errors import read_lines, short_repr
from .json_records import read_json_records
from .reading_report import ReadingReport
from .sentence import Sentence
from .statistics import DataStatistics
from .validate import merge_repeated_annotation

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Records or lines that a format is recognised by; the first ones may have no annotation.
_SAMPLE_SIZE = 100


def read_sentences(
    path: str | Path,
    format: str | None = None,
    statistics: DataStatistics | None = None,
    splitting: DocumentSplitting = DEFAULT_SPLITTING,
) -> Iterator[Sentence]:
    """Read the sentences of a data file in any supported format; merge repeated annotation.

    Args:
        path: The file, or a folder of a format that has one.
        format: A name of ``FORMATS``, or None to recognise the format by the file's content.
        statistics: Counts to update while sentences are read, if not None. The caller then reports what was left out;
            otherwise a warning of the logger ``trimf_train.data.readers`` says it, which Python prints on stderr.
        splitting: How running text becomes sentences of words, in formats that count characters.

    Returns:
        An iterator over the checked sentences, in file order.

    Raises:
        InputError: The format is unknown.
        DataError: The file cannot be read or recognised (raised by the call), or a record cannot be used (raised
            when iteration reaches it). The message names the file, the line or record, the field, the value and what
            was expected.
    """
    path = Path(path)
    sentences = _merge_sentences(find_format(path, format), path, statistics, splitting)
    return sentences if format is None else _name_real_format(sentences, path, format)


def read_documents(path: str | Path, format: str | None = None) -> Iterator[AnnotatedDocument] | None:
    """Read the documents of a data file in a format that counts characters.

    Args:
        path: The file, or a folder of a format that has one.
        format: A name of ``FORMATS``, or None to recognise the format by the file's content.

    Returns:
        An iterator over the checked documents, in file order; None if the format has words instead of running text.

    Raises:
        InputError: The format is unknown.
        DataError: See ``read_sentences``.
    """
    path = Path(path)
    found = find_format(path, format)
    if found.read_documents is None:
        return None
    documents = _report_losses(found, path)
    return documents if format is None else _name_real_format(documents, path, format)


def find_format(path: str | Path, format: str | None = None) -> Format:
    """Return the format with a name, or that of a file's content.

    Raises:
        InputError: The format is unknown.
        DataError: The file is in no supported format.
    """
    name = detect_format(path) if format is None else format
    if name not in FORMATS:
        raise InputError(f"unknown format {short_repr(format)}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]


def _name_real_format(items: Iterator[T], path: Path, format: str) -> Iterator[T]:
    """Yield items; add to an error that the file looks like another format than the one that was named."""
    try:
        yield from items
    except DataError as error:
        try:
            looks_like = detect_format(path)
        except DataError:
            looks_like = format
        if looks_like == format:
            raise
        raise DataError(f"{error}; the content looks like the format {looks_like}, not {format}") from error


def list_files(path: str | Path, format: str | None = None) -> list[Path]:
    """Return the files that are read when a data file or folder is given.

    Raises:
        InputError: The format is unknown.
        DataError: The file is in no supported format.
    """
    path = Path(path)
    found = find_format(path, format)
    return [path] if found.list_files is None else found.list_files(path)


def _report_losses(format: Format, path: Path) -> Iterator[AnnotatedDocument]:
    """Yield the documents of a file, then warn of what was left out."""
    assert format.read_documents is not None
    report = ReadingReport()
    yield from format.read_documents(path, report)
    warn_of_losses(path, report)


def _merge_sentences(
    format: Format, path: Path, statistics: DataStatistics | None, splitting: DocumentSplitting
) -> Iterator[Sentence]:
    """Merge repeated annotation of every sentence and count it in ``statistics``."""
    report = ReadingReport() if statistics is None else statistics.report
    if format.read_documents is not None:
        sentences = iterate_document_sentences(format.read_documents(path, report), splitting, report)
    else:
        assert format.read_sentences is not None
        sentences = format.read_sentences(path, report)
    for sentence in sentences:
        merged = merge_repeated_annotation(sentence)
        if statistics is not None:
            statistics.add(merged)
        yield merged.sentence
    if statistics is None:
        warn_of_losses(path, report)


def warn_of_losses(path: str | Path, report: ReadingReport) -> None:
    """Log what a reader left out and changed, in one line each."""
    for what, phrase in (("left out", report.describe_left_out()), ("changed", report.describe_changes())):
        if phrase:
            _LOG.warning("%s: %s %s", make_visible(str(path)), what, phrase)


def detect_format(path: str | Path) -> str:
    """Recognise the format of a data file by its first record.

    Args:
        path: The file, or a folder.

    Returns:
        The name of the format.

    Raises:
        DataError: The file cannot be read, is empty, or is in no supported format; the message says what it looks like.
    """
    path = Path(path)
    sample = _sample_path(path)
    for name, format in FORMATS.items():
        if format.recognises(sample):
            return name
    known = f"the known formats are {', '.join(FORMATS)}"
    if path.is_dir():
        raise DataError(f"{path}: is a folder, and in no format of folders; {known}")
    raise DataError(f"{path}: line {sample.line_number}: unknown data format: {_describe_sample(sample)}; {known}")


def _sample_path(path: Path) -> FormatSample:
    """Read what a format is recognised by: the first line, and the first record of a JSON file."""
    if path.is_dir() or any(format.recognises(FormatSample(path)) for format in FORMATS.values()):
        return FormatSample(path)
    for line_number, line in read_lines(path):
        if not line.strip():
            continue
        text = line.decode()
        if not text.lstrip().startswith(("[", "{")):
            lines = (line.decode() for _, line in read_lines(path) if line.strip())
            return FormatSample(path, text, None, line_number, lines=tuple(islice(lines, _SAMPLE_SIZE)))
        records = [_decode_object(record.content) for record in islice(read_json_records(path), _SAMPLE_SIZE)]
        if not records:
            raise DataError(f"{path}: the file contains no sentences; at least one is needed")
        return FormatSample(path, text, records[0], line_number, tuple(item for item in records if item is not None))
    raise DataError(f"{path}: the file is empty; it must contain sentences in one of the formats {', '.join(FORMATS)}")


def _decode_object(content: bytes) -> dict[str, Any] | None:
    """Decode a record; None if it is no object, which is in no format."""
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


def _describe_sample(sample: FormatSample) -> str:
    """Describe the content of a file that is in no format."""
    if sample.record is not None:
        fields = ", ".join(map(short_repr, sample.record)) or "none"
        return f"a JSON record with the fields {fields}"[:300]
    return short_repr(sample.line.strip())

"""Convert a data file to prepared JSON lines with dependency parses (``trimf prepare``).

The conversion is atomic and can be resumed. It writes three files in the same folder: OUTPUT itself, which exists only
when it is complete; ``OUTPUT.part``, the lines written so far; and ``OUTPUT.source.json``, a record of the source
(hash of the input, format, parser, version). A part file means that the conversion is not finished. The same call on
the same input keeps the valid lines of the part file and continues after them, so an interrupted run produces the same
bytes as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import trimf
from trimf.runtime.errors import DataError, InputError
from trimf.runtime.output.plain_text import make_visible

from . import jsonl as prepared
from .json_errors import read_bytes, short_repr
from .readers import detect_format, read_sentences
from .sentence import Sentence, with_parse
from .statistics import DataStatistics
from .validate import validate_sentence

if TYPE_CHECKING:
    from trimf.runtime.text.parser import Parse, Parser


class SourceRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Record of the source of a prepared file; two runs with equal sources write equal bytes."""

    input_sha256: str
    format: str
    parser: str
    parser_version: str
    parser_labels: tuple[str, ...]
    trimf_version: str


@dataclass(frozen=True, slots=True)
class PreparationSummary:
    """Summary of a call of ``prepare_file``: its output, source and statistics.

    ``parsed`` counts the sentences parsed in this run; the others were kept from an earlier run.
    """

    output: Path
    source: SourceRecord
    statistics: DataStatistics
    parsed: int

    @property
    def kept(self) -> int:
        """Number of sentences kept from an earlier run."""
        return self.statistics.sentences - self.parsed

    def __str__(self) -> str:
        """Format the summary as lines of text."""
        head = make_visible(f"{self.output}: {self.source.format} parsed by {self.source.parser}")
        return (
            f"{head}\n{self.parsed:>8}  sentences parsed now, {self.kept} kept from an earlier run\n{self.statistics}"
        )


def prepare_file(
    input: str | Path,
    output: str | Path,
    parser: Parser,
    format: str | None = None,
    max_span: int = 10,
    batch_size: int = 64,
    progress: bool = True,
    force: bool = False,
) -> PreparationSummary:
    """Check a data file, parse its sentences and write them to ``output``, one JSON line each.

    The complete input is checked before anything is parsed or written. ``output`` is created by renaming the complete
    part file. A finished ``output`` of the same source is left unchanged; an unfinished one is continued. Existing
    parses in the input are replaced.

    Args:
        input: A data file in any format of ``trimf_train.data.readers``.
        output: The file to write; its folder is created if it does not exist.
        parser: The parser that predicts heads and labels for lists of words.
        format: The input's format, or None to recognise it.
        max_span: Entities longer than this number of words are counted in the statistics (and kept).
        batch_size: Number of sentences parsed and written at a time.
        progress: Show a progress bar on stderr.
        force: Start over and replace an existing ``output`` or part file.

    Returns:
        A summary with statistics of the data.

    Raises:
        InputError: A number is out of range, or ``output`` exists and was made from a different source.
        DataError: The input cannot be used, a parse does not fit its sentence, or ``output`` cannot be written.
    """
    for name, value in (("max_span", max_span), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"{name} must be >= 1, got {value}")
    input, output = Path(input), Path(output)
    format = detect_format(input) if format is None else format
    statistics = DataStatistics(max_span=max_span)
    for _ in read_sentences(input, format, statistics):
        pass
    if not statistics.sentences:
        omitted = f" (left out: {statistics.omissions})" if str(statistics.omissions) else ""
        raise DataError(f"{input}: the file contains no sentences; at least one is needed{omitted}")
    source = _describe_source(input, format, parser)

    again = partial(read_sentences, input, format, DataStatistics(max_span))  # the statistics have been collected
    done = 0 if force else _count_finished(output, source, again(), statistics.sentences)
    if done is None:
        return PreparationSummary(output, source, statistics, parsed=0)
    if not done:
        _start_output(output, source)
    rest = islice(again(), done, None)
    _append_parsed(output, rest, parser, batch_size, _progress_bar(progress, done, statistics.sentences))
    _finish_output(output)
    return PreparationSummary(output, source, statistics, parsed=statistics.sentences - done)


def _describe_source(input: Path, format: str, parser: Parser) -> SourceRecord:
    return SourceRecord(
        input_sha256=hashlib.sha256(read_bytes(input)).hexdigest(),
        format=format,
        parser=parser.name,
        parser_version=str(getattr(parser, "version", "")),
        parser_labels=tuple(parser.labels),
        trimf_version=trimf.__version__,
    )


def read_source_record(prepared: str | Path) -> SourceRecord | None:
    """Return the source record of a prepared file, or None if it has no readable ``.source.json``."""
    return _read_source(Path(prepared))


def _count_finished(output: Path, source: SourceRecord, sentences: Iterator[Sentence], total: int) -> int | None:
    """Count the valid sentences in the part file and truncate it after them; return None if ``output`` is complete.

    Raises:
        InputError: ``output`` exists and was made from a different source.
    """
    part = _part_path(output)
    same = _read_source(output) == source
    with _report_write_errors(output):
        if same and part.exists():
            count, size = _count_valid_lines(part, sentences)
            os.truncate(part, size)
            return count
        if not output.exists():
            return 0
        if same and not part.exists() and _count_valid_lines(output, sentences) == (total, output.stat().st_size):
            return None
    raise InputError(
        f"{output}: already exists and was made from a different input, format, parser or TriMF version; "
        "choose another output or use --force to replace it"
    )


def _start_output(output: Path, source: SourceRecord) -> None:
    """Create an empty part file and write the source record."""
    with _report_write_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        # The part file is created first, so that the output counts as unfinished even if this run is killed here.
        _part_path(output).write_bytes(b"")
        record = _record_path(output)
        temporary = record.with_name(record.name + ".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(source)) + b"\n")
        os.replace(temporary, record)


def _append_parsed(output: Path, sentences: Iterator[Sentence], parser: Parser, batch_size: int, bar: Progress) -> None:
    """Parse the remaining sentences and append them to the part file, one batch at a time."""
    with bar:
        while batch := list(islice(sentences, batch_size)):
            parses = parser.parse([sentence.tokens for sentence in batch])
            if len(parses) != len(batch):
                raise DataError(
                    f"parser {parser.name} must return {len(batch)} parses, one per sentence; got {len(parses)}"
                )
            parsed = [_add_parse(*pair, parser.name) for pair in zip(batch, parses, strict=True)]
            with _report_write_errors(output), _part_path(output).open("ab") as file:
                file.writelines(map(prepared.encode_line, parsed))
            bar.advance(bar.task_ids[0], len(batch))


def _finish_output(output: Path) -> None:
    """Rename the part file to ``output`` and sync both to disk, so that they survive a power failure if possible."""
    with _report_write_errors(output):
        with _part_path(output).open("ab") as file:
            os.fsync(file.fileno())
        os.replace(_part_path(output), output)
        if os.name == "posix":
            folder = os.open(output.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _add_parse(sentence: Sentence, parse: Parse, parser: str) -> Sentence:
    """Return the sentence with its parse, checked."""
    return validate_sentence(
        with_parse(sentence, parse), f"parser {parser}: parse of sentence {short_repr(sentence.id)}"
    )


def _count_valid_lines(path: Path, sentences: Iterable[Sentence]) -> tuple[int, int]:
    """Count the leading lines of a prepared file, and their bytes, that are the parsed form of ``sentences``."""
    count = size = 0
    with path.open("rb") as file:
        for line, sentence in zip(file, sentences, strict=False):
            if not line.endswith(b"\n"):
                break
            try:
                written = prepared.decode_line(line, str(path))
            except (DataError, UnicodeDecodeError):
                break
            if written.heads is None or _without_parse(written) != _without_parse(sentence):
                break
            count += 1
            size += len(line)
    return count, size


def _without_parse(sentence: Sentence) -> Sentence:
    return msgspec.structs.replace(sentence, heads=None, labels=None)


def _read_source(output: Path) -> SourceRecord | None:
    try:
        return msgspec.json.decode(_record_path(output).read_bytes(), type=SourceRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _part_path(output: Path) -> Path:
    return output.with_name(output.name + ".part")


def _record_path(output: Path) -> Path:
    return output.with_name(output.name + ".source.json")


@contextmanager
def _report_write_errors(output: Path) -> Iterator[None]:
    """Turn an OSError into a DataError that names ``output``."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror or error}") from error


def _progress_bar(visible: bool, done: int, total: int) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not visible)
    bar.add_task("parsing", total=total, completed=done)
    return bar

"""Convert a data file to prepared JSON lines with dependency parses (``trimf prepare``).

The conversion is atomic and can be resumed. It writes three files in the same folder: OUTPUT itself, which exists only
when it is complete; ``OUTPUT.part``, the lines written so far; and ``OUTPUT.source.json``, a record of the source
(hash of the input, format, parser, version). A part file means that the conversion is not finished. The same call on
the same input keeps the valid lines of the part file and continues after them, so an interrupted run produces the same
bytes as an uninterrupted one. A lock keeps a second process out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import trimf
from trimf.runtime.errors import DataError, InputError
from trimf.runtime.files.atomic import atomic_path
from trimf.runtime.files.locks import lock_output
from trimf.runtime.files.output import open_output
from trimf.runtime.files.write_errors import report_write_errors
from trimf.runtime.output.plain_text import make_visible
from trimf.runtime.text.words import DEFAULT_LANGUAGE

from . import jsonl as prepared
from .data_questions import DataProfile, ask_about_data
from .document_splitting import DocumentSplitting
from .file_hashes import combine_hashes, hash_while_reading
from .formats.registry import FORMATS
from .json_errors import short_repr
from .readers import detect_format, list_files, read_sentences
from .reading_report import ReadingReport
from .sentence import Sentence, with_parse
from .statistics import DataStatistics
from .validate import validate_sentence

if TYPE_CHECKING:
    from trimf.runtime.text.parser import Parse, Parser


class SourceRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Record of the source of a prepared file; two runs with equal sources write equal bytes.

    ``language`` and ``misaligned`` say how running text became words; they are empty for a source of words.
    """

    input_sha256: str
    format: str
    parser: str
    parser_version: str
    parser_labels: tuple[str, ...]
    trimf_version: str
    language: str = ""
    misaligned: str = ""


@dataclass(frozen=True, slots=True)
class PreparationSummary:
    """Summary of a call of ``prepare_file``: its output, source and statistics.

    ``parsed`` counts the sentences parsed in this run; the others were kept from an earlier run. ``questions`` are what
    deserves a look in the data, one line each.
    """

    output: Path
    source: SourceRecord
    statistics: DataStatistics
    parsed: int
    questions: list[str]

    @property
    def kept(self) -> int:
        """Number of sentences kept from an earlier run."""
        return self.statistics.sentences - self.parsed

    def __str__(self) -> str:
        """Format the summary as lines of text."""
        head = make_visible(f"{self.output}: {self.source.format} parsed by {self.source.parser}")
        parsed = f"{self.parsed:>8}  sentences parsed now, {self.kept} kept from an earlier run"
        return "\n".join([head, parsed, str(self.statistics), *(f"check: {line}" for line in self.questions)])


def prepare_file(
    input: str | Path,
    output: str | Path,
    parser: Parser,
    format: str | None = None,
    max_span: int = 10,
    batch_size: int = 64,
    progress: bool = True,
    force: bool = False,
    language: str = DEFAULT_LANGUAGE,
    misaligned: Literal["error", "snap", "skip"] = "error",
) -> PreparationSummary:
    """Check a data file, parse its sentences and write them to ``output``, one JSON line each.

    The complete input is checked before anything is parsed or written. ``output`` is created by renaming the complete
    part file. A finished ``output`` of the same source is left unchanged; an unfinished one is continued. Existing
    parses in the input are replaced.

    Args:
        input: A data file or folder in any format of ``trimf_train.data.readers``.
        output: The file to write; its folder is created if it does not exist.
        parser: The parser that predicts heads and labels for lists of words.
        format: The input's format, or None to recognise it.
        max_span: Entities longer than this number of words are counted in the statistics (and kept).
        batch_size: Number of sentences parsed and written at a time.
        progress: Show a progress bar on stderr.
        force: Start over and replace an existing ``output`` or part file.
        language: Language whose rules split running text, in formats that count characters.
        misaligned: What to do with an entity of such a format that begins or ends inside a word: refuse the data,
            extend the entity to whole words, or leave it out.

    Returns:
        A summary with statistics of the data.

    Raises:
        InputError: A number is out of range, or ``output`` exists and was made from a different source.
        DataError: The input cannot be used, a parse does not fit its sentence, or ``output`` cannot be written.
        BackendError: There are no rules for ``language``, or a package that they need is not installed.
    """
    for name, value in (("max_span", max_span), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"{name} must be >= 1, got {value}")
    input, output = Path(input), Path(output)
    if input.exists() and not (stat.S_ISREG(input.stat().st_mode) or input.is_dir()):
        raise DataError(f"{input}: not a regular file; it is read more than once, so save it to a file first")
    with ExitStack() as held:
        format = detect_format(input) if format is None else format
        with hash_while_reading(list_files(input, format)) as hashes:
            statistics = DataStatistics(max_span=max_span)
            splitting = DocumentSplitting(language, "skip" if misaligned == "error" else misaligned)
            profile = DataProfile.of(read_sentences(input, format, statistics, splitting))
            if misaligned == "error":
                _check_alignment(input, statistics.report)
            if not statistics.sentences:
                left_out = statistics.report.describe_left_out()
                omitted = f" (left out: {left_out})" if left_out else ""
                raise DataError(f"{input}: the file contains no sentences; at least one is needed{omitted}")
            questions = ask_about_data(profile)
            # The statistics are collected, so those of further readings are not needed.
            again = partial(read_sentences, input, format, DataStatistics(max_span), splitting)
            source = _describe_source(combine_hashes(hashes, input), format, parser)
            if FORMATS[format].read_documents is not None:
                source = msgspec.structs.replace(source, language=language, misaligned=splitting.misaligned)
            if _is_stream(output):
                _write_stream(again(), output, parser, batch_size)
                return PreparationSummary(output, source, statistics, parsed=statistics.sentences, questions=questions)
            with report_write_errors(output):
                output.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_output(output))
            done = _resume_output(again(), output, source, statistics.sentences, force)
            if done is None:
                return PreparationSummary(output, source, statistics, parsed=0, questions=questions)
            rest = islice(again(), done, None)
            _append_parsed(output, rest, parser, batch_size, _progress_bar(progress, done, statistics.sentences))
        _finish_output(output)
    return PreparationSummary(output, source, statistics, parsed=statistics.sentences - done, questions=questions)


def _check_alignment(input: Path, report: ReadingReport) -> None:
    """Raise a DataError if entities begin or end inside a word."""
    count = report.counts["misaligned_entities"]
    if count:
        what = "entity begins or ends" if count == 1 else "entities begin or end"
        raise DataError(
            f"{input}: {count} {what} inside a word, such as {report.examples['misaligned_entities'][0]}; choose "
            "--misaligned snap to extend such entities to whole words, or --misaligned skip to leave them out"
        )


def _is_stream(output: Path) -> bool:
    """Return True for standard output, a pipe or a device, which cannot be resumed."""
    return str(output) == "-" or (output.exists() and not output.is_file() and not output.is_dir())


def _write_stream(sentences: Iterator[Sentence], output: Path, parser: Parser, batch_size: int) -> None:
    """Write prepared lines to a place that cannot be resumed, without a source record."""
    with open_output(output) as stream:
        for batch in _parse_batches(sentences, parser, batch_size):
            stream.writelines(prepared.encode_line(sentence).decode() for sentence in batch)


def _resume_output(
    sentences: Iterator[Sentence], output: Path, source: SourceRecord, total: int, force: bool
) -> int | None:
    """Return how many sentences the part file has, after starting it if it has none; None if ``output`` is complete."""
    if force:
        _check_replaceable(output)
        done: int | None = 0
    else:
        done = _count_finished(output, source, sentences, total)
    if done == 0:
        _start_output(output, source)
    return done


def _check_replaceable(output: Path) -> None:
    """Refuse to replace a file that ``trimf prepare`` did not write."""
    if output.exists() and _read_source(output) is None and not _is_prepared(output):
        raise InputError(f"{output}: was not written by `trimf prepare`, so it is not replaced; choose another output")


def _is_prepared(path: Path) -> bool:
    """Return True if a file is empty or its first line is a prepared sentence."""
    try:
        with path.open("rb") as file:
            line = file.readline()
            return not line or prepared.decode_line(line, str(path)) is not None
    except (OSError, DataError, UnicodeDecodeError):
        return False


def _describe_source(input_sha256: str, format: str, parser: Parser) -> SourceRecord:
    return SourceRecord(
        input_sha256=input_sha256,
        format=format,
        parser=parser.name,
        parser_version=str(getattr(parser, "version", "")),
        parser_labels=tuple(parser.labels),
        trimf_version=trimf.__version__,
    )


def read_source_record(prepared: str | Path) -> SourceRecord | None:
    """Return the source record of a prepared file, or None if it has no readable ``.source.json``."""
    return _read_source(Path(prepared))


def write_source_record(prepared: str | Path, source: SourceRecord) -> None:
    """Write the source record of a prepared file, atomically."""
    with atomic_path(_record_path(Path(prepared))) as new:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(source)) + b"\n")


def _count_finished(output: Path, source: SourceRecord, sentences: Iterator[Sentence], total: int) -> int | None:
    """Count the valid sentences in the part file and truncate it after them; return None if ``output`` is complete.

    Raises:
        InputError: ``output`` exists and was made from a different source.
    """
    part = _part_path(output)
    same = _read_source(output) == source
    with report_write_errors(output):
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
    with report_write_errors(output):
        # The part file is created first, so that the output counts as unfinished even if this run is killed here.
        _part_path(output).write_bytes(b"")
        write_source_record(output, source)


def _append_parsed(output: Path, sentences: Iterator[Sentence], parser: Parser, batch_size: int, bar: Progress) -> None:
    """Parse the remaining sentences and append them to the part file, one batch at a time."""
    with bar:
        for batch in _parse_batches(sentences, parser, batch_size):
            with report_write_errors(output, _part_path(output)), _part_path(output).open("ab") as file:
                file.writelines(map(prepared.encode_line, batch))
            bar.advance(bar.task_ids[0], len(batch))


def _parse_batches(sentences: Iterator[Sentence], parser: Parser, batch_size: int) -> Iterator[list[Sentence]]:
    """Parse sentences and yield them in batches."""
    while batch := list(islice(sentences, batch_size)):
        parses = parser.parse([sentence.tokens for sentence in batch])
        if len(parses) != len(batch):
            raise DataError(
                f"parser {parser.name} must return {len(batch)} parses, one per sentence; got {len(parses)}"
            )
        yield [_add_parse(*pair, parser.name) for pair in zip(batch, parses, strict=True)]


def _finish_output(output: Path) -> None:
    """Rename the part file to ``output`` and sync both to disk, so that they survive a power failure if possible."""
    with report_write_errors(output):
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


def _progress_bar(visible: bool, done: int, total: int) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not visible)
    bar.add_task("parsing", total=total, completed=done)
    return bar

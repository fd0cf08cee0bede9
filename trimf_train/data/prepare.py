"""``trimf prepare``: any data file to prepared JSON lines with dependency parses, atomically and resumably.

Three files, side by side: OUTPUT itself, which exists only when it is whole; ``OUTPUT.part``, the lines written so
far; and ``OUTPUT.source.json``, what the lines were made from (hash of the input, format, parser, version). A part
file means "not finished". The same call on the same input keeps the good lines of the part file and goes on after
them, so an interrupted run ends in the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import trimf
from trimf.runtime.errors import DataError, InputError

from . import prepared
from .readers import detect, read_sentences
from .sentence import Sentence, with_parse
from .source import read_bytes, shown
from .statistics import Statistics
from .validate import check

if TYPE_CHECKING:
    from trimf.runtime.parser import Parse, Parser


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a prepared file was made from; two runs with equal sources write equal bytes."""

    input_sha256: str
    format: str
    parser: str
    parser_version: str
    parser_labels: tuple[str, ...]
    trimf_version: str


@dataclass(frozen=True, slots=True)
class Preparation:
    """What :func:`prepare` did: where the result is, from what it was made, and what it holds.

    ``parsed`` counts the sentences parsed in this run; the others were kept from an earlier one.
    """

    output: Path
    source: Source
    statistics: Statistics
    parsed: int

    @property
    def kept(self) -> int:
        """Sentences that an earlier run had parsed already."""
        return self.statistics.sentences - self.parsed

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "output": str(self.output),
            "format": self.source.format,
            "parser": self.source.parser,
            "input_sha256": self.source.input_sha256,
            "parsed": self.parsed,
            "kept": self.kept,
            "statistics": self.statistics.to_dict(),
        }

    def __str__(self) -> str:
        """A short text for people."""
        head = f"{self.output}: {self.source.format} parsed by {self.source.parser}"
        return (
            f"{head}\n{self.parsed:>8}  sentences parsed now, {self.kept} kept from an earlier run\n{self.statistics}"
        )


def prepare(
    input: str | Path,
    output: str | Path,
    parser: Parser,
    format: str | None = None,
    max_span: int = 10,
    batch_size: int = 64,
    progress: bool = True,
    force: bool = False,
) -> Preparation:
    """Check a data file, parse its sentences and write them to ``output``, one JSON line each.

    The whole input is checked before anything is parsed or written. ``output`` appears by renaming when it is whole.
    A finished ``output`` of the same source is left as it is; an unfinished one is continued. Parses that the input
    already has are replaced.

    Args:
        input: A data file in any format of :mod:`trimf_train.data.readers`.
        output: The file to write; its folder is made where it does not exist.
        parser: Gives heads and labels for lists of words.
        format: The input's format, or None to recognise it.
        max_span: Entities longer than this many words are counted in the statistics (and kept).
        batch_size: Sentences parsed, and written, at a time.
        progress: Show a bar on stderr.
        force: Write ``output`` anew, whatever is there.

    Raises:
        InputError: A number is out of range, or ``output`` exists and was made from something else.
        DataError: The input cannot be used, a parse does not fit its sentence, or ``output`` cannot be written.
    """
    for name, value in (("max_span", max_span), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"{name}: got {value}, expected 1 or more")
    input, output = Path(input), Path(output)
    format = detect(input) if format is None else format
    statistics = Statistics(max_span=max_span)
    for _ in read_sentences(input, format, statistics):
        pass
    if not statistics.sentences:
        raise DataError(f"{input}: holds no sentence; expected at least one")
    source = _source_of(input, format, parser)

    done = 0 if force else _done_before(output, source, read_sentences(input, format), statistics.sentences)
    if done is None:
        return Preparation(output, source, statistics, parsed=0)
    if not done:
        _begin(output, source)
    rest = islice(read_sentences(input, format), done, None)
    _parse_into(output, rest, parser, batch_size, _bar(progress, done, statistics.sentences))
    _finish(output)
    return Preparation(output, source, statistics, parsed=statistics.sentences - done)


def _source_of(input: Path, format: str, parser: Parser) -> Source:
    return Source(
        input_sha256=hashlib.sha256(read_bytes(input)).hexdigest(),
        format=format,
        parser=parser.name,
        parser_version=str(getattr(parser, "version", "")),
        parser_labels=tuple(parser.labels),
        trimf_version=trimf.__version__,
    )


def source_of(prepared: str | Path) -> Source | None:
    """What a prepared file was made from, as noted beside it; None where no note lies there."""
    return _read_source(Path(prepared))


def _done_before(output: Path, source: Source, sentences: Iterator[Sentence], total: int) -> int | None:
    """How many sentences earlier runs have left ready in the part file, which is cut after them; None if all is done.

    Raises:
        InputError: A file is there that was made from something else.
    """
    part = _part(output)
    same = _read_source(output) == source
    with _writing(output):
        if same and part.exists():
            count, size = _good_lines(part, sentences)
            os.truncate(part, size)
            return count
        if not output.exists():
            return 0
        if same and not part.exists() and _good_lines(output, sentences) == (total, output.stat().st_size):
            return None
    raise InputError(f"{output}: exists and was made from something else; expected a new name, or force to replace it")


def _begin(output: Path, source: Source) -> None:
    with _writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        # The empty part file comes first: from here on, whatever happens, this output counts as unfinished.
        _part(output).write_bytes(b"")
        record = _record(output)
        temporary = record.with_name(record.name + ".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(source)) + b"\n")
        os.replace(temporary, record)


def _parse_into(output: Path, sentences: Iterator[Sentence], parser: Parser, batch_size: int, bar: Progress) -> None:
    """Append the remaining sentences with their parses; every batch reaches the file before the next is begun."""
    with bar:
        while batch := list(islice(sentences, batch_size)):
            parses = parser.parse([sentence.tokens for sentence in batch])
            if len(parses) != len(batch):
                raise DataError(f"{parser.name}: gave {len(parses)} parses, expected {len(batch)}, one for a sentence")
            parsed = [_with_parse(*pair, parser.name) for pair in zip(batch, parses, strict=True)]
            with _writing(output), _part(output).open("ab") as file:
                file.writelines(map(prepared.encode, parsed))
            bar.advance(bar.task_ids[0], len(batch))


def _finish(output: Path) -> None:
    """Put the part file in the output's place, so that it lasts through a power cut where the system can promise it."""
    with _writing(output):
        with _part(output).open("ab") as file:
            os.fsync(file.fileno())
        os.replace(_part(output), output)
        if os.name == "posix":
            folder = os.open(output.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _with_parse(sentence: Sentence, parse: Parse, parser: str) -> Sentence:
    return check(with_parse(sentence, parse), f"{parser}: parse of sentence {shown(sentence.id)}")


def _good_lines(path: Path, sentences: Iterable[Sentence]) -> tuple[int, int]:
    """How many lines of a prepared file, and bytes, are the parsed form of these sentences, from the first on."""
    count = size = 0
    with path.open("rb") as file:
        for line, sentence in zip(file, sentences, strict=False):
            if not line.endswith(b"\n"):
                break
            try:
                found = prepared.decode(line, str(path))
            except (DataError, UnicodeDecodeError):
                break
            if found.heads is None or _bare(found) != _bare(sentence):
                break
            count += 1
            size += len(line)
    return count, size


def _bare(sentence: Sentence) -> Sentence:
    return msgspec.structs.replace(sentence, heads=None, labels=None)


def _read_source(output: Path) -> Source | None:
    try:
        return msgspec.json.decode(_record(output).read_bytes(), type=Source)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _part(output: Path) -> Path:
    return output.with_name(output.name + ".part")


def _record(output: Path) -> Path:
    return output.with_name(output.name + ".source.json")


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror or error}") from error


def _bar(visible: bool, done: int, total: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not visible)
    bar.add_task("parsing", total=total, completed=done)
    return bar

"""List the supported data formats, and how each is recognised by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..document import AnnotatedDocument
from ..jsonl import read_prepared_file
from ..reading_report import ReadingReport
from ..sentence import Sentence
from .ade import is_ade_line, read_ade
from .dygie import read_dygie
from .offsets import read_offsets
from .spert import read_spert


class FormatSample(NamedTuple):
    """What a format is recognised by.

    Attributes:
        path: The file or folder.
        line: Its first line that is not blank; empty for a folder and for a file that is not text.
        record: The first record of a JSON file, if it is an object.
        line_number: Number of the line, counted from 1.
    """

    path: Path
    line: str = ""
    record: Mapping[str, Any] | None = None
    line_number: int = 0


@dataclass(frozen=True, slots=True)
class Format:
    """Data format.

    A format of running text has ``read_documents``, one of words ``read_sentences``; both count what they leave out in
    their second argument.

    Attributes:
        name: Name of the format.
        description: What a file of it contains.
        recognises: Whether a file with this sample is in the format.
    """

    name: str
    description: str
    recognises: Callable[[FormatSample], bool]
    read_sentences: Callable[[Path, ReadingReport], Iterator[Sentence]] | None = None
    read_documents: Callable[[Path, ReadingReport], Iterator[AnnotatedDocument]] | None = None


def _is_offsets(sample: FormatSample) -> bool:
    return sample.record is not None and {"text", "entities"} <= sample.record.keys()


def _is_spert(sample: FormatSample) -> bool:
    return sample.record is not None and "tokens" in sample.record and not _is_prepared(sample)


def _is_prepared(sample: FormatSample) -> bool:
    """Return True for one record a line that has a field which only prepared sentences have, or no other field.

    SpERT and prepared records look alike. Only prepared ones have ``heads``, ``labels`` or ``id``, and only SpERT
    records have fields that prepared ones do not know.
    """
    if sample.record is None or "tokens" not in sample.record or sample.line.lstrip().startswith("["):
        return False
    known = set(Sentence.__struct_fields__)
    return bool(sample.record.keys() & {"heads", "labels", "id"}) or sample.record.keys() <= known


#: Supported formats by name, in the order in which they are tried.
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format(
            "offsets",
            'JSON lines of {"text", "entities", "relations"}, which count characters',
            _is_offsets,
            read_documents=read_offsets,
        ),
        Format(
            "dygie",
            'JSON lines, or a JSON list, of {"sentences", "ner", "relations"}',
            lambda sample: sample.record is not None and "sentences" in sample.record,
            read_sentences=read_dygie,
        ),
        Format(
            "prepared",
            'JSON lines of {"tokens", "entities", "relations", "heads", "labels", "id"}',
            _is_prepared,
            read_sentences=lambda path, _: read_prepared_file(path),
        ),
        Format(
            "spert",
            'a JSON list, or JSON lines, of {"tokens", "entities", "relations"}',
            _is_spert,
            read_sentences=read_spert,
        ),
        Format(
            "ade",
            "lines of PubMed id|sentence|effect|begin|end|drug|begin|end",
            lambda sample: is_ade_line(sample.line),
            read_sentences=lambda path, _: read_ade(path),
        ),
    )
}

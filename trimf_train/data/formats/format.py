"""Types that every data format shares: the format itself, and what it is recognised by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..document import AnnotatedDocument
from ..reading_report import ReadingReport
from ..sentence import Sentence


class FormatSample(NamedTuple):
    """What a format is recognised by.

    Attributes:
        path: The file or folder.
        line: Its first line that is not blank; empty for a folder and for a file that is not text.
        record: The first record of a JSON file, if it is an object.
        line_number: Number of the line, counted from 1.
        records: The first records of a JSON file, objects alone. The first of them may have no annotation.
        lines: The first lines of another text file that are not blank.
    """

    path: Path
    line: str = ""
    record: Mapping[str, Any] | None = None
    line_number: int = 0
    records: tuple[Mapping[str, Any], ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """Data format.

    A format of running text has ``read_documents``, one of words ``read_sentences``; both count what they leave out in
    their second argument.

    Attributes:
        name: Name of the format.
        description: What a file of it contains.
        recognises: Whether a file with this sample is in the format.
        list_files: The files that are read when this one is given, if there are others than itself.
    """

    name: str
    description: str
    recognises: Callable[[FormatSample], bool]
    read_sentences: Callable[[Path, ReadingReport], Iterator[Sentence]] | None = None
    read_documents: Callable[[Path, ReadingReport], Iterator[AnnotatedDocument]] | None = None
    list_files: Callable[[Path], list[Path]] | None = None


def items_of(record: Mapping[str, Any], *names: str) -> list[Any]:
    """Return the items of the first of some fields that is a list and not empty; an empty list if there is none."""
    return next((record[name] for name in names if isinstance(record.get(name), list) and record[name]), [])

"""Read columns of words and tags: CoNLL 2003 and its relatives, entities alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trimf.runtime.errors import DataError

from ..json_errors import read_lines, short_repr
from ..reading_report import ReadingReport
from ..sentence import Sentence
from ..tag_decoding import decode_tags, is_tag
from ..validate import validate_sentence
from .format import FormatSample

_BLANKS = re.compile(r"[ \t]+")
_DOCUMENT_START = "-DOCSTART-"


def is_conll(sample: FormatSample) -> bool:
    """Return True if most of the first lines have several columns, the last of them a tag."""
    lines = [line for line in sample.lines if not line.startswith(("#", _DOCUMENT_START))]
    tagged = sum(_ends_in_tag(_split_columns(line)) for line in lines)
    return 2 * tagged > len(lines) or sample.line.startswith(_DOCUMENT_START)


def read_conll(path: Path, report: ReadingReport) -> Iterator[Sentence]:
    """Read the sentences of a file with one word a line: the word in the first column, its tag in the last.

    Columns are separated by tabs, or by white space in lines without a tab. A blank line ends a sentence, and so does
    ``-DOCSTART-``. A line that starts with ``#`` and does not end in a tag is a comment.

    Args:
        path: The file.
        report: Counts what is left out; this format loses nothing here.

    Yields:
        The checked sentences, in file order. ``id`` is the number of the sentence, counted from 1.

    Raises:
        DataError: The file or a line cannot be used; the message names the line, the value and what was expected.
    """
    words: list[str] = []
    tags: list[str] = []
    locations: list[str] = []
    number = width = 0
    for line_number, content in read_lines(path):
        line, location = content.decode(), f"{path}: line {line_number}"
        columns = _split_columns(line)
        if not columns or line.startswith(_DOCUMENT_START):
            if words:
                number += 1
                yield _build_sentence(words, tags, locations, number)
                words, tags, locations = [], [], []
            continue
        if line.startswith("#") and not _ends_in_tag(columns):
            continue
        if len(columns) < 2 or not columns[0]:
            raise DataError(
                f"{location}: needs a word and a tag, in columns separated by a tab or a space, got {short_repr(line)}"
            )
        width = width or len(columns)
        if len(columns) != width:
            raise DataError(
                f"{location}: has {len(columns)} columns, but the lines before it have {width}: {short_repr(line)}"
            )
        words.append(columns[0])
        tags.append(columns[-1])
        locations.append(location)
    if words:
        yield _build_sentence(words, tags, locations, number + 1)


def _split_columns(line: str) -> list[str]:
    """Split a line at its tabs, or at white space if it has none; an empty list for a blank line."""
    if not line.strip(" \t"):
        return []
    if "\t" in line:
        return [column.strip(" ") for column in line.split("\t")]
    return _BLANKS.split(line.strip(" "))


def _ends_in_tag(columns: list[str]) -> bool:
    return len(columns) > 1 and is_tag(columns[-1])


def _build_sentence(words: list[str], tags: list[str], locations: list[str], number: int) -> Sentence:
    sentence = Sentence(tokens=words, entities=decode_tags(tags, locations, "tag"), id=str(number))
    return validate_sentence(sentence, locations[0])

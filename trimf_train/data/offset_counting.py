"""Find out what the offsets of an annotation tool count, and convert them to characters of Python.

Python counts Unicode code points. A tool that runs in a browser may count UTF-16 code units, in which an emoji takes
two, or what a reader sees as one character (grapheme clusters), and may count the line end "\\r\\n" as one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

Unit = Literal["code points", "UTF-16 code units", "grapheme clusters"]


class Counting(NamedTuple):
    """What offsets count; ``joined_line_ends``: "\\r\\n" counts as one."""

    unit: Unit
    joined_line_ends: bool = False

    def __str__(self) -> str:
        """Describe the counting."""
        return f"{self.unit}, with \\r\\n as one" if self.joined_line_ends else self.unit


CODE_POINTS = Counting("code points")
UTF16 = Counting("UTF-16 code units")
GRAPHEMES = Counting("grapheme clusters", True)

#: Countings of tools that write the covered text, which decides between them.
COUNTINGS = (CODE_POINTS, UTF16, Counting("code points", True), Counting("UTF-16 code units", True))


class CountedSpan(NamedTuple):
    """Offsets as a tool wrote them; ``covered`` is the text that it says they cover, if it says so."""

    start: int
    end: int
    covered: str | None = None


def index_units(text: str, counting: Counting) -> Sequence[int]:
    """Return the index of the character at which each unit begins, and the length of the text at the end.

    The second half of a character that takes two units has the index -1.
    """
    if counting.unit == "grapheme clusters":
        return [*_iterate_clusters(text), len(text)]
    if counting == CODE_POINTS:
        return range(len(text) + 1)
    starts = []
    for index, character in enumerate(text):
        if counting.joined_line_ends and character == "\n" and index and text[index - 1] == "\r":
            continue
        starts.append(index)
        if counting.unit == "UTF-16 code units" and character > "\uffff":
            starts.append(-1)
    return [*starts, len(text)]


def convert_span(span: CountedSpan, units: Sequence[int]) -> tuple[int, int] | None:
    """Convert a span to characters.

    Args:
        span: The span.
        units: Result of ``index_units``.

    Returns:
        Start and end; None if the span lies outside the text or cuts a character.
    """
    if not 0 <= span.start < span.end < len(units):
        return None
    start, end = units[span.start], units[span.end]
    return None if start < 0 or end < 0 else (start, end)


def is_simple(text: str) -> bool:
    """Return True for a text in which every counting counts the same."""
    return text.isascii() and "\r\n" not in text


def are_ambiguous(text: str, spans: Sequence[CountedSpan], countings: Iterable[Counting]) -> bool:
    """Return True if the spans lie elsewhere by one of the countings than by another."""
    if is_simple(text):
        return False
    units = [index_units(text, counting) for counting in countings]
    return len({tuple(convert_span(span, starts) for span in spans) for starts in units}) > 1


def find_counting(
    text: str, spans: Sequence[CountedSpan], countings: Iterable[Counting] = COUNTINGS
) -> Counting | None:
    """Find the first counting by which the offsets cover the text that the tool says they cover.

    Args:
        text: The text.
        spans: Its spans; at least one should have ``covered``.
        countings: What to try, in this order.

    Returns:
        The counting; None if the covered text fits no counting.
    """
    told = [span for span in spans if span.covered is not None]
    for counting in countings:
        units = index_units(text, counting)
        if all(_covers(text, convert_span(span, units), span.covered or "") for span in told):
            return counting
    return None


def count_word_ends(text: str, spans: Iterable[CountedSpan], counting: Counting) -> int:
    """Count the ends of spans that lie between words, read by a counting; spans outside the text count against it.

    It decides between countings for tools that do not write the covered text.
    """
    units = index_units(text, counting)
    count = 0
    for span in spans:
        converted = convert_span(span, units)
        if converted is None:
            count -= 2
            continue
        start, end = converted
        count += _is_border(text, start) and not text[start].isspace()
        count += _is_border(text, end) and not text[end - 1].isspace()
    return count


def _is_border(text: str, index: int) -> bool:
    return index in (0, len(text)) or not (text[index - 1].isalnum() and text[index].isalnum())


#: Tools replace line ends in the text that they write with a span: by a space, or by a backslash and an n.
_WHITE = re.compile(r"(?:\s|\\n|\\r)+")


def _covers(text: str, span: tuple[int, int] | None, covered: str) -> bool:
    return span is not None and _WHITE.sub(" ", text[span[0] : span[1]]) == _WHITE.sub(" ", covered)


def _iterate_clusters(text: str) -> Iterator[int]:
    """Yield the index at which each extended grapheme cluster begins (Unicode Standard Annex 29)."""
    flags = 0
    pictograph = False
    for index, character in enumerate(text):
        before = text[index - 1] if index else ""
        flag = "\U0001f1e6" <= character <= "\U0001f1ff"
        joined = index > 0 and (
            (before == "\r" and character == "\n")
            or (not _is_control(before) and _extends(character))
            or (pictograph and before == "\u200d" and _is_pictograph(character))
            or (flag and flags % 2 == 1)
            or _joins_hangul(before, character)
        )
        if not joined:
            yield index
        flags = flags + 1 if flag else 0
        pictograph = _is_pictograph(character) or (joined and pictograph and _extends(character))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp")


def _extends(character: str) -> bool:
    """Return True for marks, joiners, emoji modifiers and tags, which belong to the character before them."""
    return (
        unicodedata.category(character) in ("Mn", "Me", "Mc")
        or character in "\u200c\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )


def _is_pictograph(character: str) -> bool:
    # Python has no property Extended_Pictographic; symbols are near to it, and it matters after a joiner alone.
    return unicodedata.category(character) == "So" or character in "\u00a9\u00ae\u203c\u2049\u2194\u2195"


def _joins_hangul(before: str, character: str) -> bool:
    """Return True within a Hangul syllable."""
    kind = _hangul_kind(before), _hangul_kind(character)
    return kind in {
        ("L", "L"), ("L", "V"), ("L", "LV"), ("L", "LVT"),
        ("V", "V"), ("LV", "V"), ("V", "T"), ("LV", "T"), ("LVT", "T"), ("T", "T"),
    }  # fmt: skip


def _hangul_kind(character: str) -> str:
    code = ord(character) if character else 0
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "V"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "T"
    if 0xAC00 <= code <= 0xD7A3:
        return "LV" if (code - 0xAC00) % 28 == 0 else "LVT"
    return ""

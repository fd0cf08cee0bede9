"""Decide whether a line end within a text ends a sentence: lists, headings and tables, as against wrapped text.

A blank line always ends one. Text that was wrapped at a width was filled: the first word of a line did not fit on the
line before. So a line end where the next word would have fitted is one that the author meant.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

#: What a single line end does: ``"auto"`` tells a list item, heading or table row from a wrapped line; ``"space"``
#: treats all as wrapped text; ``"end"`` ends a sentence at each.
Newlines = Literal["auto", "space", "end"]

#: Width from which text may be wrapped prose rather than a list of names.
MIN_WRAP_WIDTH = 40

#: Width beyond which text is not wrapped by hand or by a program: each line is a paragraph.
MAX_WRAP_WIDTH = 132

#: Maximum number of lines that are measured together; memory and the wait for a sentence do not grow with the text.
MAX_BLOCK_LINES = 200

_NEWLINE = re.compile(r"\r\n?|[\n\v\x85\u2028]")
_BLANK_LINE = re.compile(r"(?>\r\n?|[\n\v\x85\u2028])[^\S\r\n\v\x85\u2028]*[\r\n\v\x85\u2028]|[\f\u2029]")
_LINE_END = re.compile(r"[\r\n\v\f\x85\u2028\u2029]")
_BULLET = re.compile(
    r"\s*(?:>\s*)*(?:[•◦▪‣⁃·●○■□–—*+-]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]|\(?[A-Z]\)|\[[ xX\d]{1,3}\])\s+\S"
)
_HEADING = re.compile(r"\s*#{1,6}\s")
_RULE = re.compile(r"[\W_]+")
_TABLE_ROW = re.compile(r"\s*\|.*\S|.*\S\s*\|.*\||.*\S\t+.*\S")
_COLUMNS = re.compile(r".*\S {3,}\S")
_FIELD = re.compile(r"\s*[A-Z][\w.-]*(?: [\w.-]+){0,2}:(?:\s|$)")
_FIRST_WORD = re.compile(r"\s*(?:>\s*)*[\W_]*(\S+)")
_LAST_WORD = re.compile(r"(\S+)\s*$")
_STOPPED = re.compile(r"[.!?…。！？]['\"”’)\]]*\s*$")

_OPEN_WORDS_TEXT = """
    a an the and or but nor of in on at by for to from with as that which who whose whom is was are were be been
    being has have had will would shall should can could may might must his her their its our my your this these
    those into about between near than not & de van von der via per plus if when while where because since until
    under over Mr. Mrs. Ms. Dr. Prof. Lt. Sgt. Capt. Col. Gen. Gov. Sen. Rep. Rev. Maj. Cpl. Pvt. Adm. Cmdr. St.
    Mt. Ft. No. vs.
"""

#: Words that do not end a list item or a heading.
_OPEN_WORDS = frozenset(_OPEN_WORDS_TEXT.split())


class _Block(NamedTuple):
    """Measures of the lines between two blank lines.

    Attributes:
        end: Index after the block.
        width: Length of the longest line, in characters.
        lines: Number of lines.
        bullets: Number of lines that start with a bullet or a number.
        lower: Whether a line but the first starts with a lower-case letter, or a line ends with an open word.
        stopped: Whether the last line ends with a full stop, and not all the others do.
    """

    end: int
    width: int
    lines: int
    bullets: int
    lower: bool
    stopped: bool


class LineEndRule:
    """Rule for the line ends of one text; it must be asked in the order of the text.

    Attributes:
        has_line_ends: Whether the text has a line end, or another character that ends a paragraph. If not, no white
            space ends a sentence.
    """

    def __init__(self, text: str, newlines: Newlines) -> None:
        """Take a text.

        Args:
            text: The text.
            newlines: What a single line end does.
        """
        self._text = text
        self._newlines = newlines
        # All of these characters are control characters or separators, and so not printable.
        self.has_line_ends = not text.isprintable() and _LINE_END.search(text) is not None
        self._line_start = 0
        self._block = _Block(0, 0, 0, 0, False, False)

    def ends_sentence(self, start: int, end: int) -> bool:
        """Return True if the white space ``text[start:end]`` between two words ends a sentence.

        Args:
            start: Index after the word before.
            end: Index of the word after.
        """
        if not self.has_line_ends:
            return False
        newline = _NEWLINE.search(self._text, start, end)
        if newline is None:
            return end - start > 0 and _BLANK_LINE.search(self._text, start, end) is not None
        line_start, self._line_start = self._line_start, newline.end()
        if end - start > 1 and _BLANK_LINE.search(self._text, start, end):
            self._line_start = self._find_line_start(end)
            return True
        if self._newlines != "auto":
            return self._newlines == "end"
        return self._ends_item(line_start, newline)

    def _find_line_start(self, position: int) -> int:
        """Return the start of the line of the word at ``position``, after white space that has been read."""
        start = position
        while start and self._text[start - 1] in " \t\u00a0":
            start -= 1
        return start

    def _ends_item(self, line_start: int, newline: re.Match[str]) -> bool:
        """Return True if a line is an item of its own rather than wrapped text."""
        line = self._text[line_start : newline.start()]
        following = self._text[newline.end() : self._find_line_end(newline.end())]
        if newline.start() >= self._block.end:
            self._block = self._measure_block(line_start)
        return _is_structured(line, following, self._block) or _was_meant(line, following, self._block)

    def _find_line_end(self, start: int) -> int:
        newline = _NEWLINE.search(self._text, start)
        return newline.start() if newline else len(self._text)

    def _measure_block(self, start: int) -> _Block:
        """Measure the lines from ``start`` to the next blank line, or the first ``MAX_BLOCK_LINES`` of them."""
        width = lines = bullets = stopped = 0
        lower = False
        last = ""
        position = start
        while lines < MAX_BLOCK_LINES:
            end = self._find_line_end(position)
            line = self._text[position:end].rstrip()
            if not line:
                break
            last = line
            is_bullet = _BULLET.match(line) is not None
            if " " in line.strip() and not _TABLE_ROW.match(line):  # a long link cannot be wrapped
                width = max(width, len(line))
            lower |= (lines > 0 and not is_bullet and _starts_lower(line)) or _is_open(line)
            bullets += is_bullet
            stopped += _STOPPED.search(line) is not None
            lines += 1
            newline = _NEWLINE.match(self._text, end)
            if newline is None:
                position = end
                break
            position = newline.end()
        ends_stopped = _STOPPED.search(last) is not None and stopped < lines
        return _Block(max(position, start + 1), width, lines, bullets, lower, ends_stopped)


def _is_structured(line: str, following: str, block: _Block) -> bool:
    """Return True if one of two lines is a heading, a rule, a table row, a list item or a field of its own."""
    if _HEADING.match(line) or _HEADING.match(following) or _RULE.fullmatch(line) or _RULE.fullmatch(following.strip()):
        return True
    if _TABLE_ROW.match(line) or _TABLE_ROW.match(following) or (_COLUMNS.match(line) and _COLUMNS.match(following)):
        return True
    if _BULLET.match(following):
        return block.bullets > 1 or line.rstrip().endswith(":") or _would_fit(line, following, block.width)
    return _FIELD.match(line) is not None and _FIELD.match(following) is not None


def _was_meant(line: str, following: str, block: _Block) -> bool:
    """Return True if the author ended a line on purpose rather than a program, to wrap it."""
    if _is_open(line) or _starts_lower(following):
        return False
    if line.rstrip().endswith(","):  # "Dear Bob," is short; an address goes on
        return block.width >= MIN_WRAP_WIDTH and 2 * len(line) < block.width
    if block.width > MAX_WRAP_WIDTH:
        return True
    if block.lower:
        return _would_fit(line, following, block.width - max(8, block.width // 6))
    if block.stopped and (block.lines == 2 or block.width >= MIN_WRAP_WIDTH):
        return _would_fit(line, following, block.width)
    return True


def _would_fit(line: str, following: str, width: int) -> bool:
    """Return True if the first word of the next line would have fitted on a line of ``width`` characters."""
    word = _FIRST_WORD.match(following)
    return len(line.rstrip()) + 1 + (len(word.group(0).lstrip()) if word else 0) <= width


def _starts_lower(line: str) -> bool:
    """Return True if a line starts with a lower-case letter, or with a mark that goes on with a sentence."""
    word = line.lstrip(" \t>\u00a0\"'“‘([")
    if not word:
        return False
    first = word.split(maxsplit=1)[0] if word[0].islower() else ""
    return word[0] in ",;:)]}%&/" or (
        bool(first) and first.lower() == first and "@" not in first and "://" not in first
    )


def _is_open(line: str) -> bool:
    """Return True if a line ends with a word or a mark after which a sentence goes on."""
    word = _LAST_WORD.search(line)
    if word is None:
        return False
    last = word.group(1)
    return last in _OPEN_WORDS or (last[-1] in "-–—/(&[" and len(line.strip()) > len(last)) or _is_initial(last)


def _is_initial(word: str) -> bool:
    return len(word) == 2 and word[1] == "." and word[0].isupper()

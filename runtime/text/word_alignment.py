"""Find the words that a range of characters covers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from .tokenization import TokenizedSentence


class WordRange(NamedTuple):
    """Words that a range of characters touches.

    Attributes:
        sentence: Index of the sentence.
        first: Index of the first word in its sentence.
        end: Index after the last word.
        aligned: Whether the range begins and ends where the words do.
    """

    sentence: int
    first: int
    end: int
    aligned: bool


class WordFinder:
    """Index of the words of a text by their characters.

    Args:
        text: The text.
        sentences: Its sentences, in order.
    """

    def __init__(self, text: str, sentences: Sequence[TokenizedSentence]) -> None:
        self._text, self._sentences = text, sentences
        self._starts = [sentence.starts[0] for sentence in sentences]

    def find(self, start: int, end: int) -> WordRange | None:
        """Find the words of a range of characters; white space at its ends is no part of it.

        Args:
            start: Index of the first character.
            end: Index after the last character. One of the characters must not be white space.

        Returns:
            The words; None if they are not all in one sentence.
        """
        start, end = trim_range(self._text, start, end)
        place = bisect_right(self._starts, start) - 1
        if place < 0 or end > self._sentences[place].ends[-1]:
            return None
        _, starts, ends = self._sentences[place]
        first, after = bisect_right(starts, start) - 1, bisect_left(ends, end) + 1
        return WordRange(place, first, after, starts[first] == start and ends[after - 1] == end)


def trim_range(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a range of characters without the white space at its ends.

    Args:
        text: The text.
        start: Index of the first character.
        end: Index after the last character.
    """
    covered = text[start:end]
    return start + len(covered) - len(covered.lstrip()), end - len(covered) + len(covered.rstrip())

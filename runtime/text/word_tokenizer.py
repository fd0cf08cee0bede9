"""Remember the words of chunks seen before. A chunk is what stands between white space.

Most chunks of a text occur often, and a look-up takes a tenth of the time that the rules take.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import cast

import msgspec

from .bounded_cache import BoundedCache
from .rule_tokenizer import RuleTokenizer

#: Number of chunks that are remembered, at least, and twice as many at most (about 300 bytes each), and maximum number
#: of characters of such a chunk.
MAX_KNOWN_CHUNKS = 10_000
MAX_KNOWN_CHUNK_CHARS = 40


class Token(msgspec.Struct, frozen=True, gc=False):
    """A word of a text, or a punctuation mark.

    Attributes:
        text: The word.
        start: Index of its first character in the text.
        is_punct: Whether it consists of punctuation.
    """

    text: str
    start: int
    is_punct: bool


class WordTokenizer:
    """Tokenizer by rules that remembers the words of chunks; any number of threads may use it.

    Special cases of the language, such as ":)", are looked for in the words of the whole text. So the words of a chunk
    are remembered only if special cases do not change them; a text with any other chunk is split as a whole.

    Args:
        rules: The tokenizer.
    """

    def __init__(self, rules: RuleTokenizer) -> None:
        self._rules = rules
        self._known = BoundedCache[tuple[Token, ...]](MAX_KNOWN_CHUNKS, MAX_KNOWN_CHUNK_CHARS)

    def tokenize(self, text: str, offset: int = 0) -> list[Token]:
        """Split a text into words.

        Args:
            text: The text.
            offset: Number to add to the index of each word.

        Returns:
            The words in order.
        """
        if self._rules.has_spaced_cases:
            return self._tokenize_whole(text, offset)
        chunks = text.split()
        parts = self._look_up(chunks)
        words = []
        position = 0
        for chunk, tokens in zip(chunks, parts, strict=True):
            if not tokens:
                return self._tokenize_whole(text, offset)
            position = text.index(chunk, position)
            start = offset + position
            for token in tokens:
                words.append(Token(token.text, start + token.start, token.is_punct))
            position += len(chunk)
        return words

    def _tokenize_whole(self, text: str, offset: int) -> list[Token]:
        """Split a text into words without a look-up."""
        return [Token(word, offset + start, is_punctuation(word)) for word, start in self._rules.tokenize(text)]

    def _look_up(self, chunks: Sequence[str]) -> list[tuple[Token, ...]]:
        """Return the words of each chunk, none for one whose words depend on the chunks around it."""
        known = self._known.find(chunks)
        if None not in known:
            return cast(list[tuple[Token, ...]], known)
        new = self._learn([chunk for chunk, words in zip(chunks, known, strict=True) if words is None])
        return [new[chunk] if words is None else words for chunk, words in zip(chunks, known, strict=True)]

    def _learn(self, chunks: Sequence[str]) -> dict[str, tuple[Token, ...]]:
        """Split chunks into words, each by itself, and remember the result."""
        new: dict[str, tuple[Token, ...]] = {}
        for chunk in dict.fromkeys(chunks):
            words = self._rules.split_chunk(chunk)
            new[chunk] = () if self._rules.depends_on_neighbours(words) else _build_tokens(words)
        self._known.add(new)
        return new


def is_punctuation(word: str) -> bool:
    """Return True if all characters of a word are punctuation marks."""
    return not word.isalnum() and all(unicodedata.category(character)[0] == "P" for character in word)


def _build_tokens(words: Sequence[str]) -> tuple[Token, ...]:
    """Return the words of a chunk with their places in it."""
    tokens = []
    start = 0
    for word in words:
        tokens.append(Token(word, start, is_punctuation(word)))
        start += len(word)
    return tuple(tokens)

"""Raw text to sentences of words with exact character offsets, by spaCy's English tokenizer and sentence rule.

Offsets count characters of the caller's string, whatever it holds: ``text[start:end] == word``, and every character
that is not white space lies in exactly one word.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from .errors import InputError
from .light_spacy import light_spacy

if TYPE_CHECKING:
    from spacy.language import Language

PIECE_CHARS = 100_000
"""Characters given to the tokenizer at once; longer text is cut at white space, where no word can be harmed."""

RUN_CHARS = 300
"""Characters without white space that the tokenizer may see; its cost is quadratic in them ("!!!!…")."""

VOCABULARY_STRINGS = 5_000
"""Strings that a spaCy vocabulary may learn for good (some 450 bytes each) before new ones are dropped after use."""

_LONG_RUN = re.compile(rf"(?<!\S)\S{{{RUN_CHARS + 1},}}")
_JOINERS = "_\u200c\u200d"
_SPACE = re.compile(r"\s")
_BLANK_LINE = re.compile(r"(?>\r\n?|\n)[^\S\r\n]*[\r\n]|[\f\u2029]")

_lock = threading.Lock()
_first_strings: WeakKeyDictionary[Language, int] = WeakKeyDictionary()


class Words(NamedTuple):
    """One sentence of N words; word i is ``text[starts[i]:ends[i]]`` of the text it was split from."""

    words: list[str]
    starts: list[int]
    ends: list[int]


class _Token(NamedTuple):
    text: str
    start: int
    is_punct: bool


def joined(words: Sequence[str]) -> tuple[str, Words]:
    """The words joined by one space, and where they stand in that text."""
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
    return " ".join(words), Words(list(words), starts, ends)


def split(text: str) -> list[Words]:
    """Split ``text`` into sentences of words; empty or blank text gives an empty list.

    A sentence ends after a full stop, exclamation or question mark standing as its own word (with the closing quotes
    and brackets that follow it), and at a blank line. A single line break is wrapped text and ends nothing. Text of
    any length is split in linear time; thread-safe.

    Raises:
        InputError: ``text`` is not a str, or holds a lone surrogate, which no encoding of the text can represent.
    """
    return list(sentences(text))


def sentences(text: str) -> Iterator[Words]:
    """The same a sentence at a time, in memory that does not grow with the text; wrong text is refused at once."""
    check_text(text)
    return _sentences(text, _tokens(text)) if text and not text.isspace() else iter(())


def prepare() -> None:
    """Load the rules now instead of with the first text."""
    _english()
    _full_stops()


def check_text(text: object, what: str = "text") -> None:
    """Raise :class:`InputError` unless ``text`` is a str that UTF-8 can encode; ``what`` names it in the message."""
    if not isinstance(text, str):
        raise InputError(f"{what} must be a str, not {type(text).__name__}; decode bytes before passing them")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, which UTF-8"
            f" cannot encode; decode the source with errors='replace'"
        ) from None


def vocabulary_zone(nlp: Language) -> AbstractContextManager[object]:
    """A context in which ``nlp`` may make documents without its vocabulary growing past its bound.

    spaCy keeps every string it ever saw. Common words come first and stay fast; once the vocabulary is full, what the
    block adds is dropped at its end, so nothing made inside may be used after it. Not for two threads at once.
    """
    strings = len(nlp.vocab.strings)
    if strings - _first_strings.setdefault(nlp, strings) < VOCABULARY_STRINGS:
        return nullcontext()
    zone: AbstractContextManager[object] = nlp.memory_zone()
    return zone


@cache
def _english() -> Language:
    with light_spacy():
        import spacy

        return spacy.blank("en")


@cache
def _full_stops() -> frozenset[str]:
    with light_spacy():
        from spacy.pipeline import Sentencizer

    return frozenset(Sentencizer.default_punct_chars)


def _tokens(text: str) -> Iterator[_Token]:
    """The words of ``text`` in order."""
    if len(text) <= RUN_CHARS:
        yield from _tokenize(text, 0)
        return
    done = 0
    for run in _LONG_RUN.finditer(text):
        yield from _tokenize_pieces(text, done, run.start())
        yield from _split_run(run.group(), run.start())
        done = run.end()
    yield from _tokenize_pieces(text, done, len(text))


def _tokenize_pieces(text: str, start: int, stop: int) -> Iterator[_Token]:
    """The words of ``text[start:stop]``, a piece at a time."""
    while start < stop:
        space = _SPACE.search(text, start + PIECE_CHARS, stop)
        end = space.start() if space else stop
        yield from _tokenize(text[start:end], start)
        start = end


def _tokenize(piece: str, offset: int) -> list[_Token]:
    """The words of ``piece``, which begins at character ``offset`` of the text."""
    nlp = _english()
    with _lock, vocabulary_zone(nlp):
        return [
            _Token(token.text, offset + token.idx, token.is_punct)
            for token in nlp.tokenizer(piece)
            if not token.is_space
        ]


def _split_run(run: str, offset: int) -> Iterator[_Token]:
    """The words of a run too long for the tokenizer: letters with their marks and digits, or one repeated symbol."""
    for symbol, group in groupby(run, key=_symbol):
        word = "".join(group)
        yield _Token(word, offset, bool(symbol) and unicodedata.category(symbol).startswith("P"))
        offset += len(word)


def _symbol(character: str) -> str:
    """The character itself if it parts words, else the empty string."""
    return "" if unicodedata.category(character)[0] in "LMN" or character in _JOINERS else character


def _sentences(text: str, tokens: Iterator[_Token]) -> Iterator[Words]:
    """Group tokens: spaCy's sentencizer rule, plus blank lines."""
    full_stops = _full_stops()
    sentence: list[_Token] = []
    ended = False
    end_of_last = 0
    for token in tokens:
        place = len(sentence)
        sentence.append(token)
        cut = 0
        if token.start - end_of_last > 1 and place and _BLANK_LINE.search(text, end_of_last, token.start):
            cut = place
        elif ended and not token.is_punct and token.text not in full_stops:
            cut = _opening(sentence, place, full_stops)
        if cut:
            yield _words(sentence[:cut])
            del sentence[:cut]
            ended = False
        ended = ended or token.text in full_stops
        end_of_last = token.start + len(token.text)
    yield _words(sentence)


def _opening(tokens: list[_Token], first: int, full_stops: frozenset[str]) -> int:
    """Where the sentence of word ``first`` begins: before the opening quotes and brackets written against it."""
    begin = first
    while tokens[begin - 1].is_punct and tokens[begin - 1].text not in full_stops and _touch(tokens, begin):
        begin -= 1
    return first if _touch(tokens, begin) else begin


def _touch(tokens: list[_Token], i: int) -> bool:
    """Whether nothing stands between word ``i`` and the one before it."""
    return tokens[i - 1].start + len(tokens[i - 1].text) == tokens[i].start


def _words(tokens: list[_Token]) -> Words:
    return Words(
        [token.text for token in tokens],
        [token.start for token in tokens],
        [token.start + len(token.text) for token in tokens],
    )

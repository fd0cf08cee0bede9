"""Split raw text into sentences of words with exact character offsets.

Words and sentence ends follow spaCy's English rules. Offsets count characters of the caller's string, for any Unicode
text: ``text[start:end] == word``, and every character that is not white space belongs to exactly one word.
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

from ..errors import InputError
from .spacy_import_guard import hide_torch_from_spacy

if TYPE_CHECKING:
    from spacy.language import Language

#: Maximum number of characters passed to the tokenizer at once. Longer text is cut at white space, so no word is
#: split.
MAX_CHUNK_CHARS = 100_000

#: Maximum number of characters without white space that the tokenizer may see; its cost is quadratic in the length of
#: such a run ("!!!!…").
MAX_RUN_CHARS = 300

#: Number of strings that a spaCy vocabulary may keep permanently (about 450 bytes each). Beyond that, new strings are
#: dropped after use.
MAX_NEW_STRINGS = 5_000

_LONG_RUN = re.compile(rf"(?<!\S)\S{{{MAX_RUN_CHARS + 1},}}")
_JOINERS = "_\u200c\u200d"
_SPACE = re.compile(r"\s")
_BLANK_LINE = re.compile(r"(?>\r\n?|\n)[^\S\r\n]*[\r\n]|[\f\u2029]")

_lock = threading.Lock()
_initial_string_counts: WeakKeyDictionary[Language, int] = WeakKeyDictionary()


class TokenizedSentence(NamedTuple):
    """Words of one sentence with their character offsets.

    Word i is ``text[starts[i]:ends[i]]`` of the text that the sentence was split from.
    """

    words: list[str]
    starts: list[int]
    ends: list[int]


class _Token(NamedTuple):
    text: str
    start: int
    is_punct: bool


def join_words(words: Sequence[str]) -> tuple[str, TokenizedSentence]:
    """Join words with single spaces.

    Args:
        words: The words of one sentence.

    Returns:
        The joined text, and the words with their offsets in it.
    """
    starts, position = [], 0
    for word in words:
        starts.append(position)
        position += len(word) + 1
    ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
    return " ".join(words), TokenizedSentence(list(words), starts, ends)


def split_sentences(text: str) -> list[TokenizedSentence]:
    """Split text into sentences of words.

    A sentence ends after a full stop, exclamation mark or question mark that is a word by itself (plus any closing
    quotes and brackets that follow it), and at a blank line. A single line break is treated as wrapped text and does
    not end a sentence. Runs in linear time for text of any length; thread-safe.

    Args:
        text: The text to split.

    Returns:
        The sentences in order; an empty list if ``text`` is empty or blank.

    Raises:
        InputError: ``text`` is not a str, or contains a lone surrogate, which UTF-8 cannot encode.
    """
    return list(iterate_sentences(text))


def iterate_sentences(text: str) -> Iterator[TokenizedSentence]:
    """Iterate over the sentences of a text without holding all of them in memory.

    The rules are those of ``split_sentences``. The text is checked before the first sentence is requested.

    Args:
        text: The text to split.

    Returns:
        An iterator over the sentences in order, whose memory use does not grow with the text.

    Raises:
        InputError: ``text`` is not a str, or contains a lone surrogate, which UTF-8 cannot encode.
    """
    check_text(text)
    return _group_sentences(text, _tokenize_text(text)) if text and not text.isspace() else iter(())


def load_tokenizer_rules() -> None:
    """Load the tokenizer and the sentence rules now, so that the first text does not wait for them."""
    _load_english()
    _load_full_stops()


def check_text(text: object, name: str = "text") -> None:
    """Check that a value is a str that UTF-8 can encode.

    Args:
        text: The value to check.
        name: The name of the value in error messages.

    Raises:
        InputError: ``text`` is not a str, or contains a lone surrogate.
    """
    if not isinstance(text, str):
        raise InputError(f"{name} must be a str, got {type(text).__name__}; decode bytes to str first")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} contains the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, which UTF-8"
            f" cannot encode; decode the source with errors='replace'"
        ) from None


def bound_vocabulary(nlp: Language) -> AbstractContextManager[object]:
    """Return a context in which a pipeline may create documents without growing its vocabulary beyond a limit.

    spaCy keeps every string that it has ever seen. The first ``MAX_NEW_STRINGS`` new strings are kept, which
    makes common words fast. Once that limit is reached, the strings added inside the context are dropped when it ends.

    Args:
        nlp: The spaCy pipeline. Only one thread may use it, and so this context, at a time.

    Returns:
        A context manager. Documents created inside it must not be used after it ends.
    """
    strings = len(nlp.vocab.strings)
    if strings - _initial_string_counts.setdefault(nlp, strings) < MAX_NEW_STRINGS:
        return nullcontext()
    zone: AbstractContextManager[object] = nlp.memory_zone()
    return zone


@cache
def _load_english() -> Language:
    with hide_torch_from_spacy():
        import spacy

        return spacy.blank("en")


@cache
def _load_full_stops() -> frozenset[str]:
    with hide_torch_from_spacy():
        from spacy.pipeline import Sentencizer

    return frozenset(Sentencizer.default_punct_chars)


def _tokenize_text(text: str) -> Iterator[_Token]:
    """Yield the words of ``text`` in order."""
    if len(text) <= MAX_RUN_CHARS:
        yield from _tokenize_chunk(text, 0)
        return
    done = 0
    for run in _LONG_RUN.finditer(text):
        yield from _tokenize_range(text, done, run.start())
        yield from _split_run(run.group(), run.start())
        done = run.end()
    yield from _tokenize_range(text, done, len(text))


def _tokenize_range(text: str, start: int, stop: int) -> Iterator[_Token]:
    """Yield the words of ``text[start:stop]``, tokenizing about ``MAX_CHUNK_CHARS`` characters at a time."""
    while start < stop:
        space = _SPACE.search(text, start + MAX_CHUNK_CHARS, stop)
        end = space.start() if space else stop
        yield from _tokenize_chunk(text[start:end], start)
        start = end


def _tokenize_chunk(chunk: str, offset: int) -> list[_Token]:
    """Return the words of ``chunk``, which starts at character ``offset`` of the text."""
    nlp = _load_english()
    with _lock, bound_vocabulary(nlp):
        return [
            _Token(token.text, offset + token.idx, token.is_punct)
            for token in nlp.tokenizer(chunk)
            if not token.is_space
        ]


def _split_run(run: str, offset: int) -> Iterator[_Token]:
    """Yield the words of a run that is too long for the tokenizer.

    A word is a sequence of letters, marks, digits and joiners, or one symbol repeated.
    """
    for symbol, group in groupby(run, key=_get_separator):
        word = "".join(group)
        yield _Token(word, offset, bool(symbol) and unicodedata.category(symbol).startswith("P"))
        offset += len(word)


def _get_separator(character: str) -> str:
    """Return the character if it separates words, else the empty string."""
    return "" if unicodedata.category(character)[0] in "LMN" or character in _JOINERS else character


def _group_sentences(text: str, tokens: Iterator[_Token]) -> Iterator[TokenizedSentence]:
    """Group tokens into sentences by the rule of spaCy's sentencizer, and at blank lines."""
    full_stops = _load_full_stops()
    sentence: list[_Token] = []
    ended = False
    last_end = 0
    for token in tokens:
        index = len(sentence)
        sentence.append(token)
        cut = 0
        if token.start - last_end > 1 and index and _BLANK_LINE.search(text, last_end, token.start):
            cut = index
        elif ended and not token.is_punct and token.text not in full_stops:
            cut = _find_sentence_start(sentence, index, full_stops)
        if cut:
            yield _build_words(sentence[:cut])
            del sentence[:cut]
            ended = False
        ended = ended or token.text in full_stops
        last_end = token.start + len(token.text)
    yield _build_words(sentence)


def _find_sentence_start(tokens: list[_Token], first: int, full_stops: frozenset[str]) -> int:
    """Return the index at which the sentence of word ``first`` starts.

    Opening quotes and brackets that touch the word, and are separated from the previous sentence, belong to it.
    """
    start = first
    while tokens[start - 1].is_punct and tokens[start - 1].text not in full_stops and _touches_previous(tokens, start):
        start -= 1
    return first if _touches_previous(tokens, start) else start


def _touches_previous(tokens: list[_Token], index: int) -> bool:
    """Return True if nothing separates token ``index`` from the token before it."""
    return tokens[index - 1].start + len(tokens[index - 1].text) == tokens[index].start


def _build_words(tokens: list[_Token]) -> TokenizedSentence:
    return TokenizedSentence(
        [token.text for token in tokens],
        [token.start for token in tokens],
        [token.start + len(token.text) for token in tokens],
    )

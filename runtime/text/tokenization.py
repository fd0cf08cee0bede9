"""Split raw text into sentences of words with exact character offsets.

Offsets count characters of the caller's string, for any Unicode text: ``text[start:end] == word``, and every character
that is not white space belongs to exactly one word. Words are those of ``words``, sentence ends those of
``sentence_ends`` and ``line_ends``; a caller may give the sentences instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from operator import add
from typing import Literal, NamedTuple, get_args

from ..errors import InputError
from .abbreviations import AbbreviationKind, find_abbreviation_kind
from .line_ends import LineEndRule, Newlines
from .plain_text import read_text
from .sentence_ends import FULL_STOPS, stop_ends_sentence
from .word_tokenizer import Token
from .words import DEFAULT_LANGUAGE, iterate_words, load_word_tokenizer

#: Sentences of a text: found by rules, the text as a whole, or a function that returns the character ranges
#: (start, end) of the sentences of a text.
Sentences = Literal["auto", "whole"] | Callable[[str], Iterable[tuple[int, int]]]

#: Maximum number of digits of the number of a list item.
MAX_ITEM_DIGITS = 3

_MID_SENTENCE_MARKS = frozenset((",", ";", ":"))


class TokenizedSentence(NamedTuple):
    """Words of one sentence with their character offsets.

    Word i is ``text[starts[i]:ends[i]]`` of the text that the sentence was split from.
    """

    words: list[str]
    starts: list[int]
    ends: list[int]


class SplittingRules(NamedTuple):
    """How a text is split into sentences of words.

    Attributes:
        language: Language whose rules give the words, see ``words.load_language``.
        sentences: Where sentences end: by rules (``"auto"``), at the end of the text (``"whole"``), or as a function
            says that returns their character ranges.
        newlines: Whether a line end ends a sentence, see ``line_ends``.
    """

    language: str = DEFAULT_LANGUAGE
    sentences: Sentences = "auto"
    newlines: Newlines = "auto"


#: English, with sentences found by rules.
DEFAULT_RULES = SplittingRules()


def join_words(words: Sequence[str]) -> tuple[str, TokenizedSentence]:
    """Join words with single spaces.

    Args:
        words: The words of one sentence.

    Returns:
        The joined text, and the words with their offsets in it.
    """
    ends = [end - 1 for end in accumulate(len(word) + 1 for word in words)]
    starts = [end - len(word) for end, word in zip(ends, words, strict=True)]
    return " ".join(words), TokenizedSentence(list(words), starts, ends)


def split_sentences(text: str, rules: SplittingRules = DEFAULT_RULES) -> list[TokenizedSentence]:
    """Split text into sentences of words.

    A sentence ends after a full stop, exclamation mark or question mark (plus any closing quotes and brackets that
    follow it), unless the full stop is that of an abbreviation; and at a blank line. Whether a single line end ends a
    sentence is decided by ``rules.newlines``. Runs in linear time for text of any length; thread-safe.

    Args:
        text: The text to split.
        rules: Language, and where sentences end.

    Returns:
        The sentences in order; an empty list if ``text`` is empty or blank.

    Raises:
        InputError: ``text`` is not a str, or contains a lone surrogate, which UTF-8 cannot encode; or the caller's
            sentences do not fit the text.
    """
    return list(iterate_sentences(text, rules))


def iterate_sentences(text: str, rules: SplittingRules = DEFAULT_RULES) -> Iterator[TokenizedSentence]:
    """Iterate over the sentences of a text without holding all of them in memory.

    The rules are those of ``split_sentences``. The text is checked before the first sentence is requested.

    Args:
        text: The text to split.
        rules: Language, and where sentences end.

    Returns:
        An iterator over the sentences in order, whose memory use does not grow with the text.

    Raises:
        InputError: ``text`` is not a str, or contains a lone surrogate, which UTF-8 cannot encode; or the caller's
            sentences do not fit the text.
    """
    text = read_text(text)
    if not text or text.isspace():
        return iter(())
    if callable(rules.sentences):
        return _split_ranges(text, rules.sentences(text), rules.language)
    tokens = iterate_words(text, rules.language)
    if rules.sentences == "whole":
        return iter((_build_words(list(tokens)),))
    return _group_sentences(text, tokens, LineEndRule(text, rules.newlines))


def check_rules(rules: SplittingRules) -> None:
    """Check the options of a caller.

    Args:
        rules: The options.

    Raises:
        InputError: ``sentences`` or ``newlines`` has none of the allowed values.
    """
    if not callable(rules.sentences) and rules.sentences not in ("auto", "whole"):
        raise InputError(
            f"unknown sentences {rules.sentences!r}; choose from 'auto', 'whole', or a function that returns the"
            " character ranges of the sentences of a text"
        )
    if rules.newlines not in get_args(Newlines):
        raise InputError(f"unknown newlines {rules.newlines!r}; choose from 'auto', 'space', 'end'")


def load_tokenizer_rules(language: str = DEFAULT_LANGUAGE) -> None:
    """Load the tokenizer now, so that the first text does not wait for it.

    Args:
        language: Language of the tokenizer.

    Raises:
        BackendError: There are no rules for the language, or a package that they need is not installed.
    """
    load_word_tokenizer(language)


def _split_ranges(text: str, ranges: Iterable[tuple[int, int]], language: str) -> Iterator[TokenizedSentence]:
    """Yield the words of each range of the caller; ranges without a word are left out."""
    if not isinstance(ranges, Iterable):
        raise InputError(
            f"sentences: the function returned {ranges!r:.60}; it must return pairs (start, end) of character indices"
        )
    done = 0
    for value in ranges:
        start, end = _check_range(value, done, len(text))
        tokens = list(iterate_words(text[start:end], language))
        if tokens:
            yield _build_words([Token(token.text, token.start + start, token.is_punct) for token in tokens])
        done = end


def _check_range(value: object, done: int, length: int) -> tuple[int, int]:
    """Return a range of the caller as integers, if it lies behind ``done`` and within the text."""
    try:
        start, end = (index.__index__() for index in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, AttributeError):
        raise InputError(
            f"sentences: {value!r:.60} is not a range; the function must return pairs (start, end) of character indices"
        ) from None
    if not 0 <= start < end <= length:
        raise InputError(
            f"sentences: the range ({start}, {end}) must have 0 <= start < end <= {length}, the length of the text"
        )
    if start < done:
        raise InputError(
            f"sentences: the range ({start}, {end}) starts before {done}, the end of the range before it; ranges must"
            " be in order and must not overlap"
        )
    return start, end


def _group_sentences(text: str, tokens: Iterator[Token], line_ends: LineEndRule) -> Iterator[TokenizedSentence]:
    """Group tokens into sentences, at the ends of sentences and of lines."""
    has_line_ends = line_ends.has_line_ends
    sentence: list[Token] = []
    ended = False
    kind = None
    last_end = 0
    for token in tokens:
        word, start = token.text, token.start
        index, cut = len(sentence), 0
        sentence.append(token)
        if has_line_ends and index and start > last_end and line_ends.ends_sentence(last_end, start):
            cut = index
        elif ended:
            if not token.is_punct and word not in FULL_STOPS:
                if stop_ends_sentence(kind, word):
                    cut = _find_sentence_start(sentence, index)
                else:
                    ended = False
            elif word in _MID_SENTENCE_MARKS and (kind is not None or start == last_end):
                ended = False
        if cut:
            yield _build_words(sentence[:cut])
            del sentence[:cut]
            ended = False
        if word in FULL_STOPS:
            ended = True
            kind = _find_kind(sentence, len(sentence) - 2) if word == "." else None
        elif word[-1] == "." and len(word) > 1 and word[-2] != ".":
            kind = _find_kind(sentence, len(sentence) - 1)
            ended = kind is not None
        last_end = start + len(word)
    yield _build_words(sentence)


def _find_kind(sentence: list[Token], index: int) -> AbbreviationKind | None:
    """Return the kind of abbreviation that word ``index`` of a sentence is, with or without its full stop."""
    if index < 0:
        return None
    word = sentence[index].text
    if index == 0 and word.isdecimal() and len(word) <= MAX_ITEM_DIGITS:  # "1. Jack Ruby": the number of an item
        return AbbreviationKind.PREFIX
    return find_abbreviation_kind(word.removesuffix("."), sentence[index - 1].text if index else "")


def _find_sentence_start(tokens: list[Token], first: int) -> int:
    """Return the index at which the sentence of word ``first`` starts.

    Opening quotes and brackets that touch the word, and are separated from the previous sentence, belong to it.
    """
    start = first
    while tokens[start - 1].is_punct and tokens[start - 1].text not in FULL_STOPS and _touches_previous(tokens, start):
        start -= 1
    return first if _touches_previous(tokens, start) else start


def _touches_previous(tokens: list[Token], index: int) -> bool:
    """Return True if nothing separates token ``index`` from the token before it."""
    return tokens[index - 1].start + len(tokens[index - 1].text) == tokens[index].start


def _build_words(tokens: list[Token]) -> TokenizedSentence:
    words = [token.text for token in tokens]
    starts = [token.start for token in tokens]
    return TokenizedSentence(words, starts, list(map(add, starts, map(len, words))))

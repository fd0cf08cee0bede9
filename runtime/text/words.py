"""Split raw text into words by the rules of a language, with exact character offsets.

Words are those of spaCy's blank pipeline of the language; spaCy is imported only for a language without frozen rules,
see ``word_rules``. Scripts that are written without spaces, and that those rules
leave whole, are split into characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from ..errors import BackendError, one_line
from .rule_tokenizer import RuleTokenizer
from .spacy_words import SpacyWordTokenizer, read_spacy_rules
from .word_rules import find_frozen_rules
from .word_tokenizer import Token, WordTokenizer

if TYPE_CHECKING:
    from spacy.language import Language

#: Maximum number of characters passed to the tokenizer at once. Longer text is cut at white space, so no word is
#: split.
MAX_CHUNK_CHARS = 100_000

#: Maximum number of characters without white space that the tokenizer may see; its cost is quadratic in the length of
#: such a run ("!!!!…").
MAX_RUN_CHARS = 300

#: Language of texts if nothing else is said.
DEFAULT_LANGUAGE = "en"

#: Letters of scripts that are written without spaces: Han, Kana, Thai, Lao, Khmer, Myanmar, Tibetan, Tai, Javanese.
_UNSPACED = (
    "\u0e01-\u0e5b\u0e81-\u0edf\u0f40-\u0fbc\u1000-\u109f\u1780-\u17df\u1950-\u19df\u1a20-\u1aad\u3005-\u3007"
    "\u3021-\u3029\u3031-\u3035\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua980-\ua9df"
    "\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003fffd"
)

#: Number of letters of an unspaced script in a row from which a notice says that they are not split into words.
MIN_UNSPLIT_LETTERS = 4

#: Longest word of an unspaced script that the rules of its language may leave.
MAX_SEGMENTED_CHARS = 8

#: Languages whose spaCy rules find the words of their own unspaced script, and the packages that these rules need.
_SEGMENTED_LANGUAGES = {"ja": "sudachipy sudachidict_core", "th": "pythainlp"}

#: spaCy's rules for Chinese split Latin words into letters as well; the neutral rules leave these whole.
_SPACY_LANGUAGES = {"zh": "xx"}

#: Further packages that the rules of a language need.
_PACKAGES = {**_SEGMENTED_LANGUAGES, "ko": "natto-py", "vi": "pyvi"}

# Patterns with large character classes take milliseconds to compile: ``_compile`` does so when one is first needed.
_UNSPACED_LETTER = f"[{_UNSPACED}]"
_OTHER_MARKS = "\u0300-\u036f\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"
_SEGMENTED_PIECE = rf"[^。！？｡\n]{{1,{MAX_RUN_CHARS}}}[。！？｡]*|[。！？｡]{{1,{MAX_RUN_CHARS}}}"
_UNSPLIT_RUN = f"[{_UNSPACED}]{{{MIN_UNSPLIT_LETTERS},}}"
_HAN = "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_KANA = "\u3031-\u3035\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f"
_OWN_LETTERS = {"zh": _HAN, "ja": _HAN + _KANA, "th": "\u0e01-\u0e5b"}
_UNSPLIT_RUNS = {
    language: f"(?:(?![{own}])[{_UNSPACED}]){{{MIN_UNSPLIT_LETTERS},}}" for language, own in _OWN_LETTERS.items()
}
_LONG_RUN = re.compile(rf"(?<!\S)\S{{{MAX_RUN_CHARS + 1},}}")
_JOINERS = "_\u200c\u200d"
_SPACE = re.compile(r"\s")


@cache
def load_language(language: str) -> Language:
    """Load spaCy's rules of a language; repeated calls return the same pipeline.

    Args:
        language: Code of a language that spaCy has rules for, such as "en", or "xx" for neutral rules.

    Returns:
        The pipeline. Use it only through ``load_word_tokenizer``.

    Raises:
        BackendError: spaCy has no rules for the language, or they need a package that is not installed.
    """
    from .spacy_import_guard import hide_torch_from_spacy, leave_out_spacy_commands

    with hide_torch_from_spacy(), leave_out_spacy_commands():
        import spacy

        try:
            return spacy.blank(_SPACY_LANGUAGES.get(language, language))
        except Exception as error:  # the tokenizer of a language is third-party code and may raise anything
            reason = one_line(error)
            if "E048" in reason or "E002" in reason:
                raise BackendError(
                    f"language {language!r}: spaCy has no rules for it; use its code, such as 'en', 'de' or 'zh', or"
                    " 'xx' for neutral rules"
                ) from None
            packages = _PACKAGES.get(language)
            remedy = f"run `pip install {packages}`" if packages else f"spaCy says: {reason}"
            raise BackendError(
                f"language {language!r}: its rules need packages that are not installed; {remedy}"
            ) from error


@cache
def load_word_tokenizer(language: str) -> WordTokenizer | SpacyWordTokenizer:
    """Load the tokenizer of a language; repeated calls return the same one.

    Args:
        language: See ``load_language``.

    Returns:
        The tokenizer.

    Raises:
        BackendError: As ``load_language``, for a language without frozen rules.
    """
    rules = find_frozen_rules(_SPACY_LANGUAGES.get(language, language))
    if rules is None:
        nlp = load_language(language)
        rules = read_spacy_rules(nlp)
        if rules is None:
            return SpacyWordTokenizer(nlp)
    return WordTokenizer(RuleTokenizer(rules))


def iterate_words(text: str, language: str = DEFAULT_LANGUAGE) -> Iterator[Token]:
    """Iterate over the words of a text, in linear time and without holding all of them in memory.

    Args:
        text: The text.
        language: Language whose rules are used, see ``load_language``.

    Returns:
        An iterator over the words in order; together they are all characters that are not white space.
    """
    words = _tokenize_text(text, language)
    if text.isascii() or not _compile(_UNSPACED_LETTER).search(text):
        return words
    return _split_unspaced(words, language)


def find_unsplit_letters(text: str, language: str) -> tuple[int, int] | None:
    """Find the first run of letters of an unspaced script whose words the rules of a language do not find.

    Args:
        text: The text.
        language: Language whose rules are used.

    Returns:
        The first character of the run and the one after it; None if there is no run of ``MIN_UNSPLIT_LETTERS``.
    """
    if text.isascii():
        return None
    run = _compile(_UNSPLIT_RUNS.get(language, _UNSPLIT_RUN)).search(text)
    return run.span() if run else None


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when it is first needed."""
    return re.compile(pattern)


@cache
def _compile_unspaced_part() -> re.Pattern[str]:
    """Compile the pattern of a letter of an unspaced script with its marks, or of what is between two of them."""
    marks = "".join(c for c in map(chr, range(0x0E01, 0x1AAE)) if unicodedata.category(c).startswith("M"))
    return re.compile(rf"[{_UNSPACED}][{marks}{_OTHER_MARKS}]*|[^{_UNSPACED}]+")


def _tokenize_text(text: str, language: str) -> Iterator[Token]:
    """Yield the words of ``text`` in order."""
    if len(text) <= MAX_RUN_CHARS:
        yield from _tokenize_chunk(text, 0, language)
        return
    done = 0
    for run in _LONG_RUN.finditer(text):
        yield from _tokenize_range(text, done, run.start(), language)
        yield from _tokenize_run(run.group(), run.start(), language)
        done = run.end()
    yield from _tokenize_range(text, done, len(text), language)


def _tokenize_range(text: str, start: int, stop: int, language: str) -> Iterator[Token]:
    """Yield the words of ``text[start:stop]``, tokenizing about ``MAX_CHUNK_CHARS`` characters at a time."""
    while start < stop:
        space = _SPACE.search(text, start + MAX_CHUNK_CHARS, stop)
        end = space.start() if space else stop
        yield from _tokenize_chunk(text[start:end], start, language)
        start = end


def _tokenize_chunk(chunk: str, offset: int, language: str) -> list[Token]:
    """Return the words of ``chunk``, which starts at character ``offset`` of the text."""
    return load_word_tokenizer(language).tokenize(chunk, offset)


def _tokenize_run(run: str, offset: int, language: str) -> Iterator[Token]:
    """Yield the words of a run without white space that is too long for the tokenizer as a whole.

    A language that finds words in unspaced text gets it in pieces; elsewhere the run is split at symbols.
    """
    if language not in _SEGMENTED_LANGUAGES:
        yield from _split_run(run, offset)
        return
    for piece in _compile(_SEGMENTED_PIECE).finditer(run):
        if _compile(_UNSPACED_LETTER).search(piece.group()):
            yield from _tokenize_chunk(piece.group(), offset + piece.start(), language)
        else:
            yield from _split_run(piece.group(), offset + piece.start())


def _split_run(run: str, offset: int) -> Iterator[Token]:
    """Yield the words of a run that is too long for the tokenizer.

    A word is a sequence of letters, marks, digits and joiners, or one symbol repeated.
    """
    for symbol, group in groupby(run, key=_get_separator):
        word = "".join(group)
        yield Token(word, offset, bool(symbol) and unicodedata.category(symbol).startswith("P"))
        offset += len(word)


def _get_separator(character: str) -> str:
    """Return the character if it separates words, else the empty string."""
    return "" if unicodedata.category(character)[0] in "LMN" or character in _JOINERS else character


def _split_unspaced(words: Iterator[Token], language: str) -> Iterator[Token]:
    """Yield the words with unspaced scripts split into characters, unless the language found the words itself."""
    longest = MAX_SEGMENTED_CHARS if language in _SEGMENTED_LANGUAGES else 0
    for word in words:
        text, start = word.text, word.start
        if text.isascii() or len(text) <= max(1, longest) or not _compile(_UNSPACED_LETTER).search(text):
            yield word
            continue
        for part in _compile_unspaced_part().finditer(text):
            yield from _split_stops(part.group(), start + part.start())


def _split_stops(text: str, offset: int) -> Iterator[Token]:
    """Yield what was between two characters of an unspaced script: words, with punctuation marks apart."""
    start = 0
    for mark, group in groupby(text, key=_get_stop):
        part = "".join(group)
        yield Token(part, offset + start, bool(mark))
        start += len(part)


def _get_stop(character: str) -> str:
    """Return the character if it is punctuation outside ASCII, or a bracket or quote, else the empty string."""
    is_mark = unicodedata.category(character).startswith("P") and character not in "'’-._/&@"
    return character if is_mark else ""

"""Split text into words with the tokenizer of a spaCy pipeline, and remember the words of chunks seen before.

A chunk is what stands between white space. Most chunks of a text occur often, and a look-up takes a tenth of the time
that spaCy takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import msgspec

from .bounded_cache import BoundedCache

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

#: Number of strings that a spaCy vocabulary may keep permanently (about 450 bytes each). Beyond that, new strings are
#: dropped after use.
MAX_NEW_STRINGS = 5_000

#: Number of chunks that are remembered, at least, and twice as many at most (about 300 bytes each), and maximum number
#: of characters of such a chunk.
MAX_KNOWN_CHUNKS = 10_000
MAX_KNOWN_CHUNK_CHARS = 40

_lock = threading.Lock()
_initial_string_counts: WeakKeyDictionary[Language, int] = WeakKeyDictionary()


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


class WordTokenizer:
    """Tokenizer of a spaCy pipeline that remembers the words of chunks; any number of threads may use it.

    spaCy splits each chunk by itself, and then looks in the tokens of the whole text for the special cases of the
    language, such as ":)", which it puts together. A special case of two chunks changes no words, but it hides those
    that overlap with it: "no:)" alone is "no", ":)", but in "no:) )" it is "no", ":", ")". So the words of a chunk are
    remembered only if special cases do not change them; a text with any other chunk is given to spaCy as a whole.

    Args:
        nlp: The pipeline. Nobody else may use it: its words lose all attributes but the two that are read here.
    """

    def __init__(self, nlp: Language) -> None:
        from spacy.attrs import IS_PUNCT, IS_SPACE, ORTH
        from spacy.tokenizer import Tokenizer

        self._nlp = nlp
        vocabulary: Any = nlp.vocab
        # spaCy computes all attributes of every new word, such as its shape and whether it is like a URL.
        vocabulary.lex_attr_getters = {key: vocabulary.lex_attr_getters[key] for key in (IS_PUNCT, IS_SPACE)}
        self._is_punct: Callable[[str], bool] = vocabulary.lex_attr_getters[IS_PUNCT]
        self._known = BoundedCache[tuple[Token, ...]](MAX_KNOWN_CHUNKS, MAX_KNOWN_CHUNK_CHARS)
        self._tokenizer: Any = nlp.tokenizer
        self._special_cases: dict[str, list[str]] = {}
        # Splits chunks without special cases; None if chunks cannot be split one by one in this language.
        self._plain: Callable[[str], Doc] | None = None
        is_general = type(nlp.tokenizer) is Tokenizer  # some languages have a tokenizer of their own
        rules: dict[str, Any] = getattr(nlp.tokenizer, "rules", {})
        if is_general and not any(len(case.split()) > 1 for case in rules):
            self._special_cases = {case: [token[ORTH] for token in tokens] for case, tokens in rules.items()}
            functions = ("prefix_search", "suffix_search", "infix_finditer", "token_match", "url_match")
            self._plain = Tokenizer(vocabulary, **{name: getattr(self._tokenizer, name) for name in functions})

    def tokenize(self, text: str, offset: int = 0) -> list[Token]:
        """Split a text into words.

        Args:
            text: The text.
            offset: Number to add to the index of each word.

        Returns:
            The words in order.
        """
        if self._plain is None:
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
        with _lock, bound_vocabulary(self._nlp):
            return _read_tokens(self._tokenizer(text), offset)

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
        compound = []
        for chunk in dict.fromkeys(chunks):
            if self._is_word(chunk):
                new[chunk] = (Token(chunk, 0, self._is_punct(chunk)),)
            else:
                compound.append(chunk)
        if compound:
            with _lock, bound_vocabulary(self._nlp):
                # A line end is a token of its own, so no special case goes across it.
                tokens = _read_tokens(self._tokenizer("\n".join(compound)))
                first = start = 0
                for chunk in compound:
                    stop, end = first, start + len(chunk)
                    while stop < len(tokens) and tokens[stop].start < end:
                        stop += 1
                    words = tuple(Token(word.text, word.start - start, word.is_punct) for word in tokens[first:stop])
                    new[chunk] = words if self._is_independent(chunk, words) else ()
                    first, start = stop, end + 1
        self._known.add(new)
        return new

    def _is_word(self, chunk: str) -> bool:
        """Return True if no rule of the language matches in a chunk, which is one word then.

        spaCy splits off prefixes and suffixes, unless the chunk is a special case, and divides the rest at infixes.
        """
        tokenizer = self._tokenizer
        return not (
            chunk in self._special_cases
            or (tokenizer.prefix_search and tokenizer.prefix_search(chunk))
            or (tokenizer.suffix_search and tokenizer.suffix_search(chunk))
            or (tokenizer.infix_finditer and any(tokenizer.infix_finditer(chunk)))
        )

    def _is_independent(self, chunk: str, words: Sequence[Token]) -> bool:
        """Return True if no special case changes the words of a chunk, unless it is one as a whole."""
        assert self._plain is not None
        texts = [word.text for word in words]
        if chunk in self._special_cases:
            return texts == self._special_cases[chunk]
        return texts == [token.text for token in self._plain(chunk)]


def _read_tokens(doc: Doc, offset: int = 0) -> list[Token]:
    """Return the words of a document, without white space."""
    return [Token(token.text, offset + token.idx, token.is_punct) for token in doc if not token.is_space]

"""Tokenize words into subwords and record which subwords belong to each word.

Each word is tokenized separately (the tokenizer's *pretokenized* mode), so the subwords of a sentence do not depend on
the spaces that were between its words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import Any, NamedTuple, Self, cast

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from ..engine.contract import CASE_MULTIPLIER
from ..errors import BundleError, InputError, one_line
from .bounded_cache import BoundedCache

#: Maximum number of subwords of a word. A longer word becomes the unknown token, as WordPiece itself does with overlong
#: words.
MAX_WORD_SUBWORDS = 64

#: Maximum number of characters of a word that is tokenized. A longer one has more than ``MAX_WORD_SUBWORDS`` subwords.
MAX_WORD_CHARS = 10_000

#: Maximum number of words that are tokenized at once.
MAX_ENCODED_WORDS = 1_000

#: Maximum number of characters that the replacements of a tokenizer may make of one.
MAX_EXPANSION = 64

#: Number of words whose subwords are cached, at least, and twice as many at most (about 200 bytes each), and maximum
#: number of characters of such a word.
MAX_CACHED_WORDS = 10_000
MAX_CACHED_WORD_CHARS = 40

#: Number of letter-case classes: 0 no capitals, 1 Capitalized, 2 ALL CAPITALS, 3 a single capital letter and no other
#: letter, 4 any other use of capitals (capItals).
CASE_COUNT = 5

IntArray = npt.NDArray[np.int64]


def classify_letter_case(word: str) -> int:
    """Return the letter-case class of a word, from 0 to ``CASE_COUNT - 1``.

    Args:
        word: The word. Letters without case, such as Chinese characters, do not count as capitals.

    Returns:
        A class as listed at ``CASE_COUNT``.
    """
    letters = [letter for letter in word if letter.isalpha()]
    capitals = sum(letter.isupper() or letter.istitle() for letter in letters)
    if not capitals:
        return 0
    if capitals == len(letters):
        return 2 if capitals > 1 else 3
    return 1 if capitals == 1 and not letters[0].islower() else 4


class Subwords(NamedTuple):
    """Subwords of one sentence: N words as T subwords.

    Where the model reads letter case, the ids of a word's subwords also carry the case of the word
    (``CASE_MULTIPLIER``), so that an encoder with a lower-case vocabulary can see capitals. Special tokens carry none.

    Attributes:
        ids: Subword ids, special tokens included, ``[T]``.
        first_positions: Position in ``ids`` of each word's first subword, ``[N]``.
        last_positions: Position in ``ids`` of each word's last subword, ``[N]``.
        unknown_words: Indices of the words that are the unknown token, wholly or in part, because the vocabulary does
            not have them, or because they have no subword or too many.
    """

    ids: IntArray
    first_positions: IntArray
    last_positions: IntArray
    unknown_words: tuple[int, ...]


class TextSteps(msgspec.Struct):
    """The parts of a ``tokenizer.json`` that change a text; the vocabulary is passed over.

    Attributes:
        normalizer: Steps before the text is split, None if there are none.
        pre_tokenizer: Steps that split it.
    """

    normalizer: Any = None
    pre_tokenizer: Any = None


def check_expansion(steps: TextSteps, name: str) -> None:
    """Check that the replacements of a tokenizer cannot make a text many times longer.

    Args:
        steps: The steps of the tokenizer.
        name: The name of the tokenizer in error messages.

    Raises:
        BundleError: Together they may make more than ``MAX_EXPANSION`` characters of one.
    """
    factors = [
        _find_expansion(step)
        for part in (steps.normalizer, steps.pre_tokenizer)
        for step in _iterate_steps(part)
        if step.get("type") in ("Replace", "Prepend")
    ]
    if (expansion := math.prod(factors)) > MAX_EXPANSION:
        raise BundleError(
            f"{name}: the replacements of the tokenizer may make {expansion} characters of one; at most"
            f" {MAX_EXPANSION} are allowed"
        )


def _iterate_steps(step: Any) -> Iterator[dict[str, Any]]:
    """Yield a step of a tokenizer, and the steps that it consists of."""
    if isinstance(step, dict):
        yield step
        for key in ("normalizers", "pretokenizers"):
            for inner in step.get(key) or ():
                yield from _iterate_steps(inner)


def _find_expansion(step: dict[str, Any]) -> int:
    """Return the maximum number of characters that a replacement makes of one."""
    if step["type"] == "Prepend":
        return 1 + len(step["prepend"])
    text = step["pattern"].get("String")
    # A regular expression may match between any two characters.
    return 1 + len(step["content"]) if not text else max(1, -(-len(step["content"]) // len(text)))


def _is_failure(error: BaseException) -> bool:
    """Return True for an exception or a panic of the tokenizer, False for an interrupt or an exit."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class SubwordTokenizer:
    """Tokenizer of words into subwords, based on a Hugging Face fast tokenizer (``tokenizer.json``)."""

    def __init__(self, tokenizer: Tokenizer, name: str, casing: bool = False) -> None:
        """Wrap a tokenizer; its own padding and truncation are switched off.

        Args:
            tokenizer: The tokenizer. It is modified, so nobody else should use it.
            name: The name of the tokenizer in error messages.
            casing: Whether to add the letter case of each word to its subword ids (``CASE_MULTIPLIER``).

        Raises:
            BundleError: The tokenizer has no unknown token, or adds no special token before a sentence.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # Text that happens to contain "[SEP]" or "</s>" must not become a special token.
        tokenizer.encode_special_tokens = True
        probe = tokenizer.encode(["a"], is_pretokenized=True)
        positions = [position for position, word in enumerate(probe.word_ids) if word is not None]
        if not positions or positions[0] == 0:
            raise BundleError(
                f"{name}: the tokenizer adds no special token before a sentence; use a tokenizer that adds [CLS] or <s>"
            )
        self._tokenizer = tokenizer
        self._name = name
        self._casing = casing
        self._prefix_ids = list(probe.ids[: positions[0]])
        self._suffix_ids = list(probe.ids[positions[-1] + 1 :])
        self._cached_ids = BoundedCache[tuple[int, ...]](MAX_CACHED_WORDS, MAX_CACHED_WORD_CHARS)
        self._unknown_id = self._find_unknown_id(name)
        cases = range(CASE_COUNT if casing else 1)
        # The unknown token in every letter case.
        self._unknown_ids = frozenset(self._unknown_id + CASE_MULTIPLIER * case for case in cases)

    @property
    def special_token_count(self) -> int:
        """Number of special tokens added to a sentence."""
        return len(self._prefix_ids) + len(self._suffix_ids)

    @classmethod
    def from_bytes(cls, content: bytes, name: str, casing: bool = False) -> Self:
        """Create a tokenizer from the content of a ``tokenizer.json``.

        Args:
            content: The content of the file.
            name: The name of the tokenizer in error messages.
            casing: Whether to add the letter case of each word to its subword ids (``CASE_MULTIPLIER``).

        Returns:
            The tokenizer.

        Raises:
            BundleError: The content is not a tokenizer, or not a tokenizer that TriMF can use.
        """
        try:
            tokenizer = Tokenizer.from_buffer(content)
            check_expansion(msgspec.json.decode(content, type=TextSteps), name)
            return cls(tokenizer, name, casing)
        except BundleError:
            raise
        except BaseException as error:  # a damaged file may panic in Rust, whose exception is not an Exception
            if not _is_failure(error):
                raise
            raise BundleError(f"{name}: not a tokenizer file: {' '.join(str(error).split())}") from error

    def _find_unknown_id(self, name: str) -> int:
        names = [getattr(self._tokenizer.model, "unk_token", None), "[UNK]", "<unk>"]
        for token in names:
            token_id = self._tokenizer.token_to_id(token) if token else None
            if token_id is not None:
                return int(token_id)
        raise BundleError(
            f"{name}: the tokenizer has no unknown token (tried {', '.join(n for n in names if n)});"
            f" add [UNK] to its vocabulary"
        )

    def encode(self, sentences: Sequence[Sequence[str]], max_pieces: int = MAX_WORD_SUBWORDS) -> list[Subwords]:
        """Tokenize sentences of words; the result for a sentence does not depend on the others.

        Args:
            sentences: The words of each sentence.
            max_pieces: Maximum number of subwords of a word; a longer word becomes the unknown token.

        Returns:
            The subwords of each sentence, in order.

        Raises:
            InputError: A word is not a str, or contains a lone surrogate.
        """
        encoded = []
        all_ids = iter(self._lookup_subwords(sentences))
        for sentence in sentences:
            word_ids = list(islice(all_ids, len(sentence)))
            counts = list(map(len, word_ids))
            if counts and (min(counts) == 0 or max(counts) > max_pieces):
                for index, count in enumerate(counts):
                    if count == 0 or count > max_pieces:
                        word_ids[index], counts[index] = (self._unknown_id + self._case_offset(sentence[index]),), 1
            ids = [*self._prefix_ids, *chain.from_iterable(word_ids), *self._suffix_ids]
            unknown: tuple[int, ...] = ()
            if not self._unknown_ids.isdisjoint(ids):
                is_known = map(self._unknown_ids.isdisjoint, word_ids)
                unknown = tuple(index for index, known in enumerate(is_known) if not known)
            starts = list(accumulate(counts, initial=len(self._prefix_ids)))
            first = np.array(starts[:-1], np.int64)
            last = np.array([start - 1 for start in starts[1:]], np.int64)
            encoded.append(Subwords(np.array(ids, np.int64), first, last, unknown))
        return encoded

    def subword_texts(self, subwords: Subwords) -> list[str]:
        """Return the vocabulary strings of all T subwords of a sentence, special tokens included."""
        return [self._tokenizer.id_to_token(int(subword_id) % CASE_MULTIPLIER) or "" for subword_id in subwords.ids]

    def _lookup_subwords(self, sentences: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
        """Return the subword ids of each word of all sentences.

        Most words of a text occur often, so only words that are not in the cache are tokenized.
        """
        try:
            words = list(chain.from_iterable(sentences))
            cached = self._cached_ids.find(words)
            if None not in cached:
                return cast(list[tuple[int, ...]], cached)
            new_words = [word for word, word_ids in zip(words, cached, strict=True) if word_ids is None]
            new_words = list(dict.fromkeys(new_words))
            encoded = self._encode_words(new_words)
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(f"words must be strings of valid Unicode text: {error}") from error
        new_ids = {}
        for word, word_ids in zip(new_words, encoded, strict=True):
            offset = self._case_offset(word)
            new_ids[word] = tuple(token_id + offset for token_id in word_ids) if offset else tuple(word_ids)
        self._cached_ids.add(new_ids)
        return [new_ids[word] if word_ids is None else word_ids for word, word_ids in zip(words, cached, strict=True)]

    def _encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the vocabulary ids of each word; none for a word longer than ``MAX_WORD_CHARS``."""
        encoded = []
        for start in range(0, len(words), MAX_ENCODED_WORDS):
            part = [word if len(word) <= MAX_WORD_CHARS else "" for word in words[start : start + MAX_ENCODED_WORDS]]
            try:
                encodings = self._encode_batch(part)
            except (TypeError, UnicodeEncodeError):
                raise
            except BaseException as error:  # a panic in Rust is not an Exception
                if not _is_failure(error):
                    raise
                raise BundleError(
                    f"{self._name}: the tokenizer fails on {self._find_failing_word(part)}: {one_line(error)}; replace"
                    " the tokenizer and export the bundle again"
                ) from error
            encoded += [encoding.ids for encoding in encodings]
        return encoded

    def _encode_batch(self, words: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch([[word] for word in words], is_pretokenized=True, add_special_tokens=False)

    def _find_failing_word(self, words: Sequence[str]) -> str:
        """Return the first word that the tokenizer fails on, in quotes and cut to 40 characters."""
        for word in words:
            try:
                self._encode_batch([word])
            except BaseException as error:
                if not _is_failure(error):
                    raise
                return f"the word {word[:40]!r}"
        return "a list of words"

    def _case_offset(self, word: str) -> int:
        """Return the number to add to each subword id of a word for its letter case."""
        return CASE_MULTIPLIER * classify_letter_case(word) if self._casing else 0

    def slice_words(self, subwords: Subwords, start: int, end: int) -> Subwords:
        """Return part of a sentence as a sentence with special tokens around it.

        Args:
            subwords: The sentence.
            start: Index of the first word of the part.
            end: Index after the last word of the part; at least ``start + 1``.

        Returns:
            The subwords of words ``start`` to ``end`` (exclusive), with empty ``unknown_words``.
        """
        first, last = subwords.first_positions[start:end], subwords.last_positions[start:end]
        word_ids = subwords.ids[first[0] : last[-1] + 1]
        shift = first[0] - len(self._prefix_ids)
        ids = np.array([*self._prefix_ids, *word_ids.tolist(), *self._suffix_ids], np.int64)
        return Subwords(ids, first - shift, last - shift, ())

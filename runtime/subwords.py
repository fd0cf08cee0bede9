"""Words to subwords, with the positions of each word's pieces.

Each word is tokenised on its own (the tokenizer's *pretokenised* mode), so a sentence's subwords do not depend on the
spaces the words once had.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from .errors import BundleError, InputError

#: A word of more subwords than this is read as the unknown token, as WordPiece itself does with overlong words.
MAX_PIECES = 64

#: Words whose subwords are remembered (some 200 bytes each), none longer than so many characters; all are forgotten
#: when there are more.
KNOWN_WORDS = 20_000
KNOWN_CHARS = 40

#: What stands above the vocabulary in a subword's number where the model reads letter case: number + CASE * case.
CASE = 1 << 24

#: How a word is written: without capitals, Capitalised, ALL CAPITALS, one capital alone, capItals within.
CASES = 5

IntArray = npt.NDArray[np.int64]


def case_of(word: str) -> int:
    """Which of the :data:`CASES` a word has; letters without case are none."""
    letters = [letter for letter in word if letter.isalpha()]
    capitals = sum(letter.isupper() or letter.istitle() for letter in letters)
    if not capitals:
        return 0
    if capitals == len(letters):
        return 2 if capitals > 1 else 3
    return 1 if capitals == 1 and not letters[0].islower() else 4


class Subwords(NamedTuple):
    """One sentence of N words as T subwords.

    ``ids`` ``[T]`` includes the special tokens; ``first`` and ``last`` ``[N]`` are positions in it. ``unknown`` lists
    the words that were replaced by the unknown token: those without any subword, and those with too many.

    Where the model reads letter case, the numbers of a word's subwords have that of the word above them
    (:data:`CASE`), so that an encoder of lower-case letters learns of capitals; special tokens have none.
    """

    ids: IntArray
    first: IntArray
    last: IntArray
    unknown: tuple[int, ...]


class SubwordTokenizer:
    """A Hugging Face fast tokenizer (``tokenizer.json``) applied to words; ``casing`` adds their letter case.

    Raises:
        BundleError: the tokenizer has no unknown token, or adds no token before a sentence.
    """

    def __init__(self, tokenizer: Tokenizer, name: str, casing: bool = False) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # Text that happens to read "[SEP]" or "</s>" is text.
        tokenizer.encode_special_tokens = True
        probe = tokenizer.encode(["a"], is_pretokenized=True)
        places = [position for position, word in enumerate(probe.word_ids) if word is not None]
        if not places or places[0] == 0:
            raise BundleError(f"{name}: the tokenizer puts no special token before a sentence; TriMF needs one ([CLS])")
        self._tokenizer = tokenizer
        self._casing = casing
        self._prefix = list(probe.ids[: places[0]])
        self._suffix = list(probe.ids[places[-1] + 1 :])
        self._known: dict[str, tuple[int, ...]] = {}
        self._unknown = self._unknown_id(name)

    @property
    def specials(self) -> int:
        """How many special tokens surround a sentence."""
        return len(self._prefix) + len(self._suffix)

    @classmethod
    def from_bytes(cls, content: bytes, name: str, casing: bool = False) -> Self:
        """Open the content of a ``tokenizer.json``; ``name`` is what errors call it.

        Raises:
            BundleError: it is no tokenizer, or not one that TriMF can use.
        """
        try:
            return cls(Tokenizer.from_buffer(content), name, casing)
        except BundleError:
            raise
        except BaseException as error:  # a damaged file may panic in Rust, whose exception is no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise BundleError(f"{name}: not a tokenizer file: {' '.join(str(error).split())}") from error

    def _unknown_id(self, name: str) -> int:
        names = [getattr(self._tokenizer.model, "unk_token", None), "[UNK]", "<unk>"]
        for token in names:
            number = self._tokenizer.token_to_id(token) if token else None
            if number is not None:
                return int(number)
        raise BundleError(f"{name}: the tokenizer has no unknown token (tried {', '.join(n for n in names if n)})")

    def encode(self, sentences: Sequence[Sequence[str]], max_pieces: int = MAX_PIECES) -> list[Subwords]:
        """Tokenise sentences of words; the result of one does not depend on the others.

        A word of more than ``max_pieces`` subwords becomes the unknown token.

        Raises:
            InputError: a word is not a string, or holds a lone surrogate.
        """
        encoded = []
        flat = iter(self._pieces(sentences))
        for sentence in sentences:
            pieces = list(islice(flat, len(sentence)))
            counts = list(map(len, pieces))
            unknown: tuple[int, ...] = ()
            if counts and (min(counts) == 0 or max(counts) > max_pieces):
                unknown = tuple(place for place, count in enumerate(counts) if count == 0 or count > max_pieces)
                for place in unknown:
                    pieces[place], counts[place] = (self._unknown + self._above(sentence[place]),), 1
            ids = np.array([*self._prefix, *chain.from_iterable(pieces), *self._suffix], np.int64)
            count = np.array(counts, np.int64)
            last = np.cumsum(count) + (len(self._prefix) - 1)
            encoded.append(Subwords(ids, last - count + 1, last, unknown))
        return encoded

    def texts(self, subwords: Subwords) -> list[str]:
        """The subwords ``[T]`` as the vocabulary writes them, special tokens included."""
        return [self._tokenizer.id_to_token(int(number) % CASE) or "" for number in subwords.ids]

    def _pieces(self, sentences: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
        """The subwords of each word. Text repeats its words: those seen before are looked up."""
        try:
            words = list(chain.from_iterable(sentences))
            known = list(map(self._known.get, words))
            if None not in known:
                return cast(list[tuple[int, ...]], known)
            new = [word for word, pieces in zip(words, known, strict=True) if pieces is None]
            new = list(dict.fromkeys(new))
            encodings = self._tokenizer.encode_batch(
                [[word] for word in new], is_pretokenized=True, add_special_tokens=False
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(f"words must be strings of valid Unicode text: {error}") from error
        found = {}
        for word, encoding in zip(new, encodings, strict=True):
            above = self._above(word)
            found[word] = tuple(number + above for number in encoding.ids) if above else tuple(encoding.ids)
        if len(self._known) + len(found) > KNOWN_WORDS:
            self._known = {}
        self._known.update((word, pieces) for word, pieces in found.items() if len(word) <= KNOWN_CHARS)
        return [found[word] if pieces is None else pieces for word, pieces in zip(words, known, strict=True)]

    def _above(self, word: str) -> int:
        return CASE * case_of(word) if self._casing else 0

    def cut(self, subwords: Subwords, start: int, end: int) -> Subwords:
        """Words ``start`` to ``end`` (exclusive) of a sentence as a sentence of their own."""
        first, last = subwords.first[start:end], subwords.last[start:end]
        pieces = subwords.ids[first[0] : last[-1] + 1]
        shift = first[0] - len(self._prefix)
        whole = np.array([*self._prefix, *pieces.tolist(), *self._suffix], np.int64)
        return Subwords(whole, first - shift, last - shift, ())

"""Words to subwords, with the positions of each word's pieces.

Each word is tokenised on its own (the tokenizer's *pretokenised* mode), so a sentence's subwords do not depend on the
spaces the words once had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from .errors import BundleError, InputError

#: A word of more subwords than this is read as the unknown token, as WordPiece itself does with overlong words.
MAX_PIECES = 64

IntArray = npt.NDArray[np.int64]


class Subwords(NamedTuple):
    """One sentence of N words as T subwords.

    ``ids`` ``[T]`` includes the special tokens; ``first`` and ``last`` ``[N]`` are positions in it. ``unknown`` lists
    the words that were replaced by the unknown token: those without any subword, and those with too many.
    """

    ids: IntArray
    first: IntArray
    last: IntArray
    unknown: tuple[int, ...]


class SubwordTokenizer:
    """A Hugging Face fast tokenizer (``tokenizer.json``) applied to words.

    Raises:
        BundleError: the tokenizer has no unknown token, or adds no token before a sentence.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # Text that happens to read "[SEP]" or "</s>" is text.
        tokenizer.encode_special_tokens = True
        probe = tokenizer.encode(["a"], is_pretokenized=True)
        places = [position for position, word in enumerate(probe.word_ids) if word is not None]
        if not places or places[0] == 0:
            raise BundleError(f"{name}: the tokenizer puts no special token before a sentence; TriMF needs one ([CLS])")
        self._tokenizer = tokenizer
        self._prefix = list(probe.ids[: places[0]])
        self._suffix = list(probe.ids[places[-1] + 1 :])
        self._unknown = self._unknown_id(name)

    @property
    def specials(self) -> int:
        """How many special tokens surround a sentence."""
        return len(self._prefix) + len(self._suffix)

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Self:
        """Open the content of a ``tokenizer.json``; ``name`` is what errors call it.

        Raises:
            BundleError: it is no tokenizer, or not one that TriMF can use.
        """
        try:
            return cls(Tokenizer.from_buffer(content), name)
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
        try:
            encodings = self._tokenizer.encode_batch(
                [list(sentence) for sentence in sentences], is_pretokenized=True, add_special_tokens=False
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(f"words must be strings of valid Unicode text: {error}") from error
        return [
            self._assemble(len(sentence), encoding.ids, encoding.word_ids, max_pieces)
            for sentence, encoding in zip(sentences, encodings, strict=True)
        ]

    def _assemble(self, length: int, ids: list[int], word_ids: Sequence[int | None], max_pieces: int) -> Subwords:
        pieces = np.asarray(ids, np.int64)
        owner = np.asarray(word_ids, np.int64)
        counts = np.bincount(owner, minlength=length)
        unknown: tuple[int, ...] = ()
        odd = (counts == 0) | (counts > max_pieces)
        if odd.any():
            unknown = tuple(int(word) for word in np.flatnonzero(odd))
            keep = ~odd[owner]
            pieces = np.concatenate([pieces[keep], np.full(len(unknown), self._unknown)])
            owner = np.concatenate([owner[keep], np.asarray(unknown)])
            order = np.argsort(owner, kind="stable")
            pieces, owner = pieces[order], owner[order]
            counts = np.where(odd, 1, counts)
        last = np.cumsum(counts) - 1 + len(self._prefix)
        whole = np.concatenate([np.asarray(self._prefix, np.int64), pieces, np.asarray(self._suffix, np.int64)])
        return Subwords(whole, last - counts + 1, last, unknown)

    def cut(self, subwords: Subwords, start: int, end: int) -> Subwords:
        """Words ``start`` to ``end`` (exclusive) of a sentence as a sentence of their own."""
        first, last = subwords.first[start:end], subwords.last[start:end]
        pieces = subwords.ids[first[0] : last[-1] + 1]
        whole = np.concatenate([np.asarray(self._prefix, np.int64), pieces, np.asarray(self._suffix, np.int64)])
        shift = first[0] - len(self._prefix)
        return Subwords(whole, first - shift, last - shift, ())

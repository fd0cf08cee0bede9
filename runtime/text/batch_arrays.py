"""Build the padded arrays of a batch; training and inference share this code, so that they cannot diverge.

Axes: B sentences, T subwords, N words, S subwords of the longest word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .subwords import IntArray, Subwords

BoolArray = npt.NDArray[np.bool_]

#: Dependency-label id for "no message": a root, an arc that leaves the window, or a label unknown to the model.
NO_ARC = 0


#: Maximum number of subword positions of a sentence that are computed as lists rather than by numpy.
MAX_LISTED_POSITIONS = 500


class EncodedSentence(NamedTuple):
    """Subwords and dependency arcs of one sentence, or of one window of a long sentence.

    Attributes:
        subwords: The subwords of the N words.
        heads: Index of each word's head, ``[N]``; the word's own index if it has none.
        labels: Dependency-label id of each word's arc, ``[N]``; ``NO_ARC`` if no message passes along it.
    """

    subwords: Subwords
    heads: IntArray
    labels: IntArray

    @property
    def word_count(self) -> int:
        """Number of words."""
        return len(self.heads)


class Batch(NamedTuple):
    """Padded arrays of B sentences.

    Attributes:
        input_ids: Subword ids, ``[B, T]``.
        attention_mask: 1 for a subword, 0 for padding, ``[B, T]``.
        pieces: Positions of each word's subwords, the last position repeated, ``[B, N, S]``. For a padded word all are
            0, the position of the first special token.
        word_mask: True for a word, False for padding, ``[B, N]``.
        heads: Index of each word's head, ``[B, N]``.
        labels: Dependency-label id of each word's arc, ``[B, N]``.
    """

    input_ids: IntArray
    attention_mask: IntArray
    pieces: IntArray
    word_mask: BoolArray
    heads: IntArray
    labels: IntArray


def encode_arcs(
    heads: Sequence[int] | IntArray,
    labels: Sequence[str],
    label_ids: Mapping[str, int],
    start: int = 0,
    end: int | None = None,
) -> tuple[IntArray, IntArray]:
    """Convert the dependency arcs of a window of a sentence to arrays.

    Args:
        heads: Index of each word's head in the sentence; a root has its own index.
        labels: Dependency label of each word's arc.
        label_ids: Ids 1, 2, … of the labels that the model was trained on. Other labels, roots and arcs whose head is
            outside the window get ``NO_ARC``.
        start: Index of the first word of the window.
        end: Index after the last word of the window; None for the end of the sentence.

    Returns:
        The heads, relative to ``start``, and the label ids of the N words of the window, both ``[N]``.
    """
    stop = len(heads) if end is None else end
    head = np.array(heads[start:stop], np.int64)
    label_id = np.fromiter(map(label_ids.get, labels[start:stop], repeat(NO_ARC)), np.int64, stop - start)
    indices = np.arange(start, stop)
    silent = head == indices
    if stop - start < len(heads):
        silent |= (head < start) | (head >= stop)
        head = np.where(silent, indices, head) - start
    label_id[silent] = NO_ARC
    return head, label_id


def pad_batch(items: Sequence[EncodedSentence]) -> Batch:
    """Pad sentences to one batch.

    Args:
        items: At least one sentence, each with at least one word.

    Returns:
        The batch.
    """
    return Batch(
        *pad_subwords([item.subwords for item in items]), *pad_arcs([(item.heads, item.labels) for item in items])
    )


def pad_subwords(sentences: Sequence[Subwords]) -> tuple[IntArray, IntArray, IntArray, BoolArray]:
    """Pad the subwords of sentences to the first four arrays of a ``Batch``.

    Args:
        sentences: At least one sentence, each with at least one word.

    Returns:
        ``input_ids``, ``attention_mask``, ``pieces`` and ``word_mask``.
    """
    if len(sentences) == 1:
        return _expand_subwords(sentences[0])
    ids = np.concatenate([sentence.ids for sentence in sentences])
    first = np.concatenate([sentence.first_positions for sentence in sentences])
    last = np.concatenate([sentence.last_positions for sentence in sentences])
    widest = int((last - first).max()) + 1
    pieces = first[:, None] if widest == 1 else np.minimum(first[:, None] + np.arange(widest), last[:, None])
    subword_mask = _build_mask([len(sentence.ids) for sentence in sentences])
    word_mask = _build_mask([len(sentence.first_positions) for sentence in sentences])
    return _pad_rows(ids, subword_mask), subword_mask.astype(np.int64), _pad_rows(pieces, word_mask), word_mask


def _expand_subwords(sentence: Subwords) -> tuple[IntArray, IntArray, IntArray, BoolArray]:
    """Do what ``pad_subwords`` does, for one sentence.

    Between two runs of the encoder, which fill the caches of the processor, a first numpy function that computes costs
    30 µs, since its code must come from main memory. Lists of a sentence are faster.
    """
    ids, first, last = sentence.ids, sentence.first_positions.tolist(), sentence.last_positions.tolist()
    widest = max(stop - start for start, stop in zip(first, last, strict=True)) + 1
    if len(first) * widest <= MAX_LISTED_POSITIONS:
        positions: list[int] = []
        for start, stop in zip(first, last, strict=True):
            positions += range(start, stop + 1)
            positions += [stop] * (widest - 1 - stop + start)
        pieces = np.array(positions, np.int64).reshape(-1, widest)
    else:
        pieces = np.minimum(sentence.first_positions[:, None] + np.arange(widest), sentence.last_positions[:, None])
    return ids[None], np.array([[1] * len(ids)], np.int64), pieces[None], np.array([[True] * len(first)], np.bool_)


def pad_arcs(sentences: Sequence[tuple[IntArray, IntArray]]) -> tuple[IntArray, IntArray]:
    """Pad the dependency arcs of sentences to ``heads`` and ``labels`` of a ``Batch``.

    Args:
        sentences: Heads and label ids of each sentence, as returned by ``encode_arcs``; at least one sentence.

    Returns:
        The padded heads and label ids, both ``[B, N]``.
    """
    if len(sentences) == 1:
        return sentences[0][0][None], sentences[0][1][None]
    mask = _build_mask([len(heads) for heads, _ in sentences])
    heads, labels = (_pad_rows(np.concatenate([arrays[index] for arrays in sentences]), mask) for index in (0, 1))
    return heads, labels


def _build_mask(lengths: Sequence[int]) -> BoolArray:
    """Return True for the real entries of rows that are padded to the longest row, ``[B, longest]``."""
    count = np.asarray(lengths)
    mask: BoolArray = np.arange(count.max()) < count[:, None]
    return mask


def _pad_rows(values: IntArray, mask: BoolArray) -> IntArray:
    """Distribute values, in order, over the True entries of ``mask``; the others get 0, which is also NO_ARC."""
    padded = np.zeros((*mask.shape, *values.shape[1:]), np.int64)
    padded[mask] = values
    return padded

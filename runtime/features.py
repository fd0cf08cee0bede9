"""The arrays of a batch: everything the model sees, padded, in one place for training and for inference.

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

#: The number of "no message": a root, an arc that leaves the window, a label the model was not trained on.
NO_ARC = 0


class Item(NamedTuple):
    """One sentence (or one window of a long one) as numbers: its subwords and its arcs.

    ``heads`` ``[N]`` holds each word's head (its own index where there is none), ``labels`` ``[N]`` the number of the
    arc's label, :data:`NO_ARC` where no message goes along it.
    """

    subwords: Subwords
    heads: IntArray
    labels: IntArray

    @property
    def length(self) -> int:
        """Number of words."""
        return len(self.heads)


class Batch(NamedTuple):
    """Padded arrays of B sentences; a padded word's pieces are all 0, the position of the first special token."""

    input_ids: IntArray
    attention_mask: IntArray
    pieces: IntArray
    word_mask: BoolArray
    heads: IntArray
    labels: IntArray


def arcs(
    heads: Sequence[int] | IntArray,
    labels: Sequence[str],
    numbers: Mapping[str, int],
    start: int = 0,
    end: int | None = None,
) -> tuple[IntArray, IntArray]:
    """The arcs of words ``start`` to ``end`` as (heads ``[N]``, labels ``[N]``), relative to ``start``.

    ``numbers`` maps the trained labels to 1, 2, …; other labels, roots and arcs from outside carry no message.
    """
    stop = len(heads) if end is None else end
    head = np.array(heads[start:stop], np.int64)
    number = np.fromiter(map(numbers.get, labels[start:stop], repeat(NO_ARC)), np.int64, stop - start)
    own = np.arange(start, stop)
    silent = head == own
    if stop - start < len(heads):
        silent |= (head < start) | (head >= stop)
        head = np.where(silent, own, head) - start
    number[silent] = NO_ARC
    return head, number


def pad(items: Sequence[Item]) -> Batch:
    """Pad items to one batch. ``items`` must not be empty and every item has at least one word."""
    return Batch(
        *pad_subwords([item.subwords for item in items]), *pad_arcs([(item.heads, item.labels) for item in items])
    )


def pad_subwords(sentences: Sequence[Subwords]) -> tuple[IntArray, IntArray, IntArray, BoolArray]:
    """``input_ids``, ``attention_mask``, ``pieces`` and ``word_mask`` of a :class:`Batch`."""
    ids = _joined([one.ids for one in sentences])
    first, last = _joined([one.first for one in sentences]), _joined([one.last for one in sentences])
    widest = int((last - first).max()) + 1
    pieces = first[:, None] if widest == 1 else np.minimum(first[:, None] + np.arange(widest), last[:, None])
    if len(sentences) == 1:
        return ids[None], np.ones((1, len(ids)), np.int64), pieces[None], np.ones((1, len(first)), np.bool_)
    inside = _inside([len(one.ids) for one in sentences])
    word_mask = _inside([len(one.first) for one in sentences])
    return _spread(ids, inside), inside.astype(np.int64), _spread(pieces, word_mask), word_mask


def pad_arcs(sentences: Sequence[tuple[IntArray, IntArray]]) -> tuple[IntArray, IntArray]:
    """``heads`` and ``labels`` of a :class:`Batch`, from those of each sentence."""
    if len(sentences) == 1:
        return sentences[0][0][None], sentences[0][1][None]
    inside = _inside([len(heads) for heads, _ in sentences])
    heads, labels = (_spread(_joined([one[place] for one in sentences]), inside) for place in (0, 1))
    return heads, labels


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _inside(lengths: Sequence[int]) -> BoolArray:
    """Which places of rows padded to one length are real, ``[B, longest]``."""
    count = np.asarray(lengths)
    inside: BoolArray = np.arange(count.max()) < count[:, None]
    return inside


def _spread(values: IntArray, inside: BoolArray) -> IntArray:
    """The values, in order, at the real places of padded rows; zeros (which is NO_ARC, too) at the others."""
    padded = np.zeros((*inside.shape, *values.shape[1:]), np.int64)
    padded[inside] = values
    return padded

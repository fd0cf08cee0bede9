"""The arrays of a batch: everything the model sees, padded, in one place for training and for inference.

Axes: B sentences, T subwords, N words, S subwords of the longest word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    heads: Sequence[int], labels: Sequence[str], numbers: Mapping[str, int], start: int = 0, end: int | None = None
) -> tuple[IntArray, IntArray]:
    """The arcs of words ``start`` to ``end`` as (heads ``[N]``, labels ``[N]``), relative to ``start``.

    ``numbers`` maps the trained labels to 1, 2, …; other labels, roots and arcs from outside carry no message.
    """
    stop = len(heads) if end is None else end
    own = np.arange(start, stop, dtype=np.int64)
    head = np.asarray(heads[start:stop], np.int64)
    number = np.asarray([numbers.get(label, NO_ARC) for label in labels[start:stop]], np.int64)
    silent = (head == own) | (head < start) | (head >= stop)
    return np.where(silent, own, head) - start, np.where(silent, NO_ARC, number)


def pad(items: Sequence[Item]) -> Batch:
    """Pad items to one batch. ``items`` must not be empty and every item has at least one word."""
    size = len(items)
    longest = max(len(item.subwords.ids) for item in items)
    words = max(item.length for item in items)
    widest = max(int((item.subwords.last - item.subwords.first).max()) + 1 for item in items)
    input_ids = np.zeros((size, longest), np.int64)
    attention_mask = np.zeros((size, longest), np.int64)
    pieces = np.zeros((size, words, widest), np.int64)
    word_mask = np.zeros((size, words), np.bool_)
    heads = np.zeros((size, words), np.int64)
    labels = np.full((size, words), NO_ARC, np.int64)
    steps = np.arange(widest)
    for row, item in enumerate(items):
        ids, first, last, _ = item.subwords
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
        pieces[row, : item.length] = np.minimum(first[:, None] + steps, last[:, None])
        word_mask[row, : item.length] = True
        heads[row, : item.length] = item.heads
        labels[row, : item.length] = item.labels
    return Batch(input_ids, attention_mask, pieces, word_mask, heads, labels)

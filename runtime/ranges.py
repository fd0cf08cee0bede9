"""Maxima over many ranges of words at once: the rows of a table to take them from.

The table of a sentence of N words has N rows of single words, a row of zeros, and a row for each block of
:data:`BLOCK` words, so that long ranges take few rows. Maxima do not mind a row taken twice, so ranges that take fewer
than others repeat their last.
"""

from __future__ import annotations

import numpy as np

from .subwords import IntArray

#: Words of a block.
BLOCK = 16


def rows(spans: IntArray, gaps: IntArray) -> IntArray:
    """Where the words of ``spans`` ``[M,3]`` and ``gaps`` ``[U,3]`` (sentence, first, last word) lie, ``[M+U,2+G]``.

    In a row: the sentence, the width in words (0 for a gap), and G rows of the sentence's table: a word's number, -1
    for zeros (there is no word in the gap), -2 - b for block b. G is the most that one of them takes.
    """
    ranges = np.concatenate([spans, gaps])
    first, last = ranges[:, 1:2], ranges[:, 2:]
    length = last - first + 1
    longest = max(int(length.max(initial=1)), 1)
    # Blocks save little, and most ranges are short.
    places = np.minimum(first + np.arange(longest), last) if longest <= 2 * BLOCK else _with_blocks(first, length)
    width = length.copy()
    width[len(spans) :] = 0
    taken: IntArray = np.where(length > 0, places, -1)
    return np.concatenate([ranges[:, :1], width, taken], 1)


def most_rows(words: int) -> int:
    """The most columns that :func:`rows` gives for sentences of up to ``words`` words."""
    return 2 + min(words, max(2 * BLOCK, 2 * (BLOCK - 1) + words // BLOCK))


def _with_blocks(first: IntArray, length: IntArray) -> IntArray:
    """Words up to the first whole block, whole blocks, words after the last: ``[R,G]``."""
    stop = first + length
    opening, closing = -(-first // BLOCK), stop // BLOCK
    whole = np.maximum(closing - opening, 0)
    before = np.where(whole > 0, opening * BLOCK - first, length)
    count = before + whole + np.where(whole > 0, stop - closing * BLOCK, 0)
    step = np.minimum(np.arange(int(count.max())), np.maximum(count, 1) - 1)
    in_block = step - before
    after = in_block - whole
    taken: IntArray = np.where(
        in_block < 0, first + step, np.where(after < 0, -2 - opening - in_block, closing * BLOCK + after)
    )
    return taken

"""Compute which table rows to pool for the maxima over many word ranges at once.

The relations subgraph takes maxima over word ranges, such as spans and the gaps between them. For a sentence of N
words it builds a table of N rows of single words, a row of zeros, and a row for each block of ``BLOCK_WORDS`` words, so
that a long range needs few rows. A range that needs fewer rows than the longest repeats its last row, which does not
change the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..engine.contract import BLOCK_WORDS
from ..text.subwords import IntArray


def build_range_rows(spans: IntArray, gaps: IntArray) -> IntArray:
    """Compute the table rows of M spans and U gaps.

    Args:
        spans: Sentence, first and last word of each span, ``[M, 3]``.
        gaps: Sentence, first and last word of each gap, ``[U, 3]``; last < first for a gap without words.

    Returns:
        One row per range, spans first, ``[M+U, 2+G]``: the sentence, the width in words (0 for a gap), and G table
        rows: the index of a word, -1 for the row of zeros (a gap without words), -2 - b for block b. G is the largest
        number of table rows that any of the ranges needs.
    """
    ranges = np.concatenate([spans, gaps])
    first, last = ranges[:, 1:2], ranges[:, 2:]
    length = last - first + 1
    longest = max(int(length.max(initial=1)), 1)
    # Most ranges are short, and for them blocks save little.
    indices = np.minimum(first + np.arange(longest), last) if longest <= 2 * BLOCK_WORDS else _use_blocks(first, length)
    width = length.copy()
    width[len(spans) :] = 0
    table_rows: IntArray = np.where(length > 0, indices, -1)
    return np.concatenate([ranges[:, :1], width, table_rows], 1)


def list_range_rows(spans: Sequence[Sequence[int]], gaps: Sequence[Sequence[int]]) -> IntArray:
    """Compute what ``build_range_rows`` does, in a loop, which is faster for few ranges.

    Args:
        spans: Sentence, first and last word of each span.
        gaps: Sentence, first and last word of each gap.

    Returns:
        The array of ``build_range_rows``.
    """
    lengths = [last - first + 1 for _, first, last in (*spans, *gaps)]
    longest = max([*lengths, 1])
    if longest > 2 * BLOCK_WORDS:
        return build_range_rows(np.array(spans, np.int64).reshape(-1, 3), np.array(gaps, np.int64).reshape(-1, 3))
    rows: list[int] = []
    for index, (sentence, first, last) in enumerate((*spans, *gaps)):
        length = lengths[index]
        rows += (sentence, length if index < len(spans) else 0)
        if length > 0:
            rows += range(first, last + 1)
            rows += [last] * (longest - length)
        else:
            rows += [-1] * longest
    return np.array(rows, np.int64).reshape(-1, 2 + longest)


def max_range_columns(words: int) -> int:
    """Return the maximum number of columns of the result of ``build_range_rows``.

    Args:
        words: Maximum number of words of a sentence.

    Returns:
        The maximum of ``2+G``.
    """
    return 2 + min(words, max(2 * BLOCK_WORDS, 2 * (BLOCK_WORDS - 1) + words // BLOCK_WORDS))


def _use_blocks(first: IntArray, length: IntArray) -> IntArray:
    """Return the words before the first complete block, the complete blocks, and the words after the last, ``[R, G]``.

    ``first`` and ``length`` are ``[R, 1]``.
    """
    stop = first + length
    first_block, stop_block = -(-first // BLOCK_WORDS), stop // BLOCK_WORDS
    blocks = np.maximum(stop_block - first_block, 0)
    words_before = np.where(blocks > 0, first_block * BLOCK_WORDS - first, length)
    count = words_before + blocks + np.where(blocks > 0, stop - stop_block * BLOCK_WORDS, 0)
    step = np.minimum(np.arange(int(count.max())), np.maximum(count, 1) - 1)
    block_step = step - words_before
    after_step = block_step - blocks
    indices: IntArray = np.where(
        block_step < 0,
        first + step,
        np.where(after_step < 0, -2 - first_block - block_step, stop_block * BLOCK_WORDS + after_step),
    )
    return indices

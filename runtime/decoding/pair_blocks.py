"""Group entity pairs into blocks of bounded memory for the relation classifier (paper, sections 3.5 and 3.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, combinations
from typing import NamedTuple

import numpy as np

from ..text.subwords import IntArray
from . import range_pooling as ranges
from .span_decoding import EntitySpan

#: Maximum number of ordered pairs of a block.
MAX_BLOCK_PAIRS = 4096

#: Maximum size in bytes of the largest arrays of a block together.
MAX_BLOCK_BYTES = 32_000_000

#: Maximum number of unordered pairs of a batch whose block is built in a loop. For so few, numpy takes longer.
MAX_LOOPED_PAIRS = 12

#: Floats that a pair needs for each word of its sentence: its trigger weights and the values they are computed from.
#: In addition, it needs one for each relation type and word.
_FLOATS_PER_WORD = 6

#: Pair indices are cached for up to this number of entities.
_MAX_CACHED_COUNT = 32


class PairBlock(NamedTuple):
    """Inputs of the relations subgraph for a block of P = 2U ordered pairs (see ``trimf.export.subgraphs``).

    Attributes:
        first_span: Index in the batch of the block's first span.
        spans: Sentence, first and last word of each span, ``[M, 3]``.
        pairs: Indices in ``spans`` of the head and tail of each pair, ``[2U, 2]``; the second half reverses the first.
        ranges: Table rows of the M spans and the U gaps, ``[M+U, 2+G]`` (``range_pooling.rows``).
        gaps: Index in ``ranges`` of the gap between the spans of each pair, ``[2U]``.
    """

    first_span: int
    spans: IntArray
    pairs: IntArray
    ranges: IntArray
    gaps: IntArray


def top_scoring_entities(entities: Sequence[Sequence[EntitySpan]], limit: int) -> list[Sequence[int]]:
    """Select the entities of each sentence whose pairs are scored.

    Args:
        entities: The entities of each sentence.
        limit: Maximum number of ordered pairs of a sentence.

    Returns:
        Indices of the selected entities of each sentence, ascending. A sentence with more than ``limit`` pairs keeps
        its highest-scoring entities, as many as ``limit`` allows.
    """
    most = (1 + math.isqrt(1 + 4 * limit)) // 2
    return [
        range(len(spans))
        if len(spans) <= most
        else sorted(sorted(range(len(spans)), key=lambda index: -spans[index].score)[:most])
        for spans in entities
    ]


def iterate_pair_blocks(
    counts: Sequence[int], spans: IntArray, words: int, width: int, types: int
) -> Iterator[PairBlock]:
    """Generate the blocks of all ordered pairs of different spans of the same sentence.

    Both directions of a pair are in the same block. A block has at most ``MAX_BLOCK_PAIRS`` pairs and
    ``MAX_BLOCK_BYTES`` bytes, but never less than one pair in both directions.

    Args:
        counts: Number of spans of each sentence.
        spans: Sentence, first and last word of each span, in the order of the sentences, ``[M, 3]``.
        words: Number of words N of the padded batch.
        width: Width H of the node states.
        types: Number of relation types n_r.

    Yields:
        The blocks.
    """
    step = _count_block_pairs(words, width, types)
    if sum(count * (count - 1) for count in counts) // 2 <= min(MAX_LOOPED_PAIRS, step):
        listed: list[tuple[int, int]] = []
        for count, offset in zip(counts, accumulate(counts, initial=0), strict=False):
            listed += combinations(range(offset, offset + count), 2)
        if listed:
            yield _build_listed_block(listed, spans)
        return
    for indices in _iterate_pairs(counts, step):
        yield _build_block(indices, spans)


def iterate_held_pair_blocks(spans: IntArray, words: int, width: int, types: int) -> Iterator[PairBlock]:
    """Generate the blocks of given pairs of spans; otherwise like ``iterate_pair_blocks``.

    Args:
        spans: Sentence, first and last word of the two spans of each of U pairs, which follow one another, ``[2U, 3]``.
        words: Number of words N of the padded batch.
        width: Width H of the node states.
        types: Number of relation types n_r.

    Yields:
        The blocks. The first half of the pairs of each block has the given pairs in their order.
    """
    # A quarter of the ordered pairs of a block: here every unordered pair has two spans of its own, and the number of
    # spans and ranges that a compiled backend takes is limited too.
    step = min(MAX_BLOCK_PAIRS // 4, _count_block_pairs(words, width, types))
    for start in range(0, len(spans), 2 * step):
        indices = np.arange(start, min(start + 2 * step, len(spans))).reshape(-1, 2)
        if len(indices) <= MAX_LOOPED_PAIRS:
            yield _build_listed_block([(one, other) for one, other in indices.tolist()], spans)
        else:
            yield _build_block(indices, spans)


def _count_block_pairs(words: int, width: int, types: int) -> int:
    """Return the maximum number of unordered pairs of a block."""
    widest = ranges.max_range_columns(words)
    pair_floats = words * (_FLOATS_PER_WORD + types)
    return max(1, min(MAX_BLOCK_PAIRS // 2, MAX_BLOCK_BYTES // (4 * (widest * width + 2 * pair_floats))))


def _build_block(indices: IntArray, spans: IntArray) -> PairBlock:
    """Return the block of unordered pairs, ``[U, 2]``."""
    low, high = int(indices[0, 0]), int(indices[:, 1].max()) + 1
    block_spans, count = spans[low:high], len(indices)
    ends = spans[indices]
    gap = np.empty((count, 3), np.int64)
    gap[:, 0] = ends[:, 0, 0]
    gap[:, 1] = ends[:, :, 2].min(1) + 1
    gap[:, 2] = ends[:, :, 1].max(1) - 1
    pairs = np.empty((2, count, 2), np.int64)
    pairs[0], pairs[1] = indices - low, indices[:, ::-1] - low
    gaps = np.arange(2 * count) % count + len(block_spans)
    return PairBlock(low, block_spans, pairs.reshape(-1, 2), ranges.build_range_rows(block_spans, gap), gaps)


def _build_listed_block(pairs: Sequence[tuple[int, int]], spans: IntArray) -> PairBlock:
    """Do what ``_build_block`` does, in a loop, which is faster for few pairs."""
    low, high = pairs[0][0], pairs[-1][1] + 1
    members = spans[low:high].tolist()
    gaps = []
    ends: list[int] = []
    reversed_ends: list[int] = []
    for one, other in pairs:
        (sentence, first, last), (_, other_first, other_last) = members[one - low], members[other - low]
        gaps.append([sentence, min(last, other_last) + 1, max(first, other_first) - 1])
        ends += (one - low, other - low)
        reversed_ends += (other - low, one - low)
    return PairBlock(
        low,
        spans[low:high],
        np.array(ends + reversed_ends, np.int64).reshape(-1, 2),
        ranges.list_range_rows(members, gaps),
        np.array([*range(high - low, high - low + len(pairs))] * 2, np.int64),
    )


def _iterate_pairs(counts: Sequence[int], most: int) -> Iterator[IntArray]:
    """Yield the indices of all unordered pairs of members of the same group, ``[U, 2]`` with U at most ``most``.

    ``counts`` holds the size of each group; the members of all groups are numbered consecutively.
    """
    waiting: list[IntArray] = []
    size = 0
    for count, offset in zip(counts, accumulate(counts, initial=0), strict=False):
        if count < 2:
            continue
        pairs = _enumerate_pairs_cached(count) if count <= _MAX_CACHED_COUNT else _enumerate_pairs(count)
        waiting.append(pairs + offset)
        size += len(waiting[-1])
        while size >= most:
            pending = np.concatenate(waiting)
            yield pending[:most]
            waiting, size = [pending[most:]], size - most
    if size:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)


def _enumerate_pairs(count: int) -> IntArray:
    """Return all index pairs (i, j) with i < j < ``count``."""
    return np.column_stack(np.triu_indices(count, 1))


_enumerate_pairs_cached = lru_cache(maxsize=None)(_enumerate_pairs)

"""Pairs of entities in blocks: what the relation classifier is given, within a bound on memory (paper 3.5, 3.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from . import ranges
from .decode import EntitySpan
from .subwords import IntArray

#: Most ordered pairs of a block, and the bytes that its largest arrays may take together.
MAX_PAIRS = 4096
MAX_BYTES = 32_000_000

#: Numbers that a pair keeps for each word of its sentence: weights, and what they are made of. It keeps one more for
#: each relation type and sentence.
_A_WORD = 6

#: Counts of entities whose pairs are kept from one call to the next.
_FEW = 32


class Block(NamedTuple):
    """What the relations subgraph takes (see ``trimf.export.graphs``): ``spans`` ``[M,3]`` (sentence, first, last),
    ``pairs`` ``[2U,2]``, the ranges of words to take maxima over ``[M+U,2+G]``, and which of them is each pair's gap.

    ``first`` is the number of the block's first span in the batch.
    """

    first: int
    spans: IntArray
    pairs: IntArray
    ranges: IntArray
    gaps: IntArray


def surest(entities: Sequence[Sequence[EntitySpan]], limit: int) -> list[Sequence[int]]:
    """The numbers of the entities whose pairs are to be scored, for each sentence.

    A sentence with more than ``limit`` ordered pairs keeps as many of its surest entities as have no more.
    """
    most = (1 + math.isqrt(1 + 4 * limit)) // 2
    return [
        range(len(found))
        if len(found) <= most
        else sorted(sorted(range(len(found)), key=lambda number: -found[number].score)[:most])
        for found in entities
    ]


def blocks(counts: Sequence[int], spans: IntArray, words: int, width: int, types: int) -> Iterator[Block]:
    """Every ordered pair of different spans of a sentence, both directions of a pair in the same block.

    ``counts`` says how many of ``spans`` ``[M,3]``, in order, each sentence has. ``words`` N, ``width`` H and ``types``
    n_r are the sizes of the batch's nodes and of the classifier.
    """
    widest = ranges.most_rows(words)
    a_pair = words * _A_WORD + len(counts) * types
    step = max(1, min(MAX_PAIRS // 2, MAX_BYTES // (4 * (widest * width + 2 * a_pair))))
    for chosen in _chosen(counts, step):
        low, high = int(chosen[0, 0]), int(chosen[:, 1].max()) + 1
        own, count = spans[low:high], len(chosen)
        edges = spans[chosen]
        gap = np.empty((count, 3), np.int64)
        gap[:, 0] = edges[:, 0, 0]
        gap[:, 1] = edges[:, :, 2].min(1) + 1
        gap[:, 2] = edges[:, :, 1].max(1) - 1
        pairs = np.empty((2, count, 2), np.int64)
        pairs[0], pairs[1] = chosen - low, chosen[:, ::-1] - low
        gaps = np.arange(2 * count) % count + len(own)
        yield Block(low, own, pairs.reshape(-1, 2), ranges.rows(own, gap), gaps)


def _chosen(counts: Sequence[int], most: int) -> Iterator[IntArray]:
    """``[U,2]``: every unordered pair of things of the same group, in blocks of at most ``most``."""
    waiting: list[IntArray] = []
    size = 0
    for count, offset in zip(counts, accumulate(counts, initial=0), strict=False):
        if count < 2:
            continue
        waiting.append((_few(count) if count <= _FEW else _all(count)) + offset)
        size += len(waiting[-1])
        while size >= most:
            whole = np.concatenate(waiting)
            yield whole[:most]
            waiting, size = [whole[most:]], size - most
    if size:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)


def _all(count: int) -> IntArray:
    return np.column_stack(np.triu_indices(count, 1))


_few = lru_cache(maxsize=None)(_all)

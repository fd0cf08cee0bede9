"""Blocks of pairs against all pairs by two loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.decoding import pair_blocks as module
from trimf.runtime.decoding.pair_blocks import iterate_pair_blocks, top_scoring_entities
from trimf.runtime.decoding.range_pooling import build_range_rows
from trimf.runtime.decoding.span_decoding import EntitySpan
from trimf.runtime.engine.contract import BLOCK_WORDS


def some_spans(counts: list[int], seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    spans = []
    for row, count in enumerate(counts):
        first = random.integers(0, 50, count)
        own = sorted(zip([row] * count, first, first + random.integers(0, 4, count), strict=True))
        spans += own
    return np.array(spans, np.int64).reshape(-1, 3)


def all_pairs(counts: list[int]) -> set[tuple[int, int]]:
    found = set()
    for row in range(len(counts)):
        own = range(sum(counts[:row]), sum(counts[: row + 1]))
        found |= {(head, tail) for head in own for tail in own if head != tail}
    return found


def covered(row: np.ndarray) -> set[int]:
    """The words that a row of ranges takes its maximum over; none for the row of zeros."""
    words = {place for place in row[2:].tolist() if place >= 0}
    blocks = {-2 - place for place in row[2:].tolist() if place < -1}
    assert not (words or blocks) or -1 not in row[2:]
    return words | {word for block in blocks for word in range(block * BLOCK_WORDS, (block + 1) * BLOCK_WORDS)}


def check(counts: list[int], spans: np.ndarray, most: int) -> None:
    found: list[tuple[int, int]] = []
    for block in iterate_pair_blocks(counts, spans, 60, 8, 5):
        assert 0 < len(block.pairs) <= max(most, 2)
        assert block.spans.tolist() == spans[block.first_span : block.first_span + len(block.spans)].tolist()
        found += [(block.first_span + head, block.first_span + tail) for head, tail in block.pairs.tolist()]
        gaps = []
        for (head, tail), gap in zip(block.pairs, block.gaps, strict=True):
            one, other = block.spans[head], block.spans[tail]
            between = np.array([(one[0], min(one[2], other[2]) + 1, max(one[1], other[1]) - 1)])
            expected = build_range_rows(block.spans[:0], between)[0]
            assert covered(block.ranges[gap]) == covered(expected)
            assert block.ranges[gap, :2].tolist() == expected[:2].tolist()
            gaps.append(gap)
        assert set(gaps) == set(range(len(block.spans), len(block.ranges)))
        for place, (row, first, last) in enumerate(block.spans):
            assert block.ranges[place, :2].tolist() == [row, last - first + 1]
            assert covered(block.ranges[place]) == set(range(first, last + 1))
    assert len(found) == len(set(found))
    assert set(found) == all_pairs(counts)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6) | st.integers(0, 34), max_size=3), st.integers(0, 9), st.integers(1, 400))
def test_every_pair_once_with_its_gap(counts: list[int], seed: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_BLOCK_PAIRS", most)
        check(counts, some_spans(counts, seed), most)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=4), st.integers(0, 9))
def test_few_pairs_give_the_block_of_many(counts: list[int], seed: int) -> None:
    spans = some_spans(counts, seed)
    blocks = []
    for most in (0, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MAX_LOOPED_PAIRS", most)
            blocks.append(list(iterate_pair_blocks(counts, spans, 60, 8, 5)))
    assert len(blocks[0]) == len(blocks[1]) == any(count > 1 for count in counts)
    for one, other in zip(*blocks, strict=True):
        for array, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, same, strict=True)


@pytest.mark.parametrize(("words", "width", "types"), [(400, 384, 5), (400, 1024, 100), (8192, 4096, 500)])
def test_blocks_keep_to_the_bytes(words: int, width: int, types: int) -> None:
    counts = [300]
    spans = np.column_stack([np.zeros(300, np.int64), np.arange(300), np.arange(300)])
    for block in iterate_pair_blocks(counts, spans, words, width, types):
        size = len(block.pairs)
        gathered = (len(block.ranges) - len(block.spans)) * (block.ranges.shape[1] - 2) * width
        assert 4 * (gathered + size * words * (6 + types)) <= module.MAX_BLOCK_BYTES or size == 2
        if size < 200:  # further blocks are no different
            break


def test_300_entities_have_89700_pairs() -> None:
    spans = np.column_stack([np.zeros(300, np.int64), np.arange(300), np.arange(300)])
    found = list(iterate_pair_blocks([300], spans, 400, 384, 5))
    assert sum(len(block.pairs) for block in found) == 89_700
    assert max(len(block.pairs) for block in found) <= module.MAX_BLOCK_PAIRS


@given(st.lists(st.lists(st.floats(0, 1), max_size=9), max_size=3), st.integers(0, 60))
def test_the_surest_are_kept(scores: list[list[float]], limit: int) -> None:
    entities = [[EntitySpan(i, i + 1, 0, score) for i, score in enumerate(row)] for row in scores]
    for row, numbers in zip(entities, top_scoring_entities(entities, limit), strict=True):
        kept = list(numbers)
        assert kept == sorted(kept)
        out = [span.score for number, span in enumerate(row) if number not in kept]
        assert len(kept) * (len(kept) - 1) <= limit
        if out:
            assert (len(kept) + 1) * len(kept) > limit
            assert max(out) <= min((row[number].score for number in kept), default=1)

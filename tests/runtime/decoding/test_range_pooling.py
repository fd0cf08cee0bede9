"""Rows of a table of words and blocks against the maximum over each range, word by word."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.decoding.range_pooling import build_range_rows, list_range_rows, max_range_columns
from trimf.runtime.engine.contract import BLOCK_WORDS


def table(states: np.ndarray) -> np.ndarray:
    """``[B,N]`` with zeros and the maxima of blocks after it, as the relations subgraph makes it."""
    size, words = states.shape
    filled = np.full((size, -(-words // BLOCK_WORDS) * BLOCK_WORDS), -np.inf)
    filled[:, :words] = states
    return np.concatenate([states, np.zeros((size, 1)), filled.reshape(size, -1, BLOCK_WORDS).max(2)], 1)


def maxima(states: np.ndarray, ranges: np.ndarray) -> list[float]:
    places = np.where(ranges[:, 2:] < 0, states.shape[1] - 1 - ranges[:, 2:], ranges[:, 2:])
    return table(states)[ranges[:, :1], places].max(1).tolist()


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    words = draw(st.integers(1, 40) | st.integers(1, 400))
    states = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((draw(st.integers(1, 3)), words)) - 3
    place = st.integers(0, words - 1)
    row = st.integers(0, len(states) - 1)
    spans = draw(st.lists(st.tuples(row, place, place).map(lambda x: (x[0], min(x[1:]), max(x[1:]))), max_size=6))
    gaps = draw(st.lists(st.tuples(row, st.integers(0, words), st.integers(-1, words - 1)), max_size=6))
    return states, np.array(spans, np.int64).reshape(-1, 3), np.array(gaps, np.int64).reshape(-1, 3)


@given(cases())
def test_maxima_over_any_ranges(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    states, spans, gaps = case
    found = build_range_rows(spans, gaps)
    expected = [states[row, first : last + 1].max() if last >= first else 0.0 for row, first, last in (*spans, *gaps)]
    assert maxima(states, found) == expected
    assert found.dtype == np.int64
    assert found[:, 0].tolist() == [row for row, _, _ in (*spans, *gaps)]
    assert found[:, 1].tolist() == [last - first + 1 for _, first, last in spans] + [0] * len(gaps)
    assert found.shape[1] <= max_range_columns(states.shape[1])


@given(st.integers(1, 9000))
def test_long_ranges_take_few_rows(words: int) -> None:
    none = np.zeros((0, 3), np.int64)
    worst = max(
        build_range_rows(np.array([(0, first, words - 1 - cut)]), none).shape[1]
        for first in (0, 1, 15)
        for cut in (0, 1, 15)
        if first <= words - 1 - cut
    )
    assert worst <= max_range_columns(words) <= max(34, 33 + words // BLOCK_WORDS)


@given(cases())
def test_a_loop_gives_the_same_rows(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, spans, gaps = case
    rows, expected = list_range_rows(spans.tolist(), gaps.tolist()), build_range_rows(spans, gaps)
    assert rows.dtype == expected.dtype
    assert rows.tolist() == expected.tolist()

"""Pooling against maxima taken one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf_train.model.pooling import RangeMaximum, pool_words, span_grid

SEEDS = st.integers(0, 10_000)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, counts=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5), min_size=1, max_size=3))
def test_words_are_maxima_of_their_subwords(equations: Any, seed: int, counts: list[list[int]]) -> None:
    torch.manual_seed(seed)
    tokens = max(sum(row) for row in counts) + 2
    words, widest = max(map(len, counts)), max(map(max, counts))
    states = torch.randn(len(counts), tokens, 3) - 5
    pieces = torch.zeros(len(counts), words, widest, dtype=torch.long)
    expected = {}
    for row, lengths in enumerate(counts):
        begin = 1
        for word, count in enumerate(lengths):
            for step in range(widest):
                pieces[row, word, step] = begin + min(step, count - 1)
            expected[row, word] = equations.highest(list(states[row, begin : begin + count]), 3)
            begin += count
    pooled = pool_words(states, pieces)
    assert pooled.shape == (len(counts), words, 3)
    for (row, word), vector in expected.items():
        assert torch.equal(pooled[row, word].double(), vector)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 3), words=st.integers(1, 9), max_width=st.integers(1, 12))
def test_the_span_grid(equations: Any, seed: int, size: int, words: int, max_width: int) -> None:
    torch.manual_seed(seed)
    states = torch.randn(size, words, 2) - 3
    grid = span_grid(states, max_width)
    assert grid.shape == (size, words, max_width, 2)
    for row in range(size):
        for first in range(words):
            for width in range(max_width):
                span = list(states[row, first : first + width + 1])
                assert torch.equal(grid[row, first, width].double(), equations.highest(span, 2))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 3), words=st.integers(1, 20), longest=st.none() | st.integers(1, 20))
def test_any_range(equations: Any, seed: int, size: int, words: int, longest: int | None) -> None:
    torch.manual_seed(seed)
    states = torch.randn(size, words, 2) - 3
    limit = words if longest is None else longest
    asked = [
        (row, first, last)
        for row in range(size)
        for first in range(words + 1)
        for last in range(-1, min(words, first + limit))
    ]
    answers = RangeMaximum(states, longest)(*torch.tensor(asked).unbind(-1))
    for (row, first, last), answer in zip(asked, answers, strict=True):
        assert torch.equal(answer.double(), equations.highest(list(states[row, first : last + 1]), 2))


@pytest.mark.parametrize("words", [1, 7])
def test_no_range_at_all(words: int) -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    assert RangeMaximum(torch.randn(2, words, 4))(nothing, nothing, nothing).shape == (0, 4)


def test_the_grid_and_the_table_agree_and_pass_the_same_gradient() -> None:
    torch.manual_seed(0)
    states = torch.randn(2, 6, 3, requires_grad=True)
    spans = [
        (row, first, first + width) for row in range(2) for first in range(6) for width in range(min(4, 6 - first))
    ]
    row, first, last = torch.tensor(spans).unbind(-1)
    by_table = RangeMaximum(states, 4)(row, first, last)
    by_grid = span_grid(states, 4)[row, first, last - first]
    assert torch.equal(by_table, by_grid)
    chosen = torch.randn_like(by_table)
    grads = [
        torch.autograd.grad((vectors * chosen).sum(), states, retain_graph=True)[0] for vectors in (by_table, by_grid)
    ]
    assert grads[0].isfinite().all()
    torch.testing.assert_close(grads[0].sum(), chosen.sum(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(grads[1].sum(), chosen.sum(), atol=1e-4, rtol=1e-4)

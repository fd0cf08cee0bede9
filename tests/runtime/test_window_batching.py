"""Batches of windows: bounded, sorted, and split where padding would cost more than a call."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime import window_batching
from trimf.runtime.window_batching import batch_indices


@given(
    st.lists(st.integers(1, 300), max_size=60),
    st.integers(1, 40),
    st.sampled_from([1, 64, 500, 4096]),
)
def test_batches(lengths: list[int], batch_size: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_batching, "MAX_BATCH_SUBWORDS", most)
        groups = list(batch_indices(lengths, batch_size))
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        assert 1 <= len(group) <= batch_size
        assert len(group) * max(lengths[place] for place in group) <= most or len(group) == 1
    assert [lengths[place] for group in groups for place in group] == sorted(lengths)


@given(st.lists(st.integers(1, 99), max_size=30), st.integers(1, 9), st.integers(0, 60))
def test_a_row_that_would_pad_the_others_too_far_begins_a_batch(lengths: list[int], size: int, call: int) -> None:
    groups = list(batch_indices(lengths, size, call))
    assert [place for group in groups for place in group] == sorted(range(len(lengths)), key=lengths.__getitem__)
    for group in groups:
        for count, (one, other) in enumerate(itertools.pairwise(group), 1):
            assert (lengths[other] - lengths[one]) * count <= call
    for group, following in itertools.pairwise(groups):
        grown = (lengths[following[0]] - lengths[group[-1]]) * len(group)
        assert len(group) == size or grown > call

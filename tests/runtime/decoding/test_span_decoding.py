"""From logits to entities, pairs and relations, against loops."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trimf.runtime.decoding.span_decoding import (
    EntitySpan,
    FloatArray,
    RelationSpan,
    decode_entities,
    greedy_non_overlapping,
    logit,
    merge_symmetric_relations,
    sigmoid,
)

FINITE = st.floats(-1e4, 1e4, width=32)
SMALL = st.integers(-3, 3).map(float)


@st.composite
def grids(draw: st.DrawFn) -> tuple[FloatArray, list[int]]:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(2, 4)))
    logits = draw(arrays.arrays(np.float32, shape, elements=FINITE | SMALL))
    return logits, draw(st.lists(st.integers(0, shape[1]), min_size=shape[0], max_size=shape[0]))


def slow_spans(logits: FloatArray, lengths: list[int]) -> list[list[EntitySpan]]:
    found: list[list[EntitySpan]] = []
    for row, length in enumerate(lengths):
        found.append([])
        for start in range(length):
            for end in range(start + 1, min(start + logits.shape[2], length) + 1):
                scores = [float(score) for score in logits[row, start, end - start - 1]]
                label = scores.index(max(scores))
                if label:
                    total = sum(math.exp(score - scores[label]) for score in scores)
                    found[-1].append(EntitySpan(start, end, label - 1, 1 / total))
    return found


def check_close(actual: list[EntitySpan], expected: list[EntitySpan]) -> None:
    assert [span[:3] for span in actual] == [span[:3] for span in expected]
    assert [span.score for span in actual] == pytest.approx([span.score for span in expected])


@given(grids())
def test_spans(grid: tuple[FloatArray, list[int]]) -> None:
    for actual, expected in zip(decode_entities(*grid, overlap=True), slow_spans(*grid), strict=True):
        check_close(actual, expected)
        assert all(0 < span.score <= 1 for span in actual)


@given(grids(), st.sampled_from([1e30, -1e30, math.inf, -math.inf, math.nan]))
def test_logits_past_the_end_do_not_matter(grid: tuple[FloatArray, list[int]], noise: float) -> None:
    logits, lengths = grid
    noisy = logits.copy()
    for row, length in enumerate(lengths):
        for start in range(logits.shape[1]):
            for width in range(logits.shape[2]):
                if start + width >= length:
                    noisy[row, start, width, 1:] = noise
    for overlap in (True, False):
        assert decode_entities(noisy, lengths, overlap) == decode_entities(logits, lengths, overlap)


@given(grids(), st.sampled_from([np.float16, np.float64]))
def test_other_precisions(grid: tuple[FloatArray, list[int]], kind: type[np.floating]) -> None:
    logits = grid[0].astype(kind)
    for actual, expected in zip(decode_entities(logits, grid[1], True), slow_spans(logits, grid[1]), strict=True):
        check_close(actual, expected)


@pytest.mark.parametrize("level", [-1e30, -1e4, -800, 800, 1e4, 1e30])
def test_extreme_logits_give_a_probability_without_a_warning(level: float) -> None:
    logits = np.full((1, 1, 1, 3), level)
    logits[0, 0, 0, 1] = level / 2 if level < 0 else level * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_entities(logits, [1], True) == [[EntitySpan(0, 1, 0, 1.0)]]


@pytest.mark.parametrize("shape", [(0, 3, 2, 4), (2, 0, 2, 4), (2, 3, 0, 4), (2, 3, 2, 1)])
@pytest.mark.parametrize("overlap", [True, False])
def test_nothing_to_find(shape: tuple[int, ...], overlap: bool) -> None:
    assert decode_entities(np.zeros(shape, np.float32), [shape[1]] * shape[0], overlap) == [[]] * shape[0]


def test_none_wins_a_tie() -> None:
    assert decode_entities(np.ones((1, 2, 2, 3)), [2], True) == [[]]


SPANS = st.lists(
    st.builds(
        lambda start, width, label, score: EntitySpan(start, start + width, label, score),
        st.integers(0, 10),
        st.integers(1, 4),
        st.integers(0, 2),
        st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    ),
    max_size=10,
    unique_by=lambda span: span[:3],
)


def slow_choice(spans: list[EntitySpan]) -> list[EntitySpan]:
    """Pick the best, strike out what shares a word with it, and so on."""
    left, kept = list(spans), []
    while left:
        best = max(left, key=lambda span: (span.score, -span.start, -span.end))
        kept.append(best)
        left = [span for span in left if span.end <= best.start or best.end <= span.start]
    return sorted(kept)


@given(SPANS.filter(lambda spans: len({span[:2] for span in spans}) == len(spans)))
def test_without_overlap_the_surest_wins(spans: list[EntitySpan]) -> None:
    assert greedy_non_overlapping(spans) == slow_choice(spans)


@given(grids())
def test_spans_without_overlap(grid: tuple[FloatArray, list[int]]) -> None:
    expected = [slow_choice(spans) for spans in decode_entities(*grid, overlap=True)]
    assert decode_entities(*grid, overlap=False) == expected


@given(st.lists(st.floats(-1e30, 1e30) | st.floats(-40, 40)))
def test_sigmoid(logits: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = sigmoid(np.array(logits))
    expected = [1 / (1 + math.exp(-x)) if x > -700 else 0 for x in logits]
    assert actual == pytest.approx(expected)
    assert ((actual >= 0) & (actual <= 1)).all()


def test_sigmoid_of_half_precision_and_infinity() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = np.array([-np.inf, -65504, -1, 0, 1, 65504, np.inf], np.float16)
        assert sigmoid(logits) == pytest.approx([0, 0, 0.2689414, 0.5, 0.7310586, 1, 1])


RELATIONS = st.lists(
    st.builds(
        lambda head, tail, label, score: RelationSpan(head, tail, label, score, np.array([score])),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from([0.25, 0.5, 0.75]),
    ).filter(lambda relation: relation.head != relation.tail),
    max_size=12,
    unique_by=lambda relation: relation[:3],
)


@given(RELATIONS, st.frozensets(st.integers(0, 2)))
def test_folding(relations: list[RelationSpan], symmetric: frozenset[int]) -> None:
    folded = merge_symmetric_relations(relations, symmetric)
    best: dict[tuple[int, int, int], float] = {}
    for head, tail, label, score, *_ in relations:
        ends = sorted((head, tail)) if label in symmetric else (head, tail)
        key = (ends[0], ends[1], label)
        best[key] = max(score, best.get(key, 0))
    assert [(relation[:3], relation.score) for relation in folded] == sorted(best.items())
    assert all(relation.trigger_weights.tolist() == [relation.score] for relation in folded)


def test_of_two_equal_directions_the_first_given_counts() -> None:
    first, second = (RelationSpan(1, 0, 0, 0.5, np.array([mark])) for mark in (1.0, 2.0))
    (folded,) = merge_symmetric_relations([first, second._replace(head=0, tail=1)], frozenset({0}))
    assert folded == first._replace(head=0, tail=1)


def test_logit() -> None:
    for probability in (0.001, 0.25, 0.5, 0.6, 0.999):
        assert sigmoid(np.array([logit(probability)])) == pytest.approx([probability])
    assert (logit(0), logit(0.5), logit(1)) == (-math.inf, 0, math.inf)

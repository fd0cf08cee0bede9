"""Figures of agreement against slow counts, on data made at random and in the cases that decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf_train.experiments.triggers.agreement import (
    area_under_curve,
    correlate,
    correlate_ranks,
    guess_first_word,
    mean_over,
    names_first_word,
    rank_words,
    ratio_of_means,
    shows_none,
)
from trimf_train.experiments.triggers.effects import RelationEffects

Make = Callable[..., RelationEffects]

SCORES = st.lists(st.tuples(st.integers(-2, 2), st.booleans(), st.integers(0, 3)), max_size=8)


def area_slowly(scores: list[float], positive: list[bool]) -> float:
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for (high, is_high), (low, is_low) in product(zip(scores, positive, strict=True), repeat=2)
        if is_high and not is_low
    ]
    return sum(pairs) / len(pairs) if pairs else float("nan")


@given(SCORES)
def test_figures_with_weights_are_those_of_repeated_relations(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, counts = ([row[part] for row in rows] for part in range(3))
    repeated = [(score, flag) for score, flag, count in rows for _ in range(count)]
    weights = np.array([counts, np.ones(len(rows))], np.float64).reshape(2, len(rows))

    area = area_under_curve(scores, positive)(weights)
    expected = [area_slowly([s for s, _ in repeated], [p for _, p in repeated]), area_slowly(scores, positive)]
    assert area == pytest.approx(expected, nan_ok=True)

    chosen = [score for score, flag in repeated if flag]
    mean = mean_over(scores, positive)(weights)[0]
    assert mean == pytest.approx(np.mean(chosen) if chosen else float("nan"), nan_ok=True)

    below = sum(flag for _, flag in repeated)
    ratio = ratio_of_means(scores, positive)(weights)[0]
    assert ratio == pytest.approx(sum(s for s, _ in repeated) / below if below else float("nan"), nan_ok=True)


def test_the_first_word_is_right_where_its_effect_is_the_largest(make_relation: Make) -> None:
    effects = [0.1, 0.9, 0.3]
    cases = [
        ([0, 1, 0], True),
        ([0, 1, 2], False),
        ([1, 1, 0], False),  # of equal weights the first word is shown first
        ([0, 1, 1], True),
        ([0, 0, 0], False),  # none is shown
        ([-3, -1, -2], False),
    ]
    for weights, right in cases:
        relation = make_relation(effects, weights)
        assert names_first_word(relation, relation.weights["m"]) is right
        assert shows_none(relation.weights["m"]) is (max(weights) <= 0)


def test_words_with_equal_effects_are_all_right(make_relation: Make) -> None:
    relation = make_relation([0.5, 0.1, 0.5 + 1e-9], [])
    assert [names_first_word(relation, np.eye(3)[place]) for place in range(3)] == [True, False, True]
    assert guess_first_word(relation) == pytest.approx(2 / 3)
    equal = make_relation([0.5] * 4, [])
    assert guess_first_word(equal) == 1
    assert all(names_first_word(equal, np.eye(4)[place]) for place in range(4))


def test_equal_weights_keep_the_order_of_the_sentence() -> None:
    assert rank_words(np.array([1.0, 2.0, 1.0, 2.0])) == [1, 3, 0, 2]
    assert rank_words(np.empty(0)) == []


def test_a_word_must_matter_by_more_than_the_threshold(make_relation: Make) -> None:
    assert not make_relation([0.2], [1]).has_trigger
    assert make_relation([0.21], [1]).has_trigger
    assert not make_relation([-5.0], [1]).has_trigger
    assert not make_relation([], []).has_trigger


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=9))
def test_correlations_are_those_of_scipy(rows: list[tuple[int, int]]) -> None:
    from scipy import stats

    one, other = (np.array([row[part] for row in rows], np.float64) for part in range(2))
    for ours, theirs in ((correlate, stats.pearsonr), (correlate_ranks, stats.spearmanr)):
        if len(rows) < 2 or len(set(one)) == 1 or len(set(other)) == 1:
            assert isnan(ours(one, other))
        else:
            assert ours(one, other) == pytest.approx(theirs(one, other).statistic, abs=1e-9)

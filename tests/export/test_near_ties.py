"""Near ties: what rounding decides is told from what a damaged graph does."""

from __future__ import annotations

import math

import pytest

from trimf.export.near_ties import (
    MAX_TIE_MARGINS,
    TieLimits,
    choose_score_floor,
    compute_margins,
    limit_margin,
    measure_tie_limits,
    settle_ties,
)
from trimf.export.near_ties import Margins as Found
from trimf.runtime.bundle.labels import Labels
from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.pipeline import SentenceResult
from trimf_train.evaluation.annotation import Annotation

A, A_LOC, B, WIDE = (0, 1, "Peop"), (0, 1, "Loc"), (3, 5, "Loc"), (0, 3, "Org")
RELATION = (A, B, "Live_In")
LIMITS = TieLimits(entities=0.5, relations=0.2)


def settle(expected, actual, margins, words=(), *, overlap=False):
    return settle_ties(Annotation(*expected), Annotation(*actual), margins, LIMITS, frozenset(words), overlap=overlap)


@pytest.mark.parametrize(("margin", "tie"), [(0.49, True), (-0.49, True), (0.51, False), (-0.51, False), (None, False)])
def test_an_entity_below_the_margin_is_a_near_tie(margin, tie):
    margins = Found({} if margin is None else {A: margin}, {})
    for expected, actual in (([A, B], [B]), ([B], [A, B])):
        found = settle((expected, []), (actual, []), margins)
        assert found.entities == ({A} if tie else set())
        assert found.annotation.entities == set(expected if tie else actual)


@pytest.mark.parametrize(("margin", "tie"), [(0.19, True), (-0.19, True), (0.21, False), (None, False)])
def test_a_relation_below_the_margin_is_a_near_tie(margin, tie):
    margins = Found({}, {} if margin is None else {RELATION: margin})
    found = settle(([A, B], [RELATION]), ([A, B], []), margins)
    assert found.relations == ({RELATION} if tie else set())
    assert found.annotation.relations == ({RELATION} if tie else set())


def test_relations_of_a_near_tie_follow_it_and_others_do_not():
    clear = Found({A: 0.1, B: 3.0}, {RELATION: 4.0})
    found = settle(([A, B], [RELATION]), ([B], []), clear)
    assert (found.entities, found.relations) == ({A}, {RELATION})
    found = settle(([A, B], [RELATION]), ([B], []), Found({A: 2.0, B: 3.0}, {RELATION: 4.0}))
    assert (found.entities, found.relations) == (set(), set())


def test_of_two_types_and_of_two_spans_the_better_may_change():
    swap = Found({A: 0.3, A_LOC: -0.3}, {})
    assert settle(([A], []), ([A_LOC], []), swap).entities == {A, A_LOC}
    competing = Found({A: 4.0, WIDE: 3.8}, {})
    assert settle(([A], []), ([WIDE], []), competing).entities == {A, WIDE}
    assert settle(([A], []), ([WIDE], []), competing, overlap=True).entities == set()
    assert settle(([A], []), ([WIDE], []), Found({A: 4.0, WIDE: 3.0}, {})).entities == set()
    # Without the near tie, the entity that it kept out is there.
    assert settle(([WIDE], []), ([A], []), Found({WIDE: 0.1, A: 3.0}, {})).entities == {A, WIDE}


def test_what_stands_on_a_differing_arc_is_a_near_tie():
    clear = Found({A: 4.0, B: 4.0}, {RELATION: 4.0})
    assert settle(([A, B], [RELATION]), ([A], []), clear, {4}).entities == {B}
    assert settle(([A, B], [RELATION]), ([A, B], []), clear, {4}).relations == {RELATION}
    assert settle(([A, B], [RELATION]), ([A, B], []), clear, {2}).relations == set()


def result(entities, candidates=(), relations=(), related=()):
    return SentenceResult(DecodedSentence(entities, list(relations), candidates, related), (), 1)


def test_margins_are_those_of_the_scores():
    labels = Labels(entity_types=["Peop", "Loc"], relation_types=["Live_In"], dependency_labels=[])
    ends = [EntitySpan(0, 1, 0, 0.5), EntitySpan(3, 5, 1, 0.9)]
    candidates = [ends[0], EntitySpan(0, 1, 1, 0.4), ends[1], EntitySpan(6, 7, 0, 0.1)]
    related = [RelationSpan(0, 1, 0, 0.3, None), RelationSpan(1, 0, 0, 0.8, None)]
    found = compute_margins(result(ends, candidates, related[1:], related), labels, (0.4,))
    assert found.entities == pytest.approx(
        {
            A: math.log(0.5 / 0.4),
            A_LOC: math.log(0.4 / 0.5),
            B: math.log(0.9 / 0.1),
            (6, 7, "Peop"): math.log(0.1 / 0.9),
        }
    )
    odds = {score: math.log(score / (1 - score)) for score in (0.3, 0.4, 0.8)}
    assert found.relations == pytest.approx(
        {(A, B, "Live_In"): odds[0.3] - odds[0.4], (B, A, "Live_In"): odds[0.8] - odds[0.4]}
    )


@pytest.mark.parametrize("precision", MAX_TIE_MARGINS)
def test_the_margin_is_that_of_the_errors_up_to_a_maximum(precision):
    most = MAX_TIE_MARGINS[precision]
    assert limit_margin([], precision) == most
    assert limit_margin([0.1 * most] * 100, precision) == pytest.approx(0.1 * most)
    assert limit_margin([0.1 * most] * 90 + [5 * most] * 10, precision) == most
    assert limit_margin([math.inf, math.nan], precision) == most
    # A damaged graph does not excuse its own errors.
    assert limit_margin([0.6 * most] * 100, precision) == 0.0


def test_errors_are_those_of_decisions_that_both_have():
    first, second = Found({A: 1.0, B: 2.0}, {RELATION: 1.0}), Found({A: 1.1}, {RELATION: 0.9})
    assert measure_tie_limits([first], [second], "int8") == pytest.approx((0.1, 0.1))
    assert measure_tie_limits([first], [Found({}, {})], "fp16") == (0.05, 0.05)


def test_the_floor_is_far_below_every_threshold():
    assert choose_score_floor((0.4, 0.5)) == 0.05
    assert choose_score_floor((0.4, 0.04)) == pytest.approx(0.01)
    assert choose_score_floor((0.0,)) == 0.05

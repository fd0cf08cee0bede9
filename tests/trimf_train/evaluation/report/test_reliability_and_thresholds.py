"""Reliability of scores, and scores by threshold, against slow counts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf_train.evaluation.calibration import CALIBRATION_BINS, measure_calibration
from trimf_train.evaluation.report.model_run import ModelRun
from trimf_train.evaluation.report.reliability import JudgedScore, measure_reliability
from trimf_train.evaluation.report.threshold_curve import (
    ENTITY_THRESHOLDS,
    RELATION_THRESHOLDS,
    ScoredItems,
    build_threshold_curve,
)
from trimf_train.evaluation.scores import to_percent

from .runs import runs


@given(st.lists(st.builds(JudgedScore, st.floats(0, 1), st.booleans(), st.booleans())))
def test_bins_hold_every_score(judged: list[JudgedScore]) -> None:
    measured = measure_reliability(judged)
    assert len(measured.bins) == CALIBRATION_BINS
    assert sum(part.count for part in measured.bins) == len(judged) == measured.candidates
    assert sum(round((part.right or 0) * part.count) for part in measured.bins) == sum(one.right for one in judged)
    error = sum(part.count * abs((part.mean_score or 0) - (part.right or 0)) for part in measured.bins)
    assert measured.candidates_error == pytest.approx(error / max(len(judged), 1))
    found = [one for one in judged if one.predicted]
    alone = measure_calibration([one.score for one in found], [one.right for one in found])
    assert (measured.predictions, measured.predictions_error) == (alone["found"], alone["error"])
    for part in measured.bins:
        assert (part.mean_score is None) == (part.count == 0)
        assert part.mean_score is None or part.low - 1e-9 <= part.mean_score <= part.high + 1e-9


@settings(deadline=None, max_examples=50)
@given(runs())
def test_points_are_those_of_counting_what_exceeds_the_threshold(run: ModelRun) -> None:
    items = [
        ScoredItems(text.gold_relations, text.predicted.relations, text.predicted.relation_candidates)
        for text in run.texts
    ]
    curve = build_threshold_curve(items, range(len(items)), run.relation_thresholds, RELATION_THRESHOLDS, 0)
    assert [point.threshold for point in curve.points] == list(RELATION_THRESHOLDS)
    gold = sum(len(text.gold) for text in items)
    for point in curve.points:
        kept = [(key, text) for text in items for key, score in text.scores.items() if score > point.threshold]
        correct = sum(key in text.gold for key, text in kept)
        assert point.precision == (pytest.approx(100 * correct / len(kept)) if kept else None)
        assert point.recall == pytest.approx(to_percent(correct, gold))
        assert point.f1 == pytest.approx(to_percent(2 * correct, gold + len(kept)))
    assert (curve.best is None) == (gold == 0)
    if curve.best:
        assert curve.best.f1 == max(point.f1 for point in curve.points)
    assert {row.label for row in curve.per_type} == {key[2] for text in items for key in text.gold}
    for row in curve.per_type:
        scored = [(key, score, text) for text in items for key, score in text.scores.items()]
        kept = [key in text.gold for key, score, text in scored if score > row.threshold and key[2] == row.label]
        assert row.f1 == pytest.approx(to_percent(2 * sum(kept), row.support + len(kept)))


def uninformative(share_right: float) -> list[ScoredItems]:
    """Sixty texts whose scores say nothing."""
    generator = random.Random(1)
    items = []
    for _ in range(60):
        scores = {(start, start + 1, "A"): generator.random() for start in range(4)}
        items.append(ScoredItems([key for key in scores if generator.random() < share_right], scores, scores))
    return items


def test_a_threshold_that_was_chosen_by_chance_is_not_expected_to_hold() -> None:
    curve = build_threshold_curve(uninformative(0.1), range(60), {"A": 0.0}, ENTITY_THRESHOLDS, 0)
    assert curve.best is not None
    assert curve.held_out_f1 is not None
    assert curve.best.threshold > 0
    assert curve.held_out_f1 < curve.best.f1 - 1


def test_where_no_threshold_is_best_nothing_changes() -> None:
    items = uninformative(0.5)
    curve = build_threshold_curve(items, range(60), {"A": 0.0}, ENTITY_THRESHOLDS, 0)
    assert curve.best is not None
    assert curve.best.threshold == 0
    assert curve.held_out_f1 == pytest.approx(curve.held_out_current_f1, abs=0.5)
    gold = sum(len(text.gold) for text in items)
    assert curve.held_out_current_f1 == pytest.approx(100 * 2 * gold / (gold + 4 * len(items)), abs=1)


def test_little_data_gives_no_expectation() -> None:
    key = (0, 1, "A")
    curve = build_threshold_curve(
        [ScoredItems([key], [key], {key: 0.7})] * 9, range(9), {"A": 0.5}, RELATION_THRESHOLDS, 0
    )
    assert (curve.held_out_f1, curve.held_out_current_f1) == (None, None)
    assert curve.best is not None
    assert (curve.best.f1, curve.best.threshold) == (100, 0.05)

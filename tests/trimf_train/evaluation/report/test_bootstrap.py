"""Intervals: equal to those of a bootstrap that scores every resample anew, and fast by sums of counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf_train.evaluation.annotation import Annotation
from trimf_train.evaluation.report import bootstrap
from trimf_train.evaluation.report.bootstrap import (
    compute_scores_of_counts,
    draw_weights,
    find_interval,
    sum_resamples,
)
from trimf_train.evaluation.report.build_report import _count_all as count_all
from trimf_train.evaluation.report.model_run import ModelRun, ResampledUnits
from trimf_train.evaluation.report.score_tables import align_labels, build_difference_table, build_score_table
from trimf_train.evaluation.scores import compute_scores

from .runs import LABELS, make_run, make_text, runs

FIGURES = ("precision", "recall", "f1")


def weigh(units: int, seed: int) -> Any:
    """How often each unit is in each of five resamples; one unit has none."""
    blocks = [block for _, block in draw_weights(units, 5 if units > 1 else 0, seed)]
    return np.concatenate([np.zeros((0, units)), *blocks]).astype(int)


def score_resample(run: ModelRun, chosen: list[int]) -> Any:
    """The scores of ``trimf eval`` on the chosen texts, some of them several times."""
    texts = [run.texts[index] for index in chosen]
    gold = [Annotation(text.gold_entities, text.gold_relations) for text in texts]
    predicted = [Annotation(text.predicted.entities, text.predicted.relations) for text in texts]
    return compute_scores(gold, predicted, LABELS.symmetric)


def alone(run: ModelRun) -> ResampledUnits:
    return ResampledUnits("sentences", list(range(len(run.texts))))


@settings(deadline=None, max_examples=60)
@given(runs(), st.integers(0, 3))
def test_every_resample_has_the_scores_of_an_evaluation_of_its_sentences(run: ModelRun, seed: int) -> None:
    counts = count_all(run, alone(run))
    sums = dict(zip(counts, sum_resamples([part.counts for part in counts.values()], 5, seed), strict=True))
    weights = weigh(len(run.texts), seed)
    assert len(weights) == len(sums["entities"])
    assert set(weights.sum(1).tolist()) <= {len(run.texts)}
    for resample, row in enumerate(weights.tolist()):
        evaluated = score_resample(run, [index for index, times in enumerate(row) for _ in range(times)])
        for name, expected in (("entities", evaluated["entities"]), *evaluated["relations"].items()):
            scores = compute_scores_of_counts(sums[name][resample])
            leaves = [expected["micro"], expected["macro"]]
            leaves += [expected["per_type"].get(label) for label in counts[name].labels]
            for leaf, figures in zip(leaves, scores.tolist(), strict=True):
                for figure, value in zip(FIGURES, figures, strict=True):
                    assert (0.0 if leaf is None else leaf[figure]) == pytest.approx(0.0 if np.isnan(value) else value)


@settings(deadline=None, max_examples=30)
@given(runs())
def test_a_table_has_the_values_of_trimf_eval(run: ModelRun) -> None:
    evaluated = score_resample(run, list(range(len(run.texts))))
    for name, expected in (("entities", evaluated["entities"]), *evaluated["relations"].items()):
        part = count_all(run, alone(run))[name]
        table = build_score_table(part.labels, part.counts.sum(0), sum_resamples([part.counts], 20, 0)[0])
        assert list(table.per_type) == list(expected["per_type"])
        for mine, leaf in (
            (table.micro, expected["micro"]),
            (table.macro, expected["macro"]),
            *((table.per_type[label], leaf) for label, leaf in expected["per_type"].items()),
        ):
            assert mine.support == leaf["support"]
            for figure in FIGURES:
                estimate = getattr(mine, figure)
                assert estimate.value == pytest.approx(leaf[figure])
                assert (estimate.low is None) == (estimate.high is None)
                if estimate.low is not None:
                    assert 0 <= estimate.low <= estimate.high <= 100


@given(st.lists(st.lists(st.one_of(st.floats(0, 100), st.just(float("nan"))), min_size=3, max_size=3), min_size=1))
def test_ends_of_an_interval_are_percentiles_of_what_is_defined(rows: list[list[float]]) -> None:
    values = np.array(rows)
    low, high = find_interval(values)
    for column in range(3):
        defined = values[~np.isnan(values[:, column]), column]
        if len(defined):
            assert [low[column], high[column]] == pytest.approx(np.percentile(defined, [2.5, 97.5]).tolist())
        else:
            assert np.isnan([low[column], high[column]]).all()


def test_resamples_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.arange(21.0).reshape(7, 3)
    (whole,) = sum_resamples([table], 50, 3)
    monkeypatch.setattr(bootstrap, "_BLOCK_WEIGHTS", 7)
    (by_one,) = sum_resamples([table], 50, 3)
    assert (whole == by_one).all()
    assert (whole != sum_resamples([table], 50, 4)[0]).any()


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of entities that are found with a probability of 80 %, in 60 sentences each with one."""
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        found = (generator.random(60) < 0.8).astype(float)
        counts = np.stack([found, found, np.ones(60)], -1)[:, None]
        low, high = find_interval(compute_scores_of_counts(sum_resamples([counts], 300, seed)[0]))
        covered += low[0, 1] <= 80 <= high[0, 1]
    assert 0.88 <= covered / 200 <= 0.99


@settings(deadline=None, max_examples=30)
@given(runs(2, 4), runs(4, 4))
def test_differences_are_paired_and_change_sign_with_the_order(one: ModelRun, other: ModelRun) -> None:
    other = make_run(other.texts[: len(one.texts)])
    counts = [count_all(run, alone(run))["entities"] for run in (one, other)]
    aligned = align_labels(*counts)
    sums = sum_resamples([part.counts for part in aligned], 40, 1)
    totals = [part.counts.sum(0) for part in aligned]
    forth = build_difference_table(aligned[0].labels, (totals[0], totals[1]), (sums[0], sums[1]))
    back = build_difference_table(aligned[0].labels, (totals[1], totals[0]), (sums[1], sums[0]))
    assert forth.per_type.keys() == back.per_type.keys()
    for figure in FIGURES:
        here, there = getattr(forth.micro, figure), getattr(back.micro, figure)
        assert here.difference == pytest.approx(here.model - here.other)
        assert here.difference == pytest.approx(-there.difference)
        assert (here.better, here.worse) == (there.worse, there.better)
        if here.low is not None:
            assert (here.low, here.high) == pytest.approx((-there.high, -there.low))


def test_a_model_does_not_differ_from_itself() -> None:
    key = (0, 3, "A")
    run = make_run([make_text([key], predicted={key: 0.9}), make_text([key])])
    part = count_all(run, alone(run))["entities"]
    (sums,) = sum_resamples([part.counts], 100, 0)
    total = part.counts.sum(0)
    f1 = build_difference_table(part.labels, (total, total), (sums, sums)).micro.f1
    assert (f1.difference, f1.low, f1.high, f1.better, f1.worse) == (0, 0, 0, 0, 0)

"""Measures of groups of relations: figures by hand, cases that define nothing, and intervals from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

from trimf_train.experiments.triggers.deletion_curves import EXACT, RANDOM
from trimf_train.experiments.triggers.effects import RelationEffects
from trimf_train.experiments.triggers.measures import GroupMeasures, measure_group
from trimf_train.experiments.triggers.resampling import Estimate, Resamples
from trimf_train.experiments.triggers.study import select_sample

Make = Callable[..., RelationEffects]


def measure(relations: Sequence[RelationEffects], sentences: int, seed: int = 0, resamples: int = 200) -> GroupMeasures:
    """Measure the method "m", with the fall of the first word alone."""

    def first_fall(orders: list[np.ndarray]) -> np.ndarray:
        chosen = [
            relation.points[np.argmax(values)] if len(values) else 0.0
            for relation, values in zip(relations, orders, strict=True)
        ]
        return np.array([chosen], np.float64).reshape(1, len(relations))

    falls = {
        "m": first_fall([relation.weights["m"] for relation in relations]),
        EXACT: first_fall([relation.logits for relation in relations]),
        RANDOM: np.zeros((1, len(relations))),
    }
    return measure_group("all", relations, ["m"], falls, Resamples(sentences, resamples, seed))


def test_figures_of_four_relations(make_relation: Make) -> None:
    relations = [
        make_relation([1.0, 0.0], [2, 1], sentence=0),  # right
        make_relation([0.5, 0.6], [3, 1], sentence=0),  # wrong
        make_relation([0.4, 0.1], [-1, -2], sentence=1),  # shows none, wrong
        make_relation([0.1, 0.0], [0.5, 0.1], sentence=2),  # has no trigger
        make_relation([], [], sentence=3),  # has no candidate word
    ]
    found = measure(relations, 4)
    assert (found.relations, found.sentences, found.with_trigger, found.without_candidates) == (5, 4, 3, 1)
    (method,) = found.methods
    assert method.first_word.value == pytest.approx(1 / 3)
    assert 0 <= method.first_word.low <= method.first_word.value <= method.first_word.high <= 1
    assert method.none_shown == pytest.approx(2 / 5)
    assert method.has_trigger_auc.value == pytest.approx(2 / 3)  # 2 and 3 above 0.5, -1 below it
    assert found.chance == pytest.approx(1 / 2)
    effects, weights = [1, 0, 0.5, 0.6, 0.4, 0.1, 0.1, 0], [2, 1, 3, 1, -1, -2, 0.5, 0.1]
    assert method.pearson == pytest.approx(np.corrcoef(effects, weights)[0, 1])
    curves = {curve.method: curve for curve in found.curves}
    assert curves["m"].fall == pytest.approx([(0.1 + 0.05 + 0.04 + 0.01) / 5])
    assert curves["m"].ratio[0].value == pytest.approx(0.2 / 0.21)
    assert curves[EXACT].ratio[0] == Estimate(1.0, 1.0, 1.0)


def test_no_relation(make_relation: Make) -> None:
    found = measure([], 0)
    assert (found.relations, found.with_trigger, found.chance) == (0, 0, None)
    assert found.methods[0].first_word == Estimate(None)
    assert found.methods[0].none_shown is None
    assert [curve.fall for curve in found.curves] == [[None]] * 3
    msgspec.json.decode(msgspec.json.encode(found), type=GroupMeasures)


def test_no_candidate_word_at_all(make_relation: Make) -> None:
    found = measure([make_relation([], [], sentence=index) for index in range(3)], 3)
    assert found.without_candidates == 3
    assert found.methods[0].none_shown == 1
    assert found.methods[0].first_word.value is None
    assert found.methods[0].has_trigger_auc == Estimate(None)
    assert [curve.fall for curve in found.curves] == [[0.0]] * 3
    assert found.curves[0].ratio == [Estimate(None)]


def test_all_effects_are_equal(make_relation: Make) -> None:
    found = measure([make_relation([0.5, 0.5], [1, 2], sentence=index) for index in range(3)], 3)
    (method,) = found.methods
    assert method.first_word == Estimate(1.0, 1.0, 1.0)
    assert (method.pearson, method.spearman) == (None, None)
    assert method.has_trigger_auc == Estimate(None)
    assert found.chance == 1


def test_one_sentence_has_no_interval(make_relation: Make) -> None:
    relations = [make_relation([0.5, 0.1], [1, 2]), make_relation([0.1, 0.5], [1, 2])]
    alone = measure(relations, 1)
    assert alone.methods[0].first_word == Estimate(0.5)
    others = [*relations, make_relation([0.5], [1], sentence=1, type_index=1)]
    assert measure(others, 2).methods[0].first_word.low is not None
    part = measure_group(
        "one type", relations, ["m"], {name: np.ones((1, 2)) for name in ("m", EXACT, RANDOM)}, Resamples(2, 200, 0)
    )
    assert part.methods[0].first_word == Estimate(0.5)


def test_a_relation_type_that_is_in_few_resamples(make_relation: Make) -> None:
    resamples = Resamples(50, 100, 0)
    relations = [make_relation([0.5], [1], sentence=7), make_relation([0.5], [-1], sentence=8)]
    falls = {name: np.ones((1, 2)) for name in ("m", EXACT, RANDOM)}
    found = measure_group("rare", relations, ["m"], falls, resamples).methods[0].first_word
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_intervals_come_from_the_seed(make_relation: Make) -> None:
    generator = np.random.default_rng(1)
    relations = [make_relation(generator.random(4), generator.random(4), sentence=index // 2) for index in range(40)]
    assert measure(relations, 20) == measure(relations, 20)
    assert measure(relations, 20) != measure(relations, 20, seed=1)
    assert (
        measure(relations, 20).methods[0].first_word.value == measure(relations, 20, seed=1).methods[0].first_word.value
    )


def test_a_sample_keeps_the_order(longer_sentences: list) -> None:
    chosen = select_sample(longer_sentences, 5)
    assert len(chosen) == 5
    assert [longer_sentences.index(one) for one in chosen] == sorted(longer_sentences.index(one) for one in chosen)
    assert select_sample(longer_sentences, 5) == chosen
    for count in (None, 12, 99):
        assert select_sample(longer_sentences, count) == longer_sentences

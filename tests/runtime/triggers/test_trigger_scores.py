"""How much of a relation rests on a word, and on what a relation rests at all."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.triggers.trigger_scores import (
    DEFAULT_TRIGGER_FLOOR,
    SentenceTriggers,
    TriggerSettings,
    TriggerSpan,
    estimate_losses,
    lost_probability,
    sense_relation_triggers,
    sense_triggers,
)

PROBABILITIES = st.floats(0, 1, exclude_min=True, exclude_max=True)
EFFECTS = st.floats(-700, 700)
WORDS = ["Ann", "was", "shot", "by", "Bob", "yesterday"]
ENTITIES = [EntitySpan(0, 1, 0, 0.9), EntitySpan(4, 5, 0, 0.9)]


def relation(score: float, *weights: float, first: int = 0) -> RelationSpan:
    return RelationSpan(0, 1, 0, score, np.array(weights, np.float32), first)


def lose_slowly(probability: float, effect: float) -> float:
    """Compute p - sigmoid(logit(p) - e) with 400 digits."""
    with localcontext(prec=400) as context:
        context.Emax, context.Emin = 10**6, -(10**6)
        p = Decimal(probability)
        odds = p / (1 - p) * (-Decimal(effect)).exp()
        return float(p - odds / (1 + odds))


@given(PROBABILITIES, EFFECTS)
@example(0.5, 1e-12)
@example(0.5, -1e-12)
@example(1 - 2**-53, 700)
@example(5e-324, -700)
def test_a_loss_is_that_of_the_definition(probability: float, effect: float) -> None:
    expected = lose_slowly(probability, effect)
    assert lost_probability(probability, effect) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@given(st.floats(0, 1), st.lists(st.floats(allow_nan=False), max_size=8).map(sorted))
def test_a_loss_is_within_the_probability(probability: float, effects: list[float]) -> None:
    losses = [lost_probability(probability, effect) for effect in effects]
    assert all(probability - 1 - 1e-15 <= loss <= probability + 1e-15 for loss in losses)
    assert all(loss == 0 or (loss > 0) == (effect > 0) for loss, effect in zip(losses, effects, strict=True))
    assert all(before <= after + 1e-15 for before, after in pairwise(losses))


def test_losses_at_the_ends() -> None:
    assert [lost_probability(0.75, effect) for effect in (math.inf, -math.inf, 0)] == [0.75, -0.25, 0]
    assert lost_probability(1.0, 60.0) == pytest.approx(1)  # a probability that float64 rounds to 1
    assert lost_probability(1.0, 1.0) < 1e-15
    assert lost_probability(0.0, 5.0) < 1e-300


def test_losses_of_all_words() -> None:
    losses = estimate_losses(relation(0.8, 0.5, -0.5, 0))
    assert losses == pytest.approx([0.8 - 0.70812, 0.8 - 0.86833, 0], abs=1e-4)


def test_words_above_the_floor() -> None:
    found = sense_triggers(WORDS, DecodedSentence(ENTITIES, [relation(0.8, 9, 9, 2, 9, 9, 0.5)]), TriggerSettings(3))
    ((spans, basis),) = found.relations
    assert basis == "words"
    assert [(span.start, span.end) for span in spans] == [(2, 3), (5, 6)]
    assert [span.score for span in spans] == pytest.approx([0.8 - 0.35122, 0.8 - 0.70812], abs=1e-4)
    for floor, shown in ((0.0, 2), (0.09, 2), (0.1, 1), (0.5, 0)):
        (other,) = sense_triggers(
            WORDS, DecodedSentence(ENTITIES, [relation(0.8, 9, 9, 2, 9, 9, 0.5)]), TriggerSettings(3, floor)
        ).relations
        assert list(other.spans) == list(spans[:shown])
        assert other.basis == ("words" if shown else "names")


@pytest.mark.parametrize("weights", [(0, 0, 0.1, 0, 0, 0.2), (3, 3, -3, 3, 3, -1), (0, 0, 0, 1, 0, 0)])
def test_no_word_matters(weights: tuple[float, ...]) -> None:
    assert DEFAULT_TRIGGER_FLOOR == 0.05
    found = sense_triggers(
        WORDS, DecodedSentence(ENTITIES, [relation(0.8, *weights)]), TriggerSettings(3, DEFAULT_TRIGGER_FLOOR)
    )
    assert found.relations == [((), "names")] or found.relations == [([], "names")]


def test_nothing_is_claimed_that_is_not_known() -> None:
    strong = DecodedSentence(ENTITIES, [relation(0.8, 0, 0, 3, 0, 0, 0)])
    assert sense_triggers(WORDS, strong, TriggerSettings(0)).relations == [((), None)]
    without_sensor = DecodedSentence(ENTITIES, [relation(0.8, 0, 0, 0, 0, 0, 0)])
    assert sense_triggers(WORDS, without_sensor, TriggerSettings(3)).relations == [((), None)]
    attention = sense_triggers(WORDS, strong, TriggerSettings(3, attention=True))
    assert attention.relations == [([TriggerSpan(2, 3, 3.0)], None)]
    assert sense_triggers(WORDS, without_sensor, TriggerSettings(3, attention=True)).relations == [([], None)]


def test_candidates_have_triggers_too() -> None:
    decoded = DecodedSentence(ENTITIES, [], (), [relation(0.2, 0, 0, 3, 0, 0, 0), relation(0.3, 0, 0, 0, 0, 0, 0.1)])
    found = sense_triggers(WORDS, decoded, TriggerSettings(1, DEFAULT_TRIGGER_FLOOR))
    assert [(len(spans), basis) for spans, basis in found.candidates] == [(1, "words"), (0, "names")]
    assert found.relations == []
    assert sense_triggers([], DecodedSentence([], []), TriggerSettings(3)) == SentenceTriggers((), ())


def test_words_of_a_later_window() -> None:
    mask = np.array([True] * 6)
    found = sense_relation_triggers(relation(0.9, 1, 2, first=3), mask, TriggerSettings(1))
    assert [(span.start, span.end) for span in found.spans] == [(4, 5)]


@given(st.floats(0.01, 0.99), st.lists(st.floats(-4, 4, width=32), max_size=6), st.integers(0, 4), st.floats(0, 1))
def test_against_a_loop(score: float, weights: list[float], limit: int, floor: float) -> None:
    mask = np.array([index % 3 != 0 for index in range(len(weights))], np.bool_)
    losses = [lost_probability(score, weight) for weight in weights]
    order = sorted(range(len(weights)), key=lambda index: (-weights[index], index))
    kept = [index for index in order if mask[index] and weights[index] > 0][:limit]
    expected = [(index, index + 1, pytest.approx(losses[index])) for index in kept if losses[index] >= floor]
    spans, basis = sense_relation_triggers(relation(score, *weights), mask, TriggerSettings(limit, floor))
    assert [tuple(span) for span in spans] == expected
    known = limit > 0 and any(weights)
    assert basis == (("words" if expected else "names") if known else None)

"""Which words are shown as triggers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.decoding.span_decoding import EntitySpan, RelationSpan
from trimf.runtime.triggers.trigger_words import load_stop_words, top_trigger_words, trigger_candidate_mask

WORDS = ["Lee", "Oswald", "was", "The", "shot", ",", "by", "Ruby", "'s", "🔫", "x-ray", "1963", "", " ", "мир"]


def weights(*values: float, first: int = 0) -> RelationSpan:
    return RelationSpan(0, 1, 0, 0.9, np.array(values, np.float32), first)


def test_words_that_may_be_shown() -> None:
    entities = [EntitySpan(0, 2, 0, 0.9), EntitySpan(7, 8, 1, 0.9)]
    shown = trigger_candidate_mask(WORDS, entities)
    assert [word for word, may in zip(WORDS, shown, strict=True) if may] == ["shot", "x-ray", "1963", "мир"]
    assert trigger_candidate_mask([], []).shape == (0,)
    assert trigger_candidate_mask([], []).dtype == np.bool_


def test_stop_words_are_lower_case() -> None:
    assert {"the", "by", "was"} <= load_stop_words()
    assert all(word == word.lower() for word in load_stop_words())
    assert "shot" not in load_stop_words()


@pytest.mark.parametrize("count", range(6))
def test_the_heaviest_first(count: int) -> None:
    relation = weights(0.125, 0.5, 0.75, 0.25, 0.5)
    shown = np.array([True, True, False, True, True])
    assert top_trigger_words(relation, shown, count) == [(1, 0.5), (4, 0.5), (3, 0.25), (0, 0.125)][:count]


def test_no_weight_is_no_trigger() -> None:
    assert top_trigger_words(weights(0, 0.5, -1, float("nan")), np.ones(4, bool), 9) == [(1, 0.5)]
    assert top_trigger_words(weights(0, 0), np.ones(2, bool), 3) == []
    assert top_trigger_words(weights(0.5, 0.5), np.zeros(2, bool), 3) == []


def test_weights_of_a_window_later_in_the_sentence() -> None:
    shown = np.array([True, True, True, False, True, True])
    assert top_trigger_words(weights(0.25, 0.75, 0.5, first=2), shown, 3) == [(4, 0.5), (2, 0.25)]


@given(st.lists(st.tuples(st.integers(-1, 4), st.booleans()), max_size=20), st.integers(0, 25), st.integers(0, 5))
def test_against_a_loop(words: list[tuple[int, bool]], count: int, first: int) -> None:
    values = [value / 4 for value, _ in words]
    shown = np.array([False] * first + [may for _, may in words], bool)
    left = [place for place, (value, may) in enumerate(words) if may and value > 0]
    expected = sorted(left, key=lambda place: (-values[place], place))[:count]
    actual = top_trigger_words(weights(*values, first=first), shown, count)
    assert actual == [(first + place, values[place]) for place in expected]

"""Which phrases are tried, and which words and phrases a relation rests on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.triggers.phrases import SentenceLosses, choose_spans, list_phrases
from trimf.runtime.triggers.trigger_scores import TriggerSpan

FLOOR = 0.05


def losses_of(
    text: str, entities: list[int], losses: dict[str, list[float]], between: list[tuple[int, int]] | None = None
) -> SentenceLosses:
    words = text.split()
    free = np.array([index not in entities for index in range(len(words))])
    count = len(next(iter(losses.values()), [0.0]))
    return SentenceLosses(
        words,
        [words.index(word) for word in losses],
        free,
        between or [(0, len(words))] * count,
        np.array(list(losses.values())).reshape(-1, count),
    )


def phrases(sentence: SentenceLosses) -> list[str]:
    return [" ".join(sentence.words[start:end]) for start, end in list_phrases(sentence, FLOOR)]


def test_a_word_that_matters_is_tried_with_the_stop_word_after_it() -> None:
    assert phrases(losses_of("Ann works for Acme", [0, 3], {"works": [0.3]})) == ["works for"]
    assert phrases(losses_of("Ann works For Acme", [0, 3], {"works": [0.3]})) == ["works For"]
    assert phrases(losses_of("Ann works . Acme", [0, 3], {"works": [0.3]})) == []
    assert phrases(losses_of("works The", [1], {"works": [0.3]})) == []
    assert phrases(losses_of("Ann Acme works", [0, 1], {"works": [0.3]})) == []


def test_where_no_word_matters_those_between_the_entities_are_tried_with_their_stop_word() -> None:
    text, losses = "said Ann born in Oslo today at noon", {"said": [0.0], "born": [0.01], "today": [0.0]}
    assert phrases(losses_of(text, [1, 4], losses, [(2, 4)])) == ["born in"]
    assert phrases(losses_of(text, [1, 4], {**losses, "today": [0.2]}, [(2, 4)])) == ["today at"]
    assert phrases(losses_of(text, [1, 4], {"born": [0.2, 0.0]}, [(2, 4), (5, 8)])) == ["born in"]
    assert phrases(losses_of(text, [1, 4], {"born": [-0.2]}, [(3, 3)])) == []


def test_words_that_matter_together_are_tried_as_one() -> None:
    text = "Jack shot and then killed Lee vice - president"
    assert phrases(losses_of(text, [0, 5], {"shot": [0.03], "killed": [0.03]}, [(9, 9)])) == ["shot and then killed"]
    assert phrases(losses_of(text, [0, 5], {"shot": [0.01], "killed": [0.03]}, [(9, 9)])) == []
    assert phrases(losses_of(text, [0, 5], {"shot": [-0.2], "killed": [0.04]}, [(9, 9)])) == []
    assert phrases(losses_of(text, [0, 5], {"killed": [0.3], "vice": [0.3]}, [(9, 9)])) == []  # an entity divides them
    assert phrases(losses_of(text, [0, 5], {"vice": [0.3], "president": [0.01]}, [(9, 9)])) == ["vice - president"]
    assert phrases(losses_of(text, [0, 5], {"vice": [0.3], "president": [0.0]}, [(9, 9)])) == []
    assert phrases(losses_of("a b , and ; c", [], {"b": [0.3], "c": [0.3]}, [(0, 0)])) == []  # too far apart


def test_of_two_relations_each_has_its_phrases() -> None:
    text = "Ann chairman of Acme born in Oslo"
    found = losses_of(text, [0, 3, 6], {"chairman": [0.3, 0.0], "born": [0.0, 0.3]}, [(1, 3), (1, 6)])
    assert phrases(found) == ["chairman of", "born in"]


def test_of_many_phrases_the_most_promising_are_tried() -> None:
    text = "Ann won at b the 1st of c and d in Oslo"
    losses = {"won": [0.06], "1st": [0.1], "c": [0.3], "d": [0.2]}
    assert phrases(losses_of(text, [0, 3, 11], losses)) == ["1st of c", "c and d"]
    both = {"won": [0.06, 0.5], "1st": [0.1, 0.0], "c": [0.3, 0.0], "d": [0.2, 0.06]}
    assert phrases(losses_of(text, [0, 3, 11], both)) == ["won at", "1st of c", "c and d", "d in"]


def test_no_candidates_and_no_words() -> None:
    assert list_phrases(losses_of("Ann of Acme", [0, 2], {}), FLOOR) == []
    assert list_phrases(SentenceLosses([], [], np.zeros(0, np.bool_), [], np.zeros((0, 0))), FLOOR) == []


def test_a_phrase_takes_the_place_of_its_words_if_it_costs_more_than_they_do_one_by_one() -> None:
    words = {1: 0.1, 3: 0.06, 5: 0.3}
    assert choose_spans(words, {(1, 3): 0.16}, FLOOR) == [(5, 6, 0.3), (1, 3, 0.16), (3, 4, 0.06)]
    assert choose_spans(words, {(1, 3): 0.14}, FLOOR) == [(5, 6, 0.3), (1, 2, 0.1), (3, 4, 0.06)]
    assert choose_spans(words, {(1, 4): 0.19}, FLOOR) == [(5, 6, 0.3), (1, 2, 0.1), (3, 4, 0.06)]
    assert choose_spans(words, {(1, 4): 0.25}, FLOOR) == [(5, 6, 0.3), (1, 4, 0.25)]
    assert choose_spans({1: -0.3, 2: 0.02}, {(1, 3): 0.08}, FLOOR) == [(1, 3, 0.08)]
    assert choose_spans({1: 0.01}, {(1, 3): 0.04}, FLOOR) == []
    assert choose_spans({}, {}, FLOOR) == []


def test_of_phrases_that_share_a_word_the_one_that_costs_most_in_addition_is_taken() -> None:
    assert choose_spans({1: 0.0, 3: 0.2}, {(1, 4): 0.4, (3, 5): 0.45}, FLOOR) == [(3, 5, 0.45)]
    assert choose_spans({1: 0.0, 3: 0.0}, {(1, 4): 0.4, (3, 5): 0.4}, FLOOR) == [(1, 4, 0.4)]


@given(
    words=st.dictionaries(st.integers(0, 9), st.floats(-1, 1), max_size=8),
    phrases=st.dictionaries(
        st.tuples(st.integers(0, 7), st.integers(2, 4)).map(lambda pair: (pair[0], pair[0] + pair[1])),
        st.floats(-1, 1),
        max_size=6,
    ),
    floor=st.sampled_from([0.01, 0.05, 0.3]),
)
def test_what_is_shown(words: dict[int, float], phrases: dict[tuple[int, int], float], floor: float) -> None:
    spans = choose_spans(words, phrases, floor)
    assert spans == sorted(spans, key=lambda span: (-span.score, span.start))
    covered = [index for start, end, _ in spans for index in range(start, end)]
    assert len(covered) == len(set(covered))
    for start, end, score in spans:
        assert isinstance(spans[0], TriggerSpan)
        assert score >= floor
        assert score == (words[start] if end == start + 1 else phrases[start, end])
    for word, loss in words.items():
        assert (loss >= floor) <= (word in covered)


@pytest.mark.parametrize("floor", [0.05, 0.1])
def test_the_floor_itself_is_shown(floor: float) -> None:
    assert choose_spans({0: floor}, {}, floor) == [(0, 1, floor)]

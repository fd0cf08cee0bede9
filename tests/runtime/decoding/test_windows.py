"""Windows over long sentences, and one result from theirs, against what an all-seeing model would say."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.decoding.windows import OVERLAP_WORDS, merge_windows, split_windows

PIECES = st.lists(st.integers(1, 64), min_size=1, max_size=300)


@given(PIECES, st.integers(1, 520), st.integers(1, 200))
def test_windows_cover_a_sentence_within_the_limits(pieces: list[int], max_pieces: int, max_words: int) -> None:
    ranges = split_windows(np.array(pieces), max_pieces, max_words)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(pieces)
    for start, end in ranges:
        assert 1 <= end - start <= max_words
        assert sum(pieces[start:end]) <= max_pieces or end - start == 1
    for (start, end), (after, after_end) in pairwise(ranges):
        assert start < after <= end <= after_end
        assert end - after <= min(OVERLAP_WORDS, (end - start) // 4)


@given(PIECES, st.integers(64, 520), st.integers(2, 200))
def test_windows_are_as_long_as_they_may_be(pieces: list[int], max_pieces: int, max_words: int) -> None:
    ranges = split_windows(np.array(pieces), max_pieces, max_words)
    for start, end in ranges[:-1]:
        assert end - start == max_words or sum(pieces[start : end + 1]) > max_pieces
    if sum(pieces) <= max_pieces and len(pieces) <= max_words:
        assert ranges == [(0, len(pieces))]


def test_neighbours_share_words() -> None:
    assert split_windows(np.ones(1000, int), 9999, 400) == [(0, 400), (336, 736), (672, 1000)]
    assert split_windows(np.ones(50, int), 9999, 20) == [(0, 20), (15, 35), (30, 50)]
    assert split_windows(np.ones(6, int), 9999, 3) == [(0, 3), (3, 6)]
    assert split_windows(np.full(3, 64), 64, 10) == [(0, 1), (1, 2), (2, 3)]


def test_a_word_of_more_than_fits_is_alone() -> None:
    assert split_windows(np.array([1, 9, 1]), 4, 10) == [(0, 1), (1, 2), (2, 3)]


def test_linear_time() -> None:
    pieces = np.random.default_rng(0).integers(1, 8, 100_000)
    begin = time.perf_counter()
    ranges = split_windows(pieces, 510, 256)
    assert len(ranges) < 2000
    assert split_windows(pieces, 8, 256)
    assert time.perf_counter() - begin < 5


def seen(found: DecodedSentence, start: int, end: int) -> DecodedSentence:
    """What a model with the right answer says of words ``start`` to ``end`` alone."""
    inside = [number for number, entity in enumerate(found.entities) if start <= entity.start and entity.end <= end]
    return DecodedSentence(
        [
            entity._replace(start=entity.start - start, end=entity.end - start)
            for entity in (found.entities[number] for number in inside)
        ],
        [
            relation._replace(
                head=inside.index(relation.head),
                tail=inside.index(relation.tail),
                trigger_weights=relation.trigger_weights[start:end],
            )
            for relation in found.relations
            if relation.head in inside and relation.tail in inside
        ],
    )


@st.composite
def long_sentences(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int, DecodedSentence]:
    """Ranges, words and the truth: spans no longer than what half of the overlap leaves whole."""
    max_words = draw(st.integers(4, 40))
    words = draw(st.integers(1, 150))
    longest = (max_words // 4) // 2 + 1
    spans = draw(st.sets(st.tuples(st.integers(0, words - 1), st.integers(1, longest), st.integers(0, 2)), max_size=12))
    entities = sorted(
        EntitySpan(start, start + width, label, (start + width + label) / 500)
        for start, width, label in spans
        if start + width <= words
    )
    places = st.integers(0, max(len(entities) - 1, 0))
    keys = draw(st.sets(st.tuples(places, places, st.integers(0, 2)), max_size=30)) if entities else set()
    relations = [
        RelationSpan(head, tail, label, 0.5, np.arange(words, dtype=np.float32) + 1)
        for head, tail, label in sorted(keys)
        if head != tail
    ]
    return split_windows(np.ones(words, int), 9999, max_words), words, DecodedSentence(entities, relations)


@given(long_sentences())
def test_merging_windows_that_see_the_truth_gives_the_truth(
    sentence: tuple[list[tuple[int, int]], int, DecodedSentence],
) -> None:
    ranges, words, truth = sentence
    merged = merge_windows(ranges, [seen(truth, *span) for span in ranges], overlap=True)
    assert merged.entities == truth.entities

    def visible(relation: RelationSpan, start: int, end: int) -> bool:
        ends = (truth.entities[relation.head], truth.entities[relation.tail])
        return all(start <= entity.start and entity.end <= end for entity in ends)

    expected = []
    for relation in truth.relations:
        first = next((span for span in ranges if visible(relation, *span)), None)
        if first is not None:
            weights = [relation.trigger_weights[i] if first[0] <= i < first[1] else 0 for i in range(words)]
            expected.append((*relation[:4], weights))
    assert [(*relation[:4], laid_out(relation, words)) for relation in merged.relations] == expected


def laid_out(relation: RelationSpan, words: int) -> list[float]:
    weights = np.zeros(words)
    weights[relation.first_word : relation.first_word + len(relation.trigger_weights)] = relation.trigger_weights
    return [float(weight) for weight in weights]


def pair(first: int, second: int, score: float, words: int, mark: float) -> DecodedSentence:
    entities = [EntitySpan(first, first + 1, 0, score), EntitySpan(second, second + 1, 1, score)]
    return DecodedSentence(entities, [RelationSpan(0, 1, 0, score, np.full(words, mark))])


def test_of_two_windows_that_saw_a_relation_the_surer_counts() -> None:
    ranges = [(0, 20), (15, 35)]
    for scores, offset, mark in [((0.6, 0.9), 15, 2.0), ((0.9, 0.6), 0, 1.0), ((0.7, 0.7), 0, 1.0)]:
        merged = merge_windows(ranges, [pair(16, 18, scores[0], 20, 1.0), pair(1, 3, scores[1], 20, 2.0)], overlap=True)
        assert [entity[:3] for entity in merged.entities] == [(16, 17, 0), (18, 19, 1)]
        assert [entity.score for entity in merged.entities] == list(scores)
        (relation,) = merged.relations
        assert relation[:4] == (0, 1, 0, max(scores))
        assert laid_out(relation, 35) == [mark if offset <= i < offset + 20 else 0.0 for i in range(35)]


def test_an_entity_of_a_window_that_does_not_answer_for_it_is_dropped() -> None:
    ranges = [(0, 20), (15, 35)]
    merged = merge_windows(ranges, [pair(2, 19, 0.9, 20, 1.0), DecodedSentence([], [])], overlap=True)
    assert merged == DecodedSentence([EntitySpan(2, 3, 0, 0.9)], [])


@pytest.mark.parametrize("surer", [0, 1])
def test_without_overlap_none_arises_between_windows(surer: int) -> None:
    ranges = [(0, 20), (15, 35)]
    scores = (0.9, 0.6) if surer == 0 else (0.6, 0.9)
    across = EntitySpan(16, 20, 0, scores[0])
    other = EntitySpan(4, 6, 1, scores[1])
    weights = np.ones(20)
    found = [
        DecodedSentence([EntitySpan(0, 1, 2, 0.5), across], [RelationSpan(0, 1, 0, 0.8, weights)]),
        DecodedSentence([other, EntitySpan(9, 10, 2, 0.5)], [RelationSpan(1, 0, 1, 0.8, weights)]),
    ]
    moved = other._replace(start=19, end=21)
    both = merge_windows(ranges, found, overlap=True)
    assert [entity[:2] for entity in both.entities] == [(0, 1), (16, 20), (19, 21), (24, 25)]
    one = merge_windows(ranges, found, overlap=False)
    assert one.entities[1] == (across if surer == 0 else moved)
    assert len(one.entities) == 3
    assert [relation[:3] for relation in one.relations] == [(0, 1, 0) if surer == 0 else (2, 1, 1)]


def test_one_window_is_left_alone() -> None:
    found = pair(1, 2, 0.5, 4, 1.0)
    assert merge_windows([(0, 4)], [found], overlap=True) is found
    assert merge_windows([(0, 4)], [found], overlap=False) is found


def test_merging_takes_time_and_memory_in_line_with_the_words() -> None:
    ranges = split_windows(np.ones(100_000, int), 510, 256)
    found = [pair(100, 150, 0.5, end - start, 1.0) for start, end in ranges[:-1]] + [DecodedSentence([], [])]
    begin = time.perf_counter()
    merged = merge_windows(ranges, found, overlap=False)
    assert time.perf_counter() - begin < 5
    assert len(merged.relations) == len(ranges) - 1
    assert sum(len(relation.trigger_weights) for relation in merged.relations) <= 256 * len(ranges)

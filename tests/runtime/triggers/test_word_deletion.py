"""Relations in sentences without some words: as if each reduced sentence had been written so."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from trimf.runtime.decoding import pair_blocks
from trimf.runtime.decoding.span_decoding import EntitySpan, sigmoid
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.text.parser import Parse
from trimf.runtime.triggers.word_deletion import (
    Deletion,
    HeldRelation,
    HeldSentence,
    cut_arcs,
    keep_arcs,
    keep_words,
    measure_word_effects,
    score_deletions,
)

from ..numpy_model import SETTINGS, WORDS, make_pipeline, sentence


def open_pipeline(tokenizer: Tokenizer, parsing: bool = False) -> Pipeline:
    return make_pipeline(tokenizer, parsing=parsing, max_subwords=9999, max_words=9999, relation_count=2)


def drop_words(parsed: ParsedSentence, dropped: set[int]) -> ParsedSentence:
    """The sentence that remains, worked out word by word."""
    kept = [index for index in range(len(parsed.words)) if index not in dropped]
    heads = []
    for index in kept:
        seen, head = {index}, int(parsed.heads[index])
        while head in dropped and head not in seen:
            seen.add(head)
            head = int(parsed.heads[head])
        heads.append(kept.index(head if head not in dropped else index))
    return ParsedSentence([parsed.words[index] for index in kept], heads, [parsed.labels[index] for index in kept])


def score_again(
    pipeline: Pipeline, parsed: ParsedSentence, dropped: set[int], head: tuple[int, int], tail: tuple[int, int]
) -> dict[int, float]:
    """The probability of every relation type in the reduced sentence, by the ordinary road and one pair at a time."""
    places = [index for index in range(len(parsed.words)) if index not in dropped]
    given_spans = [
        EntitySpan(places.index(start), places.index(end - 1) + 1, kind, 1.0)
        for kind, (start, end) in enumerate((head, tail))
    ]
    everything = Pipeline(pipeline.graphs, pipeline.tokenizer, pipeline.settings._replace(relation_threshold=0.0))
    (result,) = everything.run([drop_words(parsed, dropped)], entities=[given_spans])
    assert result.window_count == 1
    return {
        relation.type_index: relation.score
        for relation in result.decoded.relations
        if relation.head == 0 or relation.type_index in SETTINGS.symmetric_relations
    }


def draw_case(draw: random.Random) -> tuple[ParsedSentence, list[HeldRelation], list[set[int]]]:
    """A sentence, relations between spans that may overlap, and words outside the spans to leave out."""
    parsed = sentence(draw.choices(WORDS, k=draw.randint(2, 14)), draw)
    spans = []
    while len(spans) < 3:
        start = draw.randrange(len(parsed.words))
        spans.append((start, min(start + draw.randint(1, 3), len(parsed.words))))
    relations = []
    for _ in range(draw.randint(1, 4)):
        head, tail = draw.sample(spans, 2)
        if head != tail:
            relations.append(HeldRelation(head, tail, draw.randrange(2)))
    held = {word for start, end in spans for word in range(start, end)}
    free = [word for word in range(len(parsed.words)) if word not in held]
    return parsed, relations, [set(draw.sample(free, draw.randint(0, len(free)))) for _ in range(4)]


@given(seed=st.integers(0, 10_000), parsing=st.booleans(), size=st.integers(1, 9), limit=st.sampled_from([4, 4096]))
@settings(max_examples=60, deadline=None)
def test_reduced_sentences_are_scored_as_if_written_so(
    word_pieces: Tokenizer, seed: int, parsing: bool, size: int, limit: int
) -> None:
    draw, pipeline = random.Random(seed), open_pipeline(word_pieces, parsing)
    cases = [case for case in (draw_case(draw) for _ in range(3)) if case[1]]
    deletions, expected = [], []
    for parsed, relations, dropped in cases:
        (subwords,) = pipeline.tokenizer.encode([parsed.words])
        held = HeldSentence(subwords, relations, None if parsing else Parse(parsed.heads, parsed.labels))
        for words in dropped:
            deletions.append(Deletion(held, sorted(words)))
            expected.append(
                [score_again(pipeline, parsed, words, *relation[:2])[relation.type_index] for relation in relations]
            )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_blocks, "MAX_BLOCK_PAIRS", limit)
        scores = score_deletions(pipeline, deletions, size)
    assert [sigmoid(one).tolist() for one in scores] == [pytest.approx(one) for one in expected]
    assert [one.tolist() for one in score_deletions(pipeline, deletions, 1)] == [one.tolist() for one in scores]


def test_effects_of_single_words(word_pieces: Tokenizer) -> None:
    pipeline = open_pipeline(word_pieces, parsing=True)
    words = ["Ann", "met", "zebra", "Q", "x"]
    (subwords, lonely) = pipeline.tokenizer.encode([words, ["Ann", "Q"]])
    first = HeldSentence(subwords, [HeldRelation((0, 1), (3, 4), 0), HeldRelation((3, 4), (0, 1), 1)])
    second = HeldSentence(lonely, [HeldRelation((1, 2), (0, 1), 0)])
    of_first, of_second = measure_word_effects(pipeline, [first, second], [[[1], [2], [4]], []])
    assert of_first.base.shape == (2,)
    assert of_first.without.shape == (3, 2)
    assert of_second.base.shape == (1,)
    assert of_second.without.shape == (0, 1)
    parsed = ParsedSentence(words, [0] * 5, ["up"] * 5)
    for row, dropped in enumerate([{1}, {2}, {4}]):
        for column, relation in enumerate(first.relations):
            found = score_again(pipeline, parsed, dropped, *relation[:2])[relation.type_index]
            assert sigmoid(of_first.without[row, column]) == pytest.approx(found)


def test_nothing_to_do(word_pieces: Tokenizer) -> None:
    pipeline = open_pipeline(word_pieces)
    assert score_deletions(pipeline, []) == []
    assert measure_word_effects(pipeline, [], []) == []


@given(
    st.lists(st.sampled_from([*WORDS, "漢字", "e\u0301"]), min_size=1, max_size=12), st.randoms(use_true_random=False)
)
def test_subwords_of_kept_words_are_those_of_the_words_alone(
    word_pieces: Tokenizer, words: list[str], draw: random.Random
) -> None:
    tokenizer = open_pipeline(word_pieces).tokenizer
    keep = np.array([draw.random() < 0.6 for _ in words])
    keep[draw.randrange(len(words))] = True
    subwords, expected = tokenizer.encode([words, [word for word, kept in zip(words, keep, strict=True) if kept]])
    found = keep_words(subwords, keep)
    for one, other in zip(found[:3], expected[:3], strict=True):
        assert one.tolist() == other.tolist()


def test_arcs_climb_to_the_closest_kept_ancestor() -> None:
    arcs = Parse([1, 2, 2, 2, 3], ["det", "nsubj", "ROOT", "prep", "pobj"])
    keep = np.array([True, False, True, False, True])
    assert keep_arcs(arcs, keep) == Parse([1, 1, 1], ["det", "ROOT", "pobj"])
    assert keep_arcs(arcs, np.array([True, True, False, True, True])) == Parse(
        [1, 1, 2, 2], ["det", "ROOT", "ROOT", "pobj"]
    )
    assert keep_arcs(arcs, np.ones(5, np.bool_)) == arcs


def test_arcs_in_a_circle() -> None:
    assert keep_arcs(Parse([1, 2, 1], ["a", "b", "c"]), np.array([True, False, False])) == Parse([0], ["ROOT"])


def test_arcs_of_a_window() -> None:
    heads, labels = cut_arcs(Parse([1, 1, 1, 2, 9], ["a", "ROOT", "c", "d", "e"]), 2, 5)
    assert np.asarray(heads).tolist() == [0, 0, 2]
    assert labels == ["c", "d", "e"]

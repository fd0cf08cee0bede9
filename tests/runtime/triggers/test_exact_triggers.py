"""Triggers by leaving words out, against a slow version that scores every reduced sentence by itself."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.triggers.exact_triggers import measure_relations, measure_triggers
from trimf.runtime.triggers.trigger_words import trigger_candidate_mask

from ..numpy_model import WORDS, make_pipeline, sentence
from .test_word_deletion import open_pipeline, score_again

FLOOR = 0.02
MORE_WORDS = [*WORDS, "by", "of", "the", "chairman", "killed"]


def measure_slowly(
    pipeline: Pipeline, parsed: ParsedSentence, decoded: DecodedSentence
) -> dict[tuple[int, int, int], dict[int, float]]:
    """What each relation loses without each candidate word."""
    mask = trigger_candidate_mask(parsed.words, decoded.entities)
    losses: dict[tuple[int, int, int], dict[int, float]] = {}
    for relation in (*decoded.relations, *decoded.relation_candidates):
        head, tail = (decoded.entities[index][:2] for index in (relation.head, relation.tail))
        losses[relation[:3]] = {
            index: relation.score - score_again(pipeline, parsed, {index}, head, tail)[relation.type_index]
            for index in np.flatnonzero(mask).tolist()
        }
    return losses


@given(
    seed=st.integers(0, 10_000),
    parsing=st.booleans(),
    size=st.integers(1, 7),
    overlap=st.booleans(),
    floor=st.sampled_from([None, 0.1]),
)
@settings(max_examples=30, deadline=None)
def test_as_measured_one_by_one(
    word_pieces: Tokenizer, seed: int, parsing: bool, size: int, overlap: bool, floor: float | None
) -> None:
    draw, pipeline = random.Random(seed), open_pipeline(word_pieces, parsing)
    pipeline.settings = pipeline.settings._replace(overlap=overlap, candidate_floor=floor)
    parsed = [sentence(draw.choices(MORE_WORDS, k=draw.randint(1, 9)), draw) for _ in range(3)]
    decoded = [result.decoded for result in pipeline.run(parsed)]
    words, arcs = [one.words for one in parsed], None if parsing else parsed
    measured = measure_relations(pipeline, words, decoded, arcs, FLOOR, size)
    for one, result, found in zip(parsed, decoded, measured, strict=True):
        slow = measure_slowly(pipeline, one, result)
        assert found.keys() == slow.keys()
        for key, relation in found.items():
            assert relation.words == pytest.approx(slow[key], abs=1e-9)
            check_triggers(pipeline, one, result, key, found[key].triggers.spans)
            assert relation.triggers.basis == ("words" if relation.triggers.spans else "names")
    assert measured == measure_relations(pipeline, words, decoded, arcs, FLOOR, 1)
    alone = [
        measure_triggers(pipeline, [words[index]], [decoded[index]], None if parsing else [parsed[index]], FLOOR)[0]
        for index in range(3)
    ]
    assert measure_triggers(pipeline, words, decoded, arcs, FLOOR, size) == alone
    for result, triggers in zip(decoded, alone, strict=True):
        assert len(triggers.relations) == len(result.relations)
        assert len(triggers.candidates) == len(result.relation_candidates)


def check_triggers(
    pipeline: Pipeline, parsed: ParsedSentence, decoded: DecodedSentence, key: tuple[int, int, int], spans: object
) -> None:
    """Every word or phrase that is shown costs what it says, and holds no word of an entity."""
    (relation,) = {
        one[:3]: one for one in (*decoded.relation_candidates, *decoded.relations) if one[:3] == key
    }.values()
    head, tail = (decoded.entities[index][:2] for index in key[:2])
    taken = {word for entity in decoded.entities for word in range(entity.start, entity.end)}
    for start, end, score in spans:  # type: ignore[attr-defined]
        dropped = set(range(start, end))
        assert not dropped & taken
        assert score >= FLOOR
        assert score == pytest.approx(relation.score - score_again(pipeline, parsed, dropped, head, tail)[key[2]])


def find_relations(word_pieces: Tokenizer, words: list[str], parsing: bool = True) -> tuple[Pipeline, DecodedSentence]:
    pipeline = open_pipeline(word_pieces, parsing)
    pipeline.settings = pipeline.settings._replace(relation_threshold=0.0)
    given_spans = [EntitySpan(0, 1, 0, 1.0), EntitySpan(len(words) - 1, len(words), 0, 1.0)]
    (result,) = pipeline.run_words([words], entities=[given_spans])
    return pipeline, result.decoded


def test_a_sentence_without_candidate_words(word_pieces: Tokenizer) -> None:
    words = ["Ann", "of", ",", "the", "Q"]
    pipeline, decoded = find_relations(word_pieces, words)
    assert decoded.relations
    (triggers,) = measure_triggers(pipeline, [words], [decoded], None, FLOOR)
    assert triggers.relations == [([], "names")] * len(decoded.relations)


def test_no_sentence_and_no_relation(word_pieces: Tokenizer) -> None:
    pipeline = open_pipeline(word_pieces, parsing=True)
    assert measure_triggers(pipeline, [], [], None, FLOOR) == []
    nothing = DecodedSentence([], [])
    assert measure_triggers(pipeline, [[], ["Ann"]], [nothing] * 2, None, FLOOR) == [([], [])] * 2


def test_given_entities_that_overlap_are_held(word_pieces: Tokenizer) -> None:
    words = ["Ann", "met", "zebra", "Q", "killed", "x"]
    pipeline = open_pipeline(word_pieces, parsing=True)
    pipeline.settings = pipeline.settings._replace(relation_threshold=0.0)
    spans = [EntitySpan(3, 4, 0, 1.0), EntitySpan(0, 3, 0, 1.0), EntitySpan(2, 4, 1, 1.0)]
    (result,) = pipeline.run_words([words], entities=[spans])
    (found,) = measure_relations(pipeline, [words], [result.decoded], None, FLOOR)
    assert len(found) > 3
    assert {place for relation in found.values() for place in relation.words} == {4, 5}
    parsed = ParsedSentence(words, range(6), ["up"] * 6)
    assert {key: relation.words for key, relation in found.items()} == {
        key: pytest.approx(losses) for key, losses in measure_slowly(pipeline, parsed, result.decoded).items()
    }


@pytest.mark.parametrize("parsing", [True, False])
def test_a_long_sentence_is_measured_in_the_window_that_found_the_relation(
    word_pieces: Tokenizer, parsing: bool
) -> None:
    draw = random.Random(5)
    pipeline = make_pipeline(word_pieces, parsing=parsing, max_subwords=9999, max_words=12, relation_count=2)
    short = open_pipeline(word_pieces, parsing)
    parsed = sentence(draw.choices([word for word in MORE_WORDS if len(word) < 9], k=40), draw)
    (result,) = pipeline.run([parsed])
    assert result.window_count > 2
    decoded = result.decoded
    assert len({relation.first_word for relation in decoded.relations}) > 2
    (found,) = measure_relations(pipeline, [parsed.words], [decoded], None if parsing else [parsed], FLOOR)
    mask = trigger_candidate_mask(parsed.words, decoded.entities)
    assert len(found) == len(decoded.relations)
    for relation in decoded.relations:
        start = relation.first_word
        stop = start + len(relation.trigger_weights)
        heads = [head - start if start <= head < stop else index for index, head in enumerate(parsed.heads[start:stop])]
        window = ParsedSentence(parsed.words[start:stop], heads, parsed.labels[start:stop])
        ends = [(decoded.entities[one].start - start, decoded.entities[one].end - start) for one in relation[:2]]
        expected = {
            place: relation.score - score_again(short, window, {place - start}, *ends)[relation.type_index]
            for place in range(start, stop)
            if mask[place]
        }
        assert found[relation[:3]].words == pytest.approx(expected)

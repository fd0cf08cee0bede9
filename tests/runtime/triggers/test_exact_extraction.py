"""Extractors that leave words out to find triggers, on the default bundle and on the tiny one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimf
from trimf.runtime.text.parser import Parser

from ..tiny_rule import AWKWARD, WORDS, check_offsets

TEXTS = [
    "Lee Harvey Oswald was shot by Jack Ruby in Dallas.",
    "Maria Lopez works for Siemens, which is based in Munich. Nothing here.",
    "",
    "Bill Gates, chairman of Microsoft, lives in Seattle with José Núñez from México 🎉.",
    "Hello",
]
FLOOR = 0.05


@pytest.fixture(scope="module")
def exact() -> Iterator[trimf.Extractor]:
    with trimf.load(threads=1, triggers="exact") as extractor:
        yield extractor


@pytest.fixture(scope="module")
def results(exact: trimf.Extractor) -> list[trimf.Extraction]:
    """Each text by itself, one reduced sentence at a time."""
    return list(exact.stream(TEXTS, 1))


def check_same(one: list[trimf.Extraction], others: list[trimf.Extraction]) -> None:
    """The extractions are the same but for rounding."""
    assert len(one) == len(others)
    for extraction, other in zip(one, others, strict=True):
        assert [value[:3] for value in map(describe, extraction.relations)] == [
            value[:3] for value in map(describe, other.relations)
        ]
        for relation, again in zip(extraction.relations, other.relations, strict=True):
            assert describe(relation)[3] == pytest.approx(describe(again)[3], abs=1e-5)


def describe(relation: trimf.Relation) -> tuple[Any, ...]:
    ends = (relation.head.start, relation.label, relation.tail.start)
    triggers = [(trigger.start, trigger.end, trigger.text) for trigger in relation.triggers]
    return ends, triggers, relation.basis, [trigger.score for trigger in relation.triggers]


def test_a_score_is_what_the_relation_loses_in_a_text_without_the_words(
    exact: trimf.Extractor, results: list[trimf.Extraction]
) -> None:
    shown = 0
    with trimf.load(threads=1, triggers=0, threshold=0.0) as plain:
        for extraction in results:
            check_offsets(extraction, extraction.text)
            for relation in extraction.relations:
                assert relation.basis == ("words" if relation.triggers else "names")
                for trigger in relation.triggers:
                    shown += 1
                    assert FLOOR <= trigger.score <= relation.score
                    score = score_without(plain, extraction, relation, trigger)
                    assert trigger.score == pytest.approx(relation.score - score, abs=1e-5)
    assert shown > 3
    assert [trigger.text for trigger in results[0].relations[0].triggers] == ["shot by"]


def score_without(
    plain: trimf.Extractor, extraction: trimf.Extraction, relation: trimf.Relation, trigger: trimf.Trigger
) -> float:
    """The probability of a relation in its sentence without a trigger, whose entities a caller gives."""
    (span,) = [span for span in extraction.sentences if span[0] <= trigger.start < span[1]]
    before, after = extraction.text[span[0] : trigger.start], extraction.text[trigger.end : span[1]].lstrip()
    shift = span[1] - span[0] - len(before + after)
    entities = []
    for entity in (relation.head, relation.tail):
        start = entity.start - span[0] - (shift if entity.start > trigger.start else 0)
        entities.append((start, start + len(entity.text), entity.label))
    related = plain.relate(before + after, entities)
    (found,) = [one for one in related.relations if one.label == relation.label and one.head.start == entities[0][0]]
    return found.score


def test_every_way_to_call_one(exact: trimf.Extractor, results: list[trimf.Extraction]) -> None:
    check_same([exact(text) for text in TEXTS], results)
    check_same(list(exact.stream(TEXTS)), results)
    check_same(list(exact.stream(TEXTS, 2, workers=2)), results)
    pairs = [(extraction.text, extraction.entities) for extraction in results]
    check_same([exact.relate(*pair) for pair in pairs], results)
    check_same(list(exact.relate_stream(pairs, 3, workers=2)), results)
    words = [*results[0].text[:-1].split(), "."]
    (of_words,) = exact.words([words])
    check_same([of_words], [exact.relate_words(words, of_words.entities)])
    assert [trigger.text for trigger in of_words.relations[0].triggers] == ["shot by"]


@pytest.mark.slow
def test_copies_and_processes(exact: trimf.Extractor, results: list[trimf.Extraction]) -> None:
    for other in (pickle.loads(pickle.dumps(exact)), copy.deepcopy(exact)):
        with other:
            assert other.triggers == "exact"
            check_same(list(other.stream(TEXTS)), results)
    check_same(list(exact.stream(TEXTS, processes=2)), results)
    pairs = [(extraction.text, extraction.entities) for extraction in results]
    check_same(list(exact.relate_stream(pairs, processes=2)), results)


def test_candidates_have_triggers_too(results: list[trimf.Extraction]) -> None:
    with trimf.load(threads=1, triggers="exact", candidates=True) as extractor:
        extractions = [extractor(text) for text in TEXTS]
    check_same(extractions, results)
    for extraction in extractions:
        assert extraction.candidates is not None
        for relation in extraction.candidates.relations:
            assert relation.basis == ("words" if relation.triggers else "names")
            assert all(FLOOR <= trigger.score <= relation.score for trigger in relation.triggers)


@settings(deadline=None, max_examples=20)
@given(text=st.lists(st.sampled_from([*AWKWARD, *WORDS, ". "]), max_size=8).map(" ".join))
def test_awkward_texts(exact: trimf.Extractor, text: str) -> None:
    extraction = exact(text)
    check_offsets(extraction, text)
    assert trimf.Extraction.from_json(extraction.to_json()) == extraction
    check_same([exact.relate(text, extraction.entities)], [extraction])


@settings(deadline=None, max_examples=20)
@given(words=st.lists(st.sampled_from(WORDS), max_size=50))
def test_a_parser_of_the_host_and_one_in_the_model(
    tiny_bundle: Path, parsing_bundle: Path, chain_parser: Parser, words: list[str]
) -> None:
    """Longer lists are cut into windows."""
    with (
        trimf.load(tiny_bundle, threads=1, parser=chain_parser, triggers="exact") as hosted,
        trimf.load(parsing_bundle, threads=1, triggers="exact") as parsing,
    ):
        (one,), (other,) = hosted.words([words]), parsing.words([words], 1)
        assert one == other
        check_offsets(one, " ".join(words))
        assert all(relation.basis in ("words", "names") for relation in one.relations)
        assert [next(iter(hosted.words([words], workers=2)))] == [one]


class CountingParser:
    """A parser that counts its calls."""

    name = "counting"
    labels = ("ROOT", "chain")

    def __init__(self, inner: Parser) -> None:
        self.inner, self.calls = inner, 0

    def parse(self, sentences: Any) -> Any:
        self.calls += 1
        return self.inner.parse(sentences)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_parser_runs_once_for_a_batch(tiny_bundle: Path, chain_parser: Parser, workers: int) -> None:
    parser = CountingParser(chain_parser)
    with trimf.load(tiny_bundle, threads=1, parser=parser, triggers="exact") as extractor:
        assert len(list(extractor.stream(["Ann met Bob", "Jack visited Rome"], workers=workers))) == 2
    assert parser.calls == 1


@pytest.mark.parametrize("value", ["all", "Exact", "3", "", -1, 2.0, True, None, ["exact"], b"exact"])
def test_other_values_are_refused(tiny_bundle: Path, value: Any) -> None:
    with pytest.raises(trimf.InputError, match=r"^triggers must be an integer >= 0 or 'exact', got ") as caught:
        trimf.load(tiny_bundle, triggers=value)
    assert "\n" not in str(caught.value)


class OwnString(str):
    """A kind of string of a caller."""


@pytest.mark.parametrize("value", [np.int64(2), OwnString("exact")])
def test_values_become_plain(parsing_bundle: Path, value: Any) -> None:
    with trimf.load(parsing_bundle, threads=1, triggers=value) as extractor:
        assert type(extractor.triggers) in (int, str)
        assert extractor.triggers == value
        extractor.warm_up()


@pytest.mark.parametrize(("triggers", "sizes"), [("exact", {1, 2, 4, 8, 12}), (3, {1, 12})])
def test_a_gpu_is_warmed_up_for_batches_of_shorter_sentences(
    parsing_bundle: Path, triggers: Any, sizes: set[int]
) -> None:
    seen: set[int] = set()
    with trimf.load(parsing_bundle, threads=1, triggers=triggers) as extractor:
        extractor.backend = "cuda"
        with extractor.pipeline.observe(lambda call: seen.add(len(call.inputs["pieces"]))):
            extractor.warm_up(12)
    assert seen == sizes

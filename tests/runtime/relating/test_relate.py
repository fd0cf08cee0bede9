"""Relations between given entities on the tiny bundle: the same as between found ones, alone and in any batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimf
from trimf.runtime.text.parser import Parser

from ..tiny_rule import AWKWARD, WORDS, truth

TEXTS = st.lists(st.sampled_from([*AWKWARD, *WORDS, ". "]), max_size=8).map(" ".join)


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path, chain_parser: Parser) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser) as extractor:
        yield extractor


def names(extraction: trimf.Extraction) -> list[tuple[str, str, str]]:
    return [(relation.head.text, relation.label, relation.tail.text) for relation in extraction.relations]


def undirected(relation: trimf.Relation) -> tuple[Any, ...]:
    ends = [relation.head.start, relation.tail.start]
    return sorted(ends) if relation.label == "knows" else ends, relation.label, relation.score, relation.triggers


@settings(deadline=None)
@given(text=TEXTS)
def test_entities_that_were_found(extract: trimf.Extractor, text: str) -> None:
    found = extract(text)
    related = extract.relate(text, found.entities)
    assert (related.entities, related.relations) == (found.entities, found.relations)
    assert related.sentences == found.sentences


@settings(deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=12), data=st.data())
def test_any_order_of_any_form(extract: trimf.Extractor, words: list[str], data: st.DataObject) -> None:
    (found,) = extract.words([words])
    entities = data.draw(st.permutations(found.entities))
    forms: list[Any] = [
        entities,
        [(one.start, one.end, one.label, one.score) for one in entities],
        [{"start": one.start, "end": one.end, "label": one.label, "score": one.score, "id": 1} for one in entities],
    ]
    results = [extract.relate_words(words, entities)]
    with trimf.load(extract.bundle.path, threads=1, parser=extract.parser, sentences="whole") as whole:
        results += [whole.relate(" ".join(words), form) for form in forms]
    for related in results:
        assert related.entities == tuple(entities)
        assert sorted(map(undirected, related.relations)) == sorted(map(undirected, found.relations))
        # The first of two entities is the head of a relation without direction.
        known = [one for one in related.relations if one.label == "knows"]
        places = [(related.entities.index(one.head), related.entities.index(one.tail)) for one in known]
        assert all(head < tail for head, tail in places)


@settings(deadline=None, max_examples=30)
@given(texts=st.lists(TEXTS, max_size=6), batch_size=st.integers(1, 5), workers=st.integers(1, 2))
def test_alone_and_in_any_batch(extract: trimf.Extractor, texts: list[str], batch_size: int, workers: int) -> None:
    pairs = [(text, extract(text).entities[::-1]) for text in texts]
    expected = [extract.relate(*pair) for pair in pairs]
    assert list(extract.relate_stream(pairs, batch_size, workers)) == expected
    numbered = enumerate(pairs)
    stream = extract.relate_stream(((pair, number) for number, pair in numbered), batch_size, as_tuples=True)
    assert list(stream) == list(zip(expected, range(len(pairs)), strict=True))


@settings(deadline=None, max_examples=30)
@given(sentences=st.lists(st.lists(st.sampled_from(WORDS), max_size=8), max_size=5))
def test_sentences_of_words(extract: trimf.Extractor, sentences: list[list[str]]) -> None:
    pairs = [
        (words, [(place, place + 1, "Person") for place, word in enumerate(words) if word in ("Ann", "Bob", "Jack")])
        for words in sentences
    ]
    for words, related in zip(sentences, extract.relate_stream(pairs, words=True), strict=True):
        people = [one for one in truth(words)[1] if one[1] == "knows"]
        assert [one for one in names(related) if one[1] == "knows"] == people


def test_the_text_of_every_entity_is_that_of_its_place(extract: trimf.Extractor) -> None:
    related = extract.relate_words(["Ann", "met", "Bob", "Jones"], [(2, 4, "Person"), (0, 1, "Person")])
    assert [(one.start, one.end, one.text, one.score) for one in related.entities] == [
        (8, 17, "Bob Jones", 1.0),
        (0, 3, "Ann", 1.0),
    ]
    assert names(related) == [("Bob Jones", "knows", "Ann")]
    assert trimf.Extraction.from_json(related.to_json()) == related


def test_names_of_the_caller(extract: trimf.Extractor) -> None:
    entities = [(0, 3, "human"), (8, 12, "city")]
    related = extract.relate("Ann saw Rome", entities, types={"human": "Person", "city": "Place"})
    assert [one.label for one in related.entities] == ["human", "city"]
    assert names(related) == [("Ann", "lives_in", "Rome")]
    for types, reason in (
        (None, "the model has no entity type 'human'.*Person, Place, Address.*pass types="),
        ({"human": "person"}, r"types\['human'\]: the model has no entity type 'person'; did you mean 'Person'"),
        ({"human": 1}, r"types\['human'\]"),
        ("Person", "types must be a dictionary"),
    ):
        with pytest.raises(trimf.InputError, match=reason):
            extract.relate("Ann saw Rome", entities, types=types)


@pytest.mark.parametrize(
    ("entities", "reason"),
    [
        ("Ann", "entities must be a list"),
        (None, "entities must be a list"),
        ([7], r"text, entities\[0\]: an entity is a tuple"),
        ([(0, 3)], "an entity is a tuple"),
        ([(0, 3, "Person"), {"start": 0, "label": "Person"}], r"entities\[1\]: the field 'end' is missing"),
        ([("0", 3, "Person")], "start must be an integer"),
        ([(-1, 3, "Person")], "start must be >= 0"),
        ([(0, 99, "Person")], "characters 0 to 99 do not lie in the 12 of the text"),
        ([(3, 3, "Person")], "characters 3 to 3"),
        ([(3, 4, "Person")], "are all white space"),
        ([(0, 3, 1)], "label"),
        ([(0, 3, "Person", 2)], "score must be from 0 to 1"),
        (
            [{"start": 1, "end": 3, "label": "Person", "text": "Ann"}],
            "its text is 'Ann', but .* 1 to 3 are 'nn'",
        ),
        ([(0, 2, "Person")], r"entities\[0\]: 'An' begins or ends inside a word of 'Ann'"),
    ],
)
def test_entities_that_cannot_be_used(extract: trimf.Extractor, entities: Any, reason: str) -> None:
    with pytest.raises(trimf.InputError, match=reason):
        extract.relate("Ann met Bob.", entities)


def test_words_that_cannot_be_used(extract: trimf.Extractor) -> None:
    for words, entities, reason in (
        (["Ann"], [(0, 2, "Person")], "words 0 to 2 do not lie in the 1 words"),
        ([], [(0, 1, "Person")], "words 0 to 1 do not lie in the 0 words"),
        ("Ann", [], "lists of words"),
    ):
        with pytest.raises(trimf.InputError, match=reason):
            extract.relate_words(words, entities)


def test_ends_inside_words(extract: trimf.Extractor) -> None:
    text, entities = "Ann met Bob.", [(1, 3, "Person"), (8, 11, "Person")]
    snapped = extract.relate(text, entities, misaligned="snap")
    assert [one.text for one in snapped.entities] == ["Ann", "Bob"]
    assert names(snapped) == [("Ann", "knows", "Bob")]
    assert snapped.notices == ("extended to whole words: 'nn' (entities[0]) to 'Ann'",)
    skipped = extract.relate(text, entities, misaligned="skip")
    assert [one.text for one in skipped.entities] == ["nn", "Bob"]
    assert (skipped.relations, len(skipped.notices)) == ((), 1)
    with pytest.raises(trimf.InputError, match="misaligned must be"):
        extract.relate(text, entities, misaligned="no")  # type: ignore[arg-type]
    trimmed = extract.relate(text, [(0, 4, "Person"), (7, 11, "Person")])
    assert [one.text for one in trimmed.entities] == ["Ann", "Bob"]


def test_other_sentences_and_equal_entities(extract: trimf.Extractor) -> None:
    text = "Ann met Bob. Jack met Ann."
    people = [(0, 3, "Person"), (8, 11, "Person"), (13, 17, "Person"), (22, 25, "Person")]
    related = extract.relate(text, people)
    assert names(related) == [("Ann", "knows", "Bob"), ("Jack", "knows", "Ann")]
    assert related.notices == ("the entities lie in 2 sentences; relations are looked for only within a sentence",)
    across = extract.relate(text, [people[0], (8, 17, "Person")])
    assert across.relations == ()
    assert across.entities[1].text == "Bob. Jack"
    assert across.notices == (
        "no relations are looked for, as it does not lie in one sentence: 'Bob. Jack' (entities[1])",
    )
    twice = extract.relate(text, [people[0], people[1], people[0]])
    assert [(one["head"], one["tail"]) for one in twice.to_dict()["relations"]] == [(0, 1)]
    assert twice.notices == ("relations name the first of equal entities: entities[2] repeats entities[0]",)


def test_nested_and_overlapping_entities(extract: trimf.Extractor) -> None:
    text = "Ann Bob Rome"
    entities = [(0, 7, "Person"), (4, 7, "Person"), (4, 7, "Place"), (4, 12, "Place")]
    related = extract.relate(text, entities)
    assert [one.text for one in related.entities] == ["Ann Bob", "Bob", "Bob", "Bob Rome"]
    # The tiny model looks at the first word; the entities on the same words have no relation with each other.
    assert ("Ann Bob", "knows", "Bob") in names(related)
    assert all((one.head.start, one.head.end) != (one.tail.start, one.tail.end) for one in related.relations)


def test_more_entities_than_pairs(extract: trimf.Extractor) -> None:
    limited = copy.copy(extract)
    limited.pipeline.max_pairs = 2
    people = [(0, 3, "Person", 0.1), (4, 7, "Person"), (8, 12, "Person")]
    related = limited.relate("Ann Bob Jack", people)
    assert len(related.entities) == 3
    assert names(related) == [("Bob", "knows", "Jack")]
    assert "too many entities to score every pair" in related.notices[0]
    limited.close()


def test_windows_of_a_long_sentence(extract: trimf.Extractor) -> None:
    words = ["Ann", "met", "Bob", *["zoo"] * 60, "Ann", "saw", "Jack"]
    people = [(65, 66, "Person"), (63, 64, "Person"), (2, 3, "Person"), (0, 1, "Person")]
    related = extract.relate_words(words, people)
    places = [(one["head"], one["tail"]) for one in related.to_dict()["relations"] if one["label"] == "knows"]
    assert places == [(0, 1), (2, 3)]
    assert "share no window" in related.notices[0]


def test_streams_go_on_after_bad_pairs(extract: trimf.Extractor) -> None:
    good = ("Ann met Bob", [(0, 3, "Person"), (8, 11, "Person")])
    pairs: list[Any] = [good, ("Ann", [(0, 2, "Person")]), "Ann", good]
    stream = extract.relate_stream(pairs, on_error="skip")
    assert [names(one) for one in stream] == [[("Ann", "knows", "Bob")]] * 2
    assert [bad.index for bad in stream.bad_texts.first] == [1, 2]
    replaced = list(extract.relate_stream(pairs, on_error="replace"))
    assert [bool(one.error) for one in replaced] == [False, True, True, False]
    with pytest.raises(trimf.InputError, match=r"text 1, entities\[0\]"):
        list(extract.relate_stream(pairs, on_error="stop"))
    for wrong in ("Ann", {"Ann": []}, None):
        with pytest.raises(trimf.InputError, match="iterable of pairs"):
            extract.relate_stream(wrong)  # type: ignore[call-overload]


@pytest.mark.parametrize("text", ["", " ", "Ann", ".\n\n."])
def test_nothing_to_relate(extract: trimf.Extractor, text: str) -> None:
    related = extract.relate(text, [])
    assert (related.text, related.entities, related.relations, related.notices) == (text, (), (), ())


def test_arcs_and_candidates(parsing_bundle: Path) -> None:
    with trimf.load(parsing_bundle, syntax="arcs", candidates=True) as extract:
        found = extract("Ann met Bob")
        related = extract.relate("Ann met Bob", found.entities[::-1])
        assert related.arcs == found.arcs
        assert related.candidates is not None
        assert related.candidates.entities == ()
        assert {one.head for one in related.candidates.relations} <= set(related.entities)


@pytest.mark.slow
def test_processes(parsing_bundle: Path) -> None:
    pairs = [("Ann met Bob", [(1, 3, "human"), (8, 11, "human")]), ("Ann", [(0, 3, "human")])] * 5
    words = [(["Ann", "met", "Bob"], [trimf.Entity(0, 3, "Ann", "Person", 1.0), (2, 3, "Person")])]
    options: dict[str, Any] = {"types": {"human": "Person"}, "misaligned": "snap"}
    with trimf.load(parsing_bundle, threads=1) as extract:
        expected = list(extract.relate_stream(pairs, 2, **options))
        assert list(extract.relate_stream(pairs, 2, processes=2, **options)) == expected
        assert list(extract.relate_stream(words, processes=2, words=True)) == [extract.relate_words(*words[0])]

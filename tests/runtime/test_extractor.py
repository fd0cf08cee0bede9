"""Text in, extraction out, on the tiny bundle: entities and relations, order, laziness, threads, parsers."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimf
from trimf.runtime.text.parser import Parse, Parser
from trimf.runtime.text.tokenization import split_sentences

from .tiny_rule import AWKWARD, WORDS, check_offsets, found, truth


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path, chain_parser: Parser) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser) as extractor:
        yield extractor


def test_an_example(extract: trimf.Extractor) -> None:
    text = "Ann visited Rome 7. Oslo is far from Bob, Jack!"
    extraction = extract(text)
    check_offsets(extraction, text)
    assert found(extraction) == (
        [("Ann", "Person"), ("Rome 7", "Address"), ("Oslo", "Place"), ("Bob", "Person"), ("Jack", "Person")],
        [
            ("Ann", "lives_in", "Rome 7"),
            ("Bob", "lives_in", "Oslo"),
            ("Bob", "knows", "Jack"),
            ("Jack", "lives_in", "Oslo"),
        ],
    )
    assert extraction.sentences == ((0, 19), (20, 47))
    assert [[trigger.text for trigger in relation.triggers] for relation in extraction.relations] == [
        ["visited"],
        ["far"],
        ["far"],
        ["far"],
    ]
    assert extraction.notices == ()
    assert all(0.5 < value.score <= 1 for value in (*extraction.entities, *extraction.relations))


@settings(deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=15))
def test_words_against_the_rule(extract: trimf.Extractor, words: list[str]) -> None:
    (extraction,) = extract.words([words])
    check_offsets(extraction, " ".join(words))
    assert found(extraction) == truth(words)


@settings(deadline=None)
@given(sentences=st.lists(st.lists(st.sampled_from(WORDS), max_size=8), max_size=5))
def test_text_against_the_rule(extract: trimf.Extractor, sentences: list[list[str]]) -> None:
    text = " ".join(" ".join(words) + " ." for words in sentences)
    extraction = extract(text)
    check_offsets(extraction, text)
    expected = [truth(sentence.words) for sentence in split_sentences(text)]
    entities, relations = found(extraction)
    assert entities == [entity for part in expected for entity in part[0]]
    assert relations == [relation for part in expected for relation in part[1]]


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n\u00a0\u2003 "])
def test_nothing_to_read(extract: trimf.Extractor, text: str) -> None:
    assert extract(text) == trimf.Extraction(text)


@pytest.mark.parametrize("text", ["A", "N", "x", ".", "7", "é", "🎉", "\0", "\u200b", "\u0301"])
def test_one_character(extract: trimf.Extractor, text: str) -> None:
    extraction = extract(text)
    check_offsets(extraction, text)
    assert extraction.sentences == ((0, 1),)


@pytest.mark.parametrize("text", [None, 3, b"Ann", ["Ann"], "a\ud800"])
def test_what_is_no_text_is_refused(extract: trimf.Extractor, text: Any) -> None:
    with pytest.raises(trimf.InputError, match="text "):
        extract(text)
    texts = extract.stream(["Ann", text, "Bob"], batch_size=1, on_error="stop")
    assert next(texts).text == "Ann"
    with pytest.raises(trimf.InputError):
        next(texts)


def test_words_are_joined_by_one_space(extract: trimf.Extractor) -> None:
    sentences = [["Ann", "met", "New  York", "."], [], [""], ["", "", "Bob"], ("Rome", "7"), ["e\u0301", "\0"]]
    extractions = list(extract.words(sentences))
    assert [extraction.text for extraction in extractions] == [" ".join(sentence) for sentence in sentences]
    assert [extraction.sentences for extraction in extractions] == [
        ((0, 19),),
        (),
        ((0, 0),),
        ((0, 5),),
        ((0, 6),),
        ((0, 4),),
    ]
    assert [(entity.start, entity.end) for entity in extractions[0].entities] == [(0, 3), (8, 17)]
    assert [(entity.start, entity.end) for entity in extractions[3].entities if entity.text] == [(2, 5)]


def test_words_from_an_iterator_are_all_read(extract: trimf.Extractor) -> None:
    (extraction,) = extract.words([iter(["Ann", "met", "Bob"])])  # type: ignore[list-item]
    assert found(extraction) == truth(["Ann", "met", "Bob"])


@pytest.mark.parametrize("sentence", ["Ann met Bob", "", None, 5, ["Ann", 5], ["Ann", None], b"Ann", ["a\ud800"]])
def test_what_is_no_list_of_words_is_refused(extract: trimf.Extractor, sentence: Any) -> None:
    with pytest.raises(trimf.InputError) as caught:
        list(extract.words([["Ann"], sentence]))
    assert "\n" not in str(caught.value)


def test_one_text_in_place_of_sentences_is_refused(extract: trimf.Extractor) -> None:
    with pytest.raises(
        trimf.InputError, match=r"words\(\) takes sentences as lists of words, got 'A'; pass raw text to stream"
    ):
        next(extract.words("Ann met Bob"))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_empty_batch_is_refused_at_once(extract: trimf.Extractor, batch_size: int) -> None:
    with pytest.raises(trimf.InputError, match=f"batch_size must be >= 1, got {batch_size}"):
        extract.stream([], batch_size)
    with pytest.raises(trimf.InputError, match=f"batch_size must be >= 1, got {batch_size}"):
        extract.words([], batch_size)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("text", ["Ann met Bob.", "", "Ann. Bob. Jack. Rome.", "\n"])
def test_a_stream_reads_no_further_than_it_sorts(extract: trimf.Extractor, batch_size: int, text: str) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"{text} {read}" if text.strip() else text

    extractions = extract.stream(endless(), batch_size)
    assert read == 0
    for number in range(1, 100):
        extraction = next(extractions)
        assert extraction.text == (f"{text} {number}" if text.strip() else text)
        assert number <= read <= number + (16 * batch_size if batch_size > 1 else 0)


def test_words_are_read_lazily_too(extract: trimf.Extractor) -> None:
    read = 0

    def endless() -> Iterator[list[str]]:
        nonlocal read
        while True:
            read += 1
            yield ["Ann", str(read)]

    extractions = extract.words(endless(), 4)
    assert [next(extractions).text for _ in range(9)] == [f"Ann {number}" for number in range(1, 10)]
    assert read <= 9 + 16 * 4


def test_the_end_of_a_stream(extract: trimf.Extractor) -> None:
    assert list(extract.stream([])) == []
    assert list(extract.words([])) == []
    assert [extraction.text for extraction in extract.stream(["", "Ann", ""])] == ["", "Ann", ""]


def many_texts() -> list[str]:
    sentences = [" ".join(WORDS[(i * j) % len(WORDS)] for j in range(1, 2 + i % 40)) + "." for i in range(60)]
    return [*AWKWARD, "", " ", *sentences, " ".join(sentences[:20]), " ".join(word + "," for word in WORDS * 9)]


def test_the_batch_changes_nothing(extract: trimf.Extractor) -> None:
    texts = many_texts()
    alone = [extract(text) for text in texts]
    for batch_size in (1, 3, 32):
        assert list(extract.stream(texts, batch_size)) == alone
    assert list(extract.stream(texts[::-1], 32)) == alone[::-1]
    words = [sentence.words for text in texts for sentence in split_sentences(text)]
    one_by_one = list(extract.words(words, 1))
    assert list(extract.words(words, 3)) == one_by_one
    assert list(extract.words(words, 32)) == one_by_one


def test_eight_threads_find_what_one_does(extract: trimf.Extractor) -> None:
    texts = many_texts()
    expected = [extract(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(lambda size: list(extract.stream(texts, size)), size) for size in (1, 2, 3, 5, 8, 13)]
        assert list(pool.map(extract, texts * 2)) == expected * 2
        assert [stream.result() for stream in streams] == [expected] * 6


def test_close(tiny_bundle: Path, chain_parser: Parser) -> None:
    extract = trimf.load(tiny_bundle, threads=1, parser=chain_parser)
    assert extract("Ann").entities
    extract.close()
    extract.close()
    with pytest.raises(trimf.BackendError, match=r"encoder\.onnx is closed"):
        extract("Ann")
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser) as extract:
        stream = extract.stream(["Ann", "Bob"], 1)
        next(stream)
    with pytest.raises(trimf.BackendError, match="is closed"):
        next(stream)


def test_what_is_loaded(extract: trimf.Extractor, tiny_bundle: Path, chain_parser: Parser) -> None:
    assert extract.bundle.path == tiny_bundle
    assert extract.bundle.manifest.encoder == "tiny"
    assert extract.parser is chain_parser
    assert extract.triggers == 3


def test_the_parser_the_manifest_names_is_missing(
    own_bundle: Path, edit_manifest: Callable[[Callable[[Any], object]], None]
) -> None:
    edit_manifest(lambda content: content["parser"].update(name="no_such_pipeline"))
    with pytest.raises(trimf.BackendError, match=r"'no_such_pipeline' is neither installed nor a pipeline") as caught:
        trimf.load(own_bundle)
    assert "\n" not in str(caught.value)


LONG = "Ann met Bob. " + " ".join(["the"] * 30) + " Jack visited Rome 7.\n\nOslo 42, Bob"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_parses_by_itself(
    parsing_bundle: Path, extract: trimf.Extractor, tmp_path: Path, workers: int
) -> None:
    texts = [*AWKWARD, "", LONG, "Ann met Bob in Rome 7."]
    with trimf.load(parsing_bundle, threads=1) as own:
        assert own.parser is None
        assert own.parser_note == ""
        assert list(own.stream(texts, 3, workers)) == list(extract.stream(texts))
        assert list(own.words([["Ann", "met", "Bob"]])) == list(extract.words([["Ann", "met", "Bob"]]))


def test_another_parser_than_the_model_learnt_from(parsing_bundle: Path, tiny_bundle: Path) -> None:
    class Star:
        name, labels = "star", ("ROOT", "chain")

        def parse(self, sentences: Any) -> list[Parse]:
            return [Parse([0] * len(one), ["ROOT", *["chain"] * (len(one) - 1)]) for one in sentences]

    for bundle, expected in ((parsing_bundle, "in-model parser (trained on chain)"), (tiny_bundle, "chain")):
        with trimf.load(bundle, threads=1, parser=Star(), syntax="arcs") as extractor:
            assert extractor.parser_note == f"parser mismatch: parsed by star, expected {expected}"
            assert [arc.head for arc in extractor("Ann met Bob in Rome").arcs] == [0] * 5

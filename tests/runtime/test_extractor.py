"""Text in, extraction out, on the tiny bundle: offsets, order, laziness, threads, notices."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import trimf
from trimf.runtime.text.parser import Parse, Parser
from trimf.runtime.text.tokenization import split_sentences

PEOPLE, PLACES, NUMBERS = ("Ann", "Bob", "Jack"), ("Rome", "Oslo"), ("7", "42")
WORDS = (*PEOPLE, *PLACES, *NUMBERS, "met", "visited", "zoo", ",", "the")
AWKWARD = [
    "Ann met Bob.",
    "e\u0301 Ann",
    "👨‍👩‍👧 and Bob 🎉",
    "🇩🇪Ann",
    "Ann\r\nmet\r\n\r\nBob\r\n",
    "\tAnn\t\tRome\t7\t",
    "Ann\0met\0Bob",
    "\ufeffAnn\u200bmet\u2028Bob",
    "\u202eשלום Ann مرحبا\u202c",
    "漢字。Ann 東京",
    "ไทย Rome 7",
    "A\u0300nn's U.S. trip... (Bob)",
    "x" * 70 + " Ann",
]
TEXTS = st.lists(st.sampled_from([*AWKWARD, " ", "\n\n", ". "]) | st.text(max_size=12), max_size=6).map("".join)


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path, chain_parser: Parser) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser) as extractor:
        yield extractor


def found(extraction: trimf.Extraction) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    return (
        [(entity.text, entity.label) for entity in extraction.entities],
        [(relation.head.text, relation.label, relation.tail.text) for relation in extraction.relations],
    )


def truth(words: list[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """What the tiny bundle finds in one sentence of WORDS."""
    entities = []
    for place, (word, after) in enumerate(pairwise([*words, ""])):
        if word in PEOPLE:
            entities.append((place, word, "Person"))
        elif word in PLACES and after in NUMBERS:
            entities.append((place, f"{word} {after}", "Address"))
        elif word in PLACES:
            entities.append((place, word, "Place"))
    relations = []
    for start, head, label in entities:
        for other, tail, other_label in entities:
            if label == "Person" == other_label and start < other:
                relations.append((head, "knows", tail))
            elif label == "Person" != other_label:
                relations.append((head, "lives_in", tail))
    return [entity[1:] for entity in entities], relations


def check_offsets(extraction: trimf.Extraction, text: str) -> None:
    assert extraction.text == text
    places = [(entity.start, entity.end) for entity in extraction.entities]
    assert places == sorted(set(places))
    triggers = [trigger for relation in extraction.relations for trigger in relation.triggers]
    for span in (*extraction.entities, *triggers):
        assert span.text == text[span.start : span.end] != ""
        assert span.text == span.text.strip()
        assert any(start <= span.start and span.end <= end for start, end in extraction.sentences)
    for relation in extraction.relations:
        assert relation.head in extraction.entities
        assert relation.tail in extraction.entities
        assert relation.head != relation.tail
        weights = [trigger.score for trigger in relation.triggers]
        assert weights == sorted(weights, reverse=True)


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


@settings(deadline=None)
@given(text=TEXTS)
def test_offsets_of_any_text(extract: trimf.Extractor, text: str) -> None:
    extraction = extract(text)
    check_offsets(extraction, text)
    assert len(extraction.sentences) == len(split_sentences(text))


@pytest.mark.parametrize("text", AWKWARD)
def test_offsets_of_awkward_text(extract: trimf.Extractor, text: str) -> None:
    extraction = extract(text)
    check_offsets(extraction, text)
    assert extraction.entities


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n\u00a0\u2003 "])
def test_nothing_to_read(extract: trimf.Extractor, text: str) -> None:
    assert extract(text) == trimf.Extraction(text)


@pytest.mark.parametrize("text", ["A", "N", "x", ".", "7", "é", "🎉", "\0", "\u200b", "\u0301"])
def test_one_character(extract: trimf.Extractor, text: str) -> None:
    extraction = extract(text)
    check_offsets(extraction, text)
    assert extraction.sentences == ((0, 1),)


def test_the_same_letters_differently_composed_stay_the_callers(extract: trimf.Extractor) -> None:
    for text in ("Am\u00e9lie met Ann", "Ame\u0301lie met Ann"):
        assert [entity.text for entity in extract(text).entities][-1] == "Ann"
        check_offsets(extract(text), text)


@pytest.mark.parametrize("text", [None, 3, b"Ann", ["Ann"], "a\ud800"])
def test_what_is_no_text_is_refused(extract: trimf.Extractor, text: Any) -> None:
    with pytest.raises(trimf.InputError, match="text "):
        extract(text)
    texts = extract.stream(["Ann", text, "Bob"], batch_size=1)
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


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_how_many_triggers(tiny_bundle: Path, chain_parser: Parser, count: int) -> None:
    text = "Ann met , visited the zoo yyy in Rome b"
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser, triggers=count) as extract:
        (relation,) = extract(text).relations
    heaviest = ["yyy", "zoo", "met", "visited", "b"]
    assert [trigger.text for trigger in relation.triggers] == heaviest[:count]


def test_three_triggers_unless_told_otherwise(extract: trimf.Extractor) -> None:
    (relation,) = extract("Ann met , visited the zoo yyy in Rome b").relations
    assert len(relation.triggers) == 3
    assert [(trigger.start, trigger.end) for trigger in relation.triggers] == [(26, 29), (22, 25), (4, 7)]


def test_triggers_below_zero(tiny_bundle: Path) -> None:
    with pytest.raises(trimf.InputError, match="triggers must be >= 0, got -1"):
        trimf.load(tiny_bundle, triggers=-1)


def test_a_notice_for_unknown_words(extract: trimf.Extractor) -> None:
    text = f"Ann met {'y' * 70} .\n\nAnn met {'z' * 64} .\n\n\u200b Bob {'w' * 90} ."
    first, last = extract(text).notices
    assert first.startswith("1 word at characters 0-80 became the unknown token")
    assert first.endswith("first: 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy at character 8")
    assert last.startswith("2 words at characters 158-256 became the unknown token")
    assert last.endswith("first: '\\u200b' at character 158")


def test_a_notice_for_windows(extract: trimf.Extractor) -> None:
    words = ["met"] * 60
    words[2], words[5], words[30], words[33], words[59] = "Ann", "Rome", "Bob", "Oslo", "Jack"
    (extraction,) = extract.words([words])
    (notice,) = extraction.notices
    assert notice.startswith("the sentence at characters 0-242 was split into 3 overlapping windows; relations between")
    assert found(extraction) == (
        [("Ann", "Person"), ("Rome", "Place"), ("Bob", "Person"), ("Oslo", "Place"), ("Jack", "Person")],
        [("Ann", "lives_in", "Rome"), ("Bob", "lives_in", "Oslo")],
    )
    assert extract(" ".join(words[:24])).notices == ()


def test_a_notice_for_too_many_pairs(extract: trimf.Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Ann and Bob and Jack met ."
    assert extract(text).notices == ()
    monkeypatch.setattr(extract.pipeline, "max_pairs", 5)
    extraction = extract(text)
    assert len(extraction.entities) == 3
    assert extraction.notices == (
        "the sentence at characters 0-26 has too many entities to score every pair; relations were scored only between "
        "the most confident entities, 1 left out",
    )


def test_triggers_of_a_later_window_stand_where_they_are(extract: trimf.Extractor) -> None:
    words = [f"w{i}" for i in range(60)]
    words[50], words[52], words[54] = "Ann", "zzz", "Rome"
    (extraction,) = extract.words([words])
    (relation,) = extraction.relations
    assert relation.triggers[0].text == "zzz"
    check_offsets(extraction, " ".join(words))


def test_a_hundred_thousand_words_without_a_full_stop(extract: trimf.Extractor) -> None:
    words = ["met", "visited", "zoo", "Ann", "word", "the", "Rome", "y", "w", "v"] * 10_000
    begin = time.perf_counter()
    (extraction,) = extract.words([words])
    text = " ".join(words)
    from_text = extract(text)
    assert time.perf_counter() - begin < 60
    for result in (extraction, from_text):
        assert len(result.entities) == 20_000
        assert len(result.relations) > 20_000
        assert len(result.sentences) == len(result.notices) == 1
    assert from_text == extraction
    spans = [*extraction.entities, *(trigger for relation in extraction.relations for trigger in relation.triggers)]
    assert all(span.text == text[span.start : span.end] for span in spans)


def test_json(extract: trimf.Extractor) -> None:
    score = pytest.approx(1 / (1 + math.exp(-2) + math.exp(-4)))
    entity = {"start": 1, "end": 3, "text": "So", "label": "Place", "score": score}
    assert extract(" So").to_dict() == {"text": " So", "entities": [entity], "relations": []}


def test_json_of_relations(extract: trimf.Extractor) -> None:
    text = "Ann met Bob"
    content = extract(text).to_dict()
    assert content == {
        "text": text,
        "entities": [
            {"start": 0, "end": 3, "text": "Ann", "label": "Person", "score": content["entities"][0]["score"]},
            {"start": 8, "end": 11, "text": "Bob", "label": "Person", "score": content["entities"][1]["score"]},
        ],
        "relations": [
            {
                "head": 0,
                "tail": 1,
                "label": "knows",
                "score": pytest.approx(0.7310586),
                "triggers": [{"start": 4, "end": 7, "text": "met", "score": pytest.approx(0.625 + 0.25 * 14 / 32)}],
            }
        ],
    }
    assert json.loads(extract(text).to_json()) == content
    assert "notices" in extract("\u200b").to_dict()


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


@pytest.mark.parametrize("name", ["parsing_bundle", "tiny_bundle"])
def test_arcs_of_a_text(request: pytest.FixtureRequest, chain_parser: Parser, name: str) -> None:
    bundle = request.getfixturevalue(name)
    parser = chain_parser if name == "tiny_bundle" else None
    with trimf.load(bundle, threads=1, parser=parser, syntax="arcs") as extractor:
        doc = extractor("Ann met Bob. " + "x " * 40)
        first = [(arc.text, arc.head, arc.label) for arc in doc.arcs][:5]
        assert first == [
            ("Ann", 0, "ROOT"),
            ("met", 0, "chain"),
            ("Bob", 1, "chain"),
            (".", 2, "chain"),
            ("x", 4, "ROOT"),
        ]
        assert [arc.head for arc in doc.arcs[5:24]] == list(range(4, 23))
        assert len(doc.arcs) == 44
        assert all(doc.text[arc.start : arc.end] == arc.text for arc in doc.arcs)
        assert doc.to_dict()["arcs"][1] == {"start": 4, "end": 7, "text": "met", "head": 0, "label": "chain"}
        assert extractor("").arcs == ()
    with trimf.load(bundle, threads=1, parser=parser) as extractor:
        assert "arcs" not in extractor("Ann met Bob.").to_dict()


def test_the_manifest_says_who_parses(own_bundle: Path, edit_manifest: Callable[..., None]) -> None:
    edit_manifest(lambda content: content["parser"].update(source="encoder"))
    with pytest.raises(trimf.BundleError, match=r"encoder\.onnx: heads has shape None, but the manifest says"):
        trimf.load(own_bundle)


def test_an_encoder_that_parses_unasked(parsing_bundle: Path, tmp_path: Path, chain_parser: Parser) -> None:
    folder = Path(shutil.copytree(parsing_bundle, tmp_path / "copy"))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["parser"]["source"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(trimf.BundleError, match=r"encoder\.onnx: has an in-model parser .* the parser is chain"):
        trimf.load(folder, parser=chain_parser)


def test_the_manifest_says_what_weighs_triggers(own_bundle: Path, edit_manifest: Callable[..., None]) -> None:
    edit_manifest(lambda content: content.update(triggers="contribution"))
    with pytest.raises(trimf.BundleError, match=r"relations\.onnx: word_logits has shape None, but the manifest says"):
        trimf.load(own_bundle)


def test_triggers_by_what_words_add(
    own_bundle: Path, edit_manifest: Callable[..., None], chain_parser: Parser, extract: trimf.Extractor
) -> None:
    model = onnx.load(own_bundle / "relations.onnx")
    says = np.zeros((4, 2), np.float32)
    says[3] = 2, -1  # a verb for the first relation, and against the second
    model.graph.initializer.append(numpy_helper.from_array(says, "says"))
    model.graph.node.append(helper.make_node("MatMul", ["nodes", "says"], ["word_logits"]))
    shape = ["batch", "words", 2]
    model.graph.output.append(helper.make_tensor_value_info("word_logits", TensorProto.FLOAT, shape))
    onnx.save(model, own_bundle / "relations.onnx")
    content = (own_bundle / "relations.onnx").read_bytes()
    entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(lambda content: content["files"].update({"relations.onnx": entry}))
    with pytest.raises(
        trimf.BundleError, match=r"relations\.onnx: has the output word_logits, but the manifest says that"
    ):
        trimf.load(own_bundle, parser=chain_parser)
    edit_manifest(lambda content: content.update(triggers="contribution"))
    text = "Ann met , visited the zoo yyy in Rome b. Ann met Bob."
    with trimf.load(own_bundle, threads=1, parser=chain_parser) as other:
        for before, after in zip(extract(text).relations, other(text).relations, strict=True):
            assert (before.head, before.label, before.tail) == (after.head, after.label, after.tail)
            words = [] if after.label == "knows" else [(one.text, one.score) for one in before.triggers]
            assert [(one.text, one.score) for one in after.triggers] == [
                (word, pytest.approx(2 * score**2, rel=1e-3)) for word, score in words
            ]


def test_trees_of_a_model_without_scores(parsing_bundle: Path, tiny_bundle: Path, chain_parser: Parser) -> None:
    with (
        trimf.load(parsing_bundle, threads=1, syntax="tree") as extractor,
        pytest.raises(trimf.InputError, match=r"syntax=\"tree\" needs arc scores, which only the cpu backend returns"),
    ):
        extractor("Ann met Bob.")
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser, syntax="tree") as extractor:
        assert [arc.head for arc in extractor("Ann met Bob.").arcs] == [0, 0, 1, 2]


def test_what_syntax_may_be(tiny_bundle: Path, chain_parser: Parser) -> None:
    with pytest.raises(trimf.InputError, match="unknown syntax 'trees'; choose from None, 'arcs', 'tree'"):
        trimf.load(tiny_bundle, parser=chain_parser, syntax="trees")  # type: ignore[arg-type]

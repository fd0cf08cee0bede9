"""From decoded sentences to extractions: offsets, triggers, notices, arcs, JSON."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import trimf
from trimf.runtime.text.parser import Parser
from trimf.runtime.text.tokenization import split_sentences

from .tiny_rule import AWKWARD, check_offsets, found

TEXTS = st.lists(st.sampled_from([*AWKWARD, " ", "\n\n", ". "]) | st.text(max_size=12), max_size=6).map("".join)


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path, chain_parser: Parser) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser) as extractor:
        yield extractor


@pytest.fixture(scope="module")
def default() -> Iterator[trimf.Extractor]:
    with trimf.load(threads=1) as extractor:
        yield extractor


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


def test_the_same_letters_differently_composed_stay_the_callers(extract: trimf.Extractor) -> None:
    for text in ("Am\u00e9lie met Ann", "Ame\u0301lie met Ann"):
        assert [entity.text for entity in extract(text).entities][-1] == "Ann"
        check_offsets(extract(text), text)


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
    with pytest.raises(trimf.InputError, match="triggers must be an integer >= 0 or 'exact', got -1"):
        trimf.load(tiny_bundle, triggers=-1)


def test_a_notice_for_unknown_words(extract: trimf.Extractor) -> None:
    text = f"Ann met {'y' * 70} .\n\nAnn met {'z' * 64} .\n\n\u200b Bob {'w' * 90} ."
    first, last = extract(text).notices
    assert first.startswith("1 word at characters 0-80 became the unknown token")
    assert first.endswith(f": '{'y' * 20}'… at character 8")
    assert last.startswith("2 words at characters 158-256 became the unknown token")
    assert last.endswith(f": '\\u200b' at character 158, '{'w' * 20}'… at character 164")


def test_a_notice_names_few_of_many_unknown_words(extract: trimf.Extractor) -> None:
    (notice,) = extract(f"Ann met {' '.join('y' * 70 for _ in range(9))} .").notices
    assert notice.startswith("9 words")
    assert notice.count("yyy'…") == 3
    assert notice.endswith(", …")


@pytest.mark.parametrize("word", ["🎉", "☃", "ᚠᚢᚦ", "x" * 101, "\u4e8e\u5317"])
def test_the_default_bundle_names_words_that_it_cannot_read(default: trimf.Extractor, word: str) -> None:
    *_, notice = default(f"Jack Ruby lives in {word} near Dallas.").notices
    assert repr(word[:1])[:-1] in notice


def test_a_notice_for_letters_that_are_not_split_into_words(default: trimf.Extractor) -> None:
    text = "Jack Ruby met \u738b\u5c0f\u660e\u51fa\u751f in Dallas."
    assert "'\u738b\u5c0f\u660e\u51fa\u751f' at characters 14-19" in default(text).notices[0]
    assert default("Jack Ruby met \u738b\u5c0f in Dallas.").notices == ()
    (doc,) = default.words([["\u738b\u5c0f\u660e\u51fa\u751f", "."]])
    assert not any("rules of language" in notice for notice in doc.notices)


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


@pytest.mark.slow
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


@pytest.fixture
def say_what_words_add(own_bundle: Path, edit_manifest: Callable[..., None]) -> Path:
    """A bundle whose relations graph also says what each word adds to each relation type."""
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
    return own_bundle


def test_triggers_by_what_a_relation_loses(
    say_what_words_add: Path, edit_manifest: Callable[..., None], chain_parser: Parser, extract: trimf.Extractor
) -> None:
    with pytest.raises(
        trimf.BundleError, match=r"relations\.onnx: has the output word_logits, but the manifest says that"
    ):
        trimf.load(say_what_words_add, parser=chain_parser)
    edit_manifest(lambda content: content.update(triggers="contribution"))
    text = "Ann met , visited the zoo yyy in Rome b. Ann met Bob."
    with trimf.load(say_what_words_add, threads=1, parser=chain_parser) as other:
        for before, after in zip(extract(text).relations, other(text).relations, strict=True):
            assert (before.head, before.label, before.tail) == (after.head, after.label, after.tail)
            assert before.basis is None  # attention is no loss
            words = [] if after.label == "knows" else [(one.text, one.score) for one in before.triggers]
            assert after.basis == ("words" if words else "names")
            for trigger, (word, attention) in zip(after.triggers, words, strict=True):
                assert trigger.text == word
                odds = after.score / (1 - after.score) * math.exp(-2 * attention**2)
                assert trigger.score == pytest.approx(after.score - odds / (1 + odds), rel=1e-3)


def test_no_claim_about_triggers_that_were_not_asked_for(
    say_what_words_add: Path, edit_manifest: Callable[..., None], chain_parser: Parser
) -> None:
    edit_manifest(lambda content: content.update(triggers="contribution"))
    with trimf.load(say_what_words_add, threads=1, parser=chain_parser, triggers=0, candidates=True) as extract:
        doc = extract("Ann met , visited the zoo yyy in Rome b. Ann met Bob.")
        given = extract.relate("Ann met Bob", [(0, 3, "Person"), (8, 11, "Person")])
    found = [*doc.relations, *given.relations, *(doc.candidates.relations if doc.candidates else ())]
    assert len(found) > 3
    assert {(relation.triggers, relation.basis) for relation in found} == {((), None)}


def test_what_relations_rest_on_everywhere(
    say_what_words_add: Path, edit_manifest: Callable[..., None], chain_parser: Parser
) -> None:
    edit_manifest(lambda content: content.update(triggers="contribution"))
    words = [f"w{i}" for i in range(60)]
    words[50], words[52], words[54] = "Ann", "zzz", "Rome"
    with trimf.load(say_what_words_add, threads=1, parser=chain_parser, candidates=True) as extract:
        doc, (long,) = extract("Ann met Bob"), extract.words([words])
        given = extract.relate("Ann met Bob", [(0, 3, "Person"), (8, 11, "Person")])
    assert doc.candidates is not None
    assert [relation.basis for relation in (*doc.relations, *doc.candidates.relations, *given.relations)] == [
        "names"
    ] * 3
    (relation,) = long.relations
    assert (relation.triggers[0].text, relation.basis) == ("zzz", "words")


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


def test_json(extract: trimf.Extractor) -> None:
    score = pytest.approx(1 / (1 + math.exp(-2) + math.exp(-4)))
    entity = {"start": 1, "end": 3, "text": "So", "label": "Place", "score": score}
    assert extract(" So").to_dict() == {
        "text": " So",
        "entities": [entity],
        "relations": [],
        "sentences": [{"start": 1, "end": 3}],
    }


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
                "basis": None,
            }
        ],
        "sentences": [{"start": 0, "end": 11}],
    }
    assert json.loads(extract(text).to_json()) == content
    assert "notices" in extract("\u200b").to_dict()

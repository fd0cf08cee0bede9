"""Running text is evaluated as it is extracted: the same sentences, words, entities and relations, by characters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.parsers import ObedientParser

import trimf
from trimf.cli import main
from trimf.runtime.bundle.labels import Labels
from trimf.runtime.errors import DataError
from trimf_train.data.document import (
    AnnotatedDocument,
    EntityAnnotation,
    RelationAnnotation,
    normalize_document,
    trim_entity,
)
from trimf_train.data.document_splitting import DEFAULT_SPLITTING, split_document
from trimf_train.data.reading_report import ReadingReport
from trimf_train.evaluation import prediction
from trimf_train.evaluation.annotation import document_annotation
from trimf_train.evaluation.documents import evaluate_documents, predict_documents
from trimf_train.evaluation.evaluate import evaluate_file
from trimf_train.evaluation.model_loading import LoadedModel, open_model
from trimf_train.evaluation.reachability import describe_unreachable, find_unreachable
from trimf_train.evaluation.scores import compute_scores
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint

TEXTS = [
    "Lee Harvey Oswald was shot by Jack Ruby in Dallas. He died at Parkland Hospital in Dallas, Texas.",
    "Jack Ruby lived in Dallas.\r\n\r\n\tThe Associated Press is based in New York \U0001f680 (AP)\n\nRome",
    "",
    " \n ",
    "Zoe\u0308 A\u030angstro\u0308m works for Siemens AG in Mu\u0308nchen, Germany.",
    "- Dallas\n- Texas\n\n" + "Jack Ruby , who lived in Dallas , Texas , " * 60 + ".",
]
PIECES = ["Jack Ruby", "Dr. A.", "Dallas.", "\r\n", "\n\n", "\t", "e\u0301\U0001f469\u200d\U0001f680", "(", "x--", "."]


@pytest.fixture(scope="module")
def extract() -> trimf.Extractor:
    return trimf.load(threads=1, syntax="arcs")


@pytest.fixture(scope="module")
def default_model() -> LoadedModel:
    return open_model("default", 1)


def keys(doc: trimf.Extraction) -> tuple[set[Any], set[Any]]:
    """Entities and relations of an extraction, as an evaluation compares them."""

    def key(entity: trimf.Entity) -> tuple[int, int, str]:
        return entity.start, entity.end, entity.label

    return set(map(key, doc.entities)), {(key(one.head), key(one.tail), one.label) for one in doc.relations}


def annotate(doc: trimf.Extraction, id: str = "d") -> AnnotatedDocument:
    """Gold annotation of exactly what was extracted."""
    entities, relations = (sorted(found) for found in keys(doc))
    return AnnotatedDocument(
        doc.text,
        [EntityAnnotation(*entity) for entity in entities],
        [RelationAnnotation(entities.index(head), entities.index(tail), label) for head, tail, label in relations],
        id,
    )


def test_predictions_are_what_extraction_finds(extract: trimf.Extractor, default_model: LoadedModel) -> None:
    expected = list(extract.stream(TEXTS))
    found = predict_documents(default_model, map(AnnotatedDocument, TEXTS), ReadingReport())
    for document, doc in zip(found, expected, strict=True):
        predicted = document.join_predictions()
        assert (set(predicted.entities), set(predicted.relations)) == keys(doc)
        assert len(document.results) == len(doc.sentences)
    assert sum(len(doc.relations) for doc in expected) > 3
    gold = [annotate(doc) for doc in expected]
    scores = evaluate_documents(default_model, gold, calibration=True)
    assert scores["entities"]["micro"]["f1"] == scores["relations"]["strict"]["micro"]["f1"] == 100
    assert scores["calibration"]["relations"]["right"] == scores["calibration"]["entities"]["right"] == 1
    assert scores["unreachable"] == {"entities": [], "relations": []}
    assert (scores["documents"], scores["compared"], scores["language"]) == (len(TEXTS), "characters", "en")
    assert scores["sentences"] == sum(len(doc.sentences) for doc in expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=12))
def test_training_reads_the_words_that_extraction_reads(extract: trimf.Extractor, parts: list[str]) -> None:
    text = " ".join(parts)
    doc = extract(text)
    split = split_document(AnnotatedDocument(text), DEFAULT_SPLITTING, ReadingReport())
    spans = [list(zip(words.starts, words.ends, words.words, strict=True)) for words in split.sentences]
    assert [word for sentence in spans for word in sentence] == [(arc.start, arc.end, arc.text) for arc in doc.arcs]
    assert [(sentence[0][0], sentence[-1][1]) for sentence in spans] == list(doc.sentences)
    assert [sentence.tokens for sentence in split.to_sentences()] == [words.words for words in split.sentences]


def test_what_the_splitting_makes_impossible_counts_as_missed(
    extract: trimf.Extractor, default_model: LoadedModel
) -> None:
    text = "Jack Ruby lived in Dallas. Lee Oswald died there."
    doc = annotate(extract(text))
    found, related = len(doc.entities), len(doc.relations)
    extra = [(0, 3, "Peop"), (19, 30, "Loc"), (31, 37, "Place"), (19, 26, "Loc"), (27, 38, "Peop"), (5, 9, "Loc")]
    entities = [*doc.entities, *(EntityAnnotation(*one) for one in extra), doc.entities[0]]
    dallas = next(index for index, entity in enumerate(doc.entities) if text[entity.start : entity.end] == "Dallas")
    pairs = [(0, found, "Kill"), (0, found + 4, "Kill"), (0, found + 6, "Kill"), (0, dallas, "Born_In")]
    pairs += [(dallas, 0, "Live_In")]
    relations = [*doc.relations, *(RelationAnnotation(*one) for one in pairs), *doc.relations]
    scores = evaluate_documents(default_model, [AnnotatedDocument(text, entities, relations, "d")])
    new = {(text[start:end].strip(), label) for start, end, label in extra}
    known = {(text[entity.start : entity.end], entity.label) for entity in doc.entities}
    assert scores["entities"]["micro"]["support"] == len(known | new)
    assert scores["entities"]["micro"]["precision"] == 100
    assert scores["relations"]["strict"]["micro"]["support"] == related + len(pairs)
    reasons = {reason["reason"]: (reason["count"], reason["labels"]) for reason in scores["unreachable"]["entities"]}
    assert reasons == {
        "with a start or end inside a word": (1, {"Peop": 1}),
        "across sentences": (1, {"Loc": 1}),
        "with a label that the model does not have": (1, {"Place": 1}),
    }
    assert {reason["reason"]: reason["count"] for reason in scores["unreachable"]["relations"]} == {
        "of such entities": 1,
        "across sentences": 1,
        "of an entity with itself": 1,
        "with a label that the model does not have": 1,
        "between entity types that the model does not connect so": 1,
    }


def test_long_entities_and_unconnected_types_are_out_of_reach() -> None:
    names = Labels(("A", "B"), ("r", "s"), (), ("s",), (("A", "r", "B"), ("A", "s", "B")))
    text = "one two three four"
    entities = [EntityAnnotation(0, 3, "A"), EntityAnnotation(4, 7, "B"), EntityAnnotation(0, 13, "A")]
    pairs = [(0, 1, "r"), (1, 0, "r"), (1, 0, "s"), (0, 0, "s"), (2, 1, "r"), (1, 0, "t")]
    document = AnnotatedDocument(text, entities, [RelationAnnotation(*pair) for pair in pairs], "d")
    report = ReadingReport()
    split = split_document(document, DEFAULT_SPLITTING, report)
    found = find_unreachable([split], report, names, 2)
    assert [(reason["reason"], reason["count"]) for reason in found["entities"]] == [
        ("longer than the 2 words of the model's span limit", 1)
    ]
    assert found["entities"][0]["examples"] == ["'one two three' (A, 0 to 13 of document d)"]
    assert {reason["reason"]: reason["count"] for reason in found["relations"]} == {
        "of an entity with itself": 1,
        "with a label that the model does not have": 1,
        "between entity types that the model does not connect so": 1,
        "of such entities": 1,
    }
    assert found["relations"][-1]["reason"] == "of such entities"


@given(st.data(), st.sets(st.sampled_from("rs")))
def test_repeated_annotation_counts_once(data: st.DataObject, symmetric: set[str]) -> None:
    text = " ab  cd ef "
    spans = data.draw(st.lists(st.sampled_from([(0, 3), (1, 3), (1, 4), (5, 7), (5, 10), (8, 10)]), min_size=1))
    entities = [EntityAnnotation(*span, data.draw(st.sampled_from("AB"))) for span in spans]
    ends = st.integers(0, len(spans) - 1)
    triples = data.draw(st.lists(st.tuples(ends, ends, st.sampled_from("rs"))))
    document = AnnotatedDocument(text, entities, [RelationAnnotation(*one) for one in triples])
    trimmed = [trim_entity(text, one) for one in entities]
    assert all(text[one.start : one.end].strip() == text[one.start : one.end] for one in trimmed)
    once = normalize_document(document, symmetric)
    expected = {
        (frozenset((trimmed[head], trimmed[tail])) if label in symmetric else (trimmed[head], trimmed[tail]), label)
        for head, tail, label in triples
    }
    assert set(once.entities) == set(trimmed)
    assert len(once.entities) == len(set(trimmed))
    assert len(once.relations) == len(expected)
    scores = compute_scores([document_annotation(once)], [document_annotation(once)], symmetric)
    assert scores["relations"]["strict"]["micro"]["support"] == len(once.relations)
    assert scores["entities"]["micro"]["support"] == len(once.entities)


def test_labels_from_outside_cannot_move_the_cursor() -> None:
    label = "A\x1b[2J\nB"
    document = AnnotatedDocument("one", [EntityAnnotation(0, 3, label)], id=label)
    split = split_document(document, DEFAULT_SPLITTING, ReadingReport())
    found = find_unreachable([split], ReadingReport(), Labels(("A",), ("r",), ()), None)
    (line, _) = describe_unreachable(found, 1, 0)
    assert line.isprintable()


def write(path: Path, *documents: AnnotatedDocument) -> Path:
    records = []
    for document in documents:
        entities = [{"start": one.start, "end": one.end, "label": one.label} for one in document.entities]
        relations = [{"head": one.head, "tail": one.tail, "label": one.label} for one in document.relations]
        records.append({"text": document.text, "entities": entities, "relations": relations, "id": document.id})
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_the_command_says_what_was_compared(
    extract: trimf.Extractor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    doc = annotate(extract(TEXTS[0]))
    lost = EntityAnnotation(0, 2, "Peop")
    data = write(tmp_path / "d.jsonl", AnnotatedDocument(doc.text, [*doc.entities, lost], doc.relations, "d"))
    assert main(["eval", "default", str(data), "--threads", "1", "--protocol", "scierc", "--calibration"]) == 0
    shown = capsys.readouterr().out
    count = len(doc.entities) + 1
    assert "(1 document, 2 sentences)" in shown
    assert "compared by characters, in running text that was split as for extraction (language 'en')" in shown
    assert (
        f"no prediction can equal 1 of the {count} entities: 1 with a start or end inside a word, such as 'Le'" in shown
    )
    assert f"predictions can equal all {len(doc.relations)} relations" in shown
    assert shown.splitlines()[-1].startswith("SciERC: ")
    assert main(["eval", "default", str(data), "--json", "--threshold", "1", "--threads", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["compared"] == "characters"
    assert printed["unreachable"]["entities"][0]["count"] == 1
    assert printed["relations"]["strict"]["micro"]["recall"] == 0
    data.write_text('{"text": " ", "entities": []}\n', encoding="utf-8")
    assert main(["eval", "default", str(data), "--threads", "1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_checkpoint_with_an_external_parser_reads_text(
    create: Callable[..., Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained model finds something in every sentence, if its thresholds let it."""
    torch.manual_seed(0)
    checkpoint = create()
    checkpoint.save(tmp_path / "model")
    monkeypatch.setattr(prediction, "load_parser", lambda name: ObedientParser())
    text = "Alice lives in Paris. Bob visits Rome!"
    pipeline = inference.build_pipeline(checkpoint)
    words = [["Alice", "lives", "in", "Paris", "."], ["Bob", "visits", "Rome", "!"]]
    results = pipeline.run_words(words, lambda: ObedientParser().parse(words))
    names, starts = checkpoint.description.labels, [[0, 6, 12, 15, 20], [22, 26, 33, 37]]
    entities = []
    for result, offsets, sentence in zip(results, starts, words, strict=True):
        for span in result.decoded.entities:
            end = offsets[span.end - 1] + len(sentence[span.end - 1])
            entities.append(EntityAnnotation(offsets[span.start], end, names.entity_types[span.type_index]))
    assert entities
    scores = evaluate_file(tmp_path / "model", write(tmp_path / "d.jsonl", AnnotatedDocument(text, entities)))
    assert scores["entities"]["micro"]["f1"] == 100
    assert (scores["sentences"], scores["documents"]) == (2, 1)


def test_documents_without_words_cannot_be_evaluated(default_model: LoadedModel) -> None:
    with pytest.raises(DataError, match="the documents contain no words"):
        evaluate_documents(default_model, [AnnotatedDocument(" ")])

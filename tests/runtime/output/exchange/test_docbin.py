"""spaCy documents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from support.hard_extractions import EMPTY, FAILED, PLAIN, SMILE, build, extractions

from trimf.runtime.errors import BackendError
from trimf.runtime.output.exchange.docbin import RELATIONS, write_docbin
from trimf.runtime.output.exchange.settings import Losses, ToolSettings
from trimf.runtime.results import Extraction


def write(path: Path, results: Sequence[Extraction], losses: Losses | None = None) -> list[Doc]:
    write_docbin(iter(results), path, ToolSettings(), losses or Losses())
    return list(DocBin().from_disk(path).get_docs(Vocab()))


def test_a_document(tmp_path: Path) -> None:
    losses = Losses()
    doc, empty, failed, plain = write(tmp_path / "x.spacy", [SMILE, EMPTY, FAILED, PLAIN], losses)
    assert doc.text == SMILE.text
    assert [(span.text, span.label_) for span in doc.ents] == [
        ("Ann", "Person"), ("Bob\r\nStone", "Person"), ("New\nYork", "City"), ("NY", "City"),
    ]  # fmt: skip
    assert [(span.text, span.label_) for span in doc.spans["sc"]] == [(one.text, one.label) for one in SMILE.entities]
    assert doc.spans["sc"].attrs["scores"] == [one.score for one in SMILE.entities]
    first = [span.start for span in doc.spans["sc"]]
    assert doc.user_data[RELATIONS] == {
        (first[0], first[1]): {"met": 1.0, "knows": 1.0},
        (first[1], first[0]): {"met": 1.0},
        (first[1], first[2]): {"lives in": 1.0},
    }
    assert doc.user_data["relation_scores"][first[0], first[1]] == {"met": 0.75, "knows": 0.75}
    assert (doc.user_data["id"], empty.user_data["id"], failed.user_data["error"]) == (
        "7", "empty", "line 3: no field 'text'",
    )  # fmt: skip
    assert [token.text for token in plain] == ["Nothing", "here", "."]
    assert (len(empty), len(failed)) == (0, 0)
    assert losses.describe() == []
    assert all(token.ent_iob_ in "BIO" for token in doc)


def test_sentences(tmp_path: Path) -> None:
    text = "\n Ann left.  Bob stayed."
    extraction = Extraction(text, sentences=((2, 11), (13, 24)))
    (doc,) = write(tmp_path / "x.spacy", [extraction])
    assert [sentence.text for sentence in doc.sents] == ["\n Ann left.  ", "Bob stayed."]


def test_relations_of_entities_with_the_same_first_word(tmp_path: Path) -> None:
    nested = build("New York Times of Rome", [("New York", "City"), ("New York Times", "Org"), ("Rome", "City")],
                   [(0, "near", 2), (1, "in", 2)])  # fmt: skip
    losses = Losses()
    (doc,) = write(tmp_path / "x.spacy", [nested], losses)
    assert [span.text for span in doc.ents] == ["New York Times", "Rome"]
    assert doc.user_data[RELATIONS] == {(0, 4): {"near": 1.0, "in": 1.0}}
    assert losses.describe() == [
        "relations that doc._.rel cannot tell apart, because entities begin with the same word (1): "
        "'New York Times' in 'Rome'"
    ]


@settings(deadline=None, max_examples=50)
@given(st.lists(extractions(), max_size=3))
def test_every_entity_is_a_span(results: list[Extraction]) -> None:
    with TemporaryDirectory() as folder:
        docs = write(Path(folder) / "x.spacy", results)
    assert [doc.text for doc in docs] == [result.text for result in results]
    for doc, result in zip(docs, results, strict=True):
        spans = [(one.start_char, one.end_char, one.label_) for one in doc.spans["sc"]]
        assert spans == [(one.start, one.end, one.label) for one in result.entities]
        assert {(one.start_char, one.end_char, one.label_) for one in doc.ents} <= set(spans)
        places = {one.start: one.start_char for one in doc.spans["sc"]}
        assert {(places[a], label, places[b]) for (a, b), scores in doc.user_data[RELATIONS].items()
                for label in scores} == {(one.head.start, one.label, one.tail.start)
                                         for one in result.relations}  # fmt: skip


def test_without_spacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy.tokens", None)
    with pytest.raises(BackendError, match="--format spacy needs spaCy, which cannot be imported"):
        write_docbin(iter([PLAIN]), tmp_path / "x.spacy", ToolSettings(), Losses())
    assert list(tmp_path.iterdir()) == []

"""Files of doccano, Prodigy, brat, spaCy and Hugging Face as the tools write them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from trimf.runtime.errors import BackendError, DataError
from trimf_train.data.document import AnnotatedDocument
from trimf_train.data.readers import FORMATS, detect_format, read_sentences
from trimf_train.data.reading_report import ReadingReport

SAMPLES = Path(__file__).parents[1] / "samples"
ENTITIES = [("Ada Lovelace", "Person"), ("Charles Babbage", "Person"), ("London", "City")]
RELATIONS = [("Ada Lovelace", "met", "Charles Babbage"), ("Ada Lovelace", "located_in", "London")]


def read(path: Path, format: str) -> tuple[list[AnnotatedDocument], ReadingReport]:
    report = ReadingReport()
    reader = FORMATS[format].read_documents
    assert reader is not None
    return list(reader(path, report)), report


def covered(document: AnnotatedDocument) -> list[tuple[str, str]]:
    return [(document.text[e.start : e.end], e.label) for e in document.entities]


def triples(document: AnnotatedDocument) -> list[tuple[str, str, str]]:
    words = [text for text, _ in covered(document)]
    return [(words[r.head], r.label, words[r.tail]) for r in document.relations]


@pytest.mark.parametrize(
    ("name", "format", "count"),
    [
        ("doccano.jsonl", "doccano", {"unchecked_offsets": 1, "converted_offsets": 1}),
        (
            "prodigy.jsonl",
            "prodigy",
            {"rejected_documents": 2, "further_annotations": 1},
        ),
        (
            "brat",
            "brat",
            {
                "discontinuous_entities": 1,
                "relations_of_lost_entities": 1,
                "other_annotations": 4,
                "unannotated_documents": 1,
            },
        ),
    ],
)
def test_sample(name: str, format: str, count: dict[str, int]) -> None:
    assert detect_format(SAMPLES / name) == format
    documents, report = read(SAMPLES / name, format)
    assert covered(documents[-1]) == ENTITIES
    assert triples(documents[-1]) == RELATIONS
    assert documents[-1].text.startswith("\U0001f600\tNews\r\n")
    assert report.counts == count


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def failure(path: Path, format: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        list(read_sentences(path, format))
    return str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"id": 1, "text": "Ada met Bob", "label": [[0, 3, "P"], [8, 11, "P"]], "Comments": []},
        {"id": 1, "data": "Ada met Bob", "label": [[0, 3, "P"], [8, 11, "P"]]},
        {"text": "Ada met Bob", "labels": [[0, 3, "P"], [8, 11, "P"]]},
        {"doc_id": 23, "text": "Ada met Bob", "entities": [[0, 3, "P"], [8, 11, "P"]], "username": "admin"},
        {"id": 2, "text": "Ada met Bob", "entities": [[0, 3, "P"], [8, 11, "P"]], "cats": ["x"]},
    ],
)
def test_older_records_of_doccano(tmp_path: Path, record: dict[str, Any]) -> None:
    empty = {name: [] if isinstance(value, list) else value for name, value in record.items()}
    for path in (write(tmp_path / "x", empty, record), write(tmp_path / "y", [empty, record])):
        assert detect_format(path) == "doccano"
        documents, report = read(path, "doccano")
        assert [covered(document) for document in documents] == [[], [("Ada", "P"), ("Bob", "P")]]
        assert not report.counts


def test_offsets_of_doccano_are_reported_only_where_they_are_ambiguous(tmp_path: Path) -> None:
    texts = ["Zoë met Bob", "Zoë met Bob \U0001f600", "\U0001f600 Zoë met Bob"]
    records = []
    for text in texts:
        start = len(text[: text.index("Bob")].encode("utf-16-le")) // 2
        records.append({"text": text, "label": [[start, start + 3, "P"]]})
    documents, report = read(write(tmp_path / "x", *records), "doccano")
    assert [covered(document) for document in documents] == [[("Bob", "P")]] * 3
    assert report.counts == {"unchecked_offsets": 1, "converted_offsets": 1}


def test_labels_of_doccano_as_numbers_are_refused(tmp_path: Path) -> None:
    span = {"start_offset": 0, "end_offset": 3, "label": 5, "user": 1}
    path = write(tmp_path / "x", {"text": "Ada", "annotations": [span]})
    assert "annotations[0].label is the number 5" in failure(path)


ADA, BOB = {"start": 0, "end": 3}, {"start": 8, "end": 11}


def prodigy(**fields: Any) -> dict[str, Any]:
    words = [("Ada", 0, 3), ("met", 4, 7), ("Bob", 8, 11)]
    tokens = [{"text": text, "start": s, "end": e, "id": i, "ws": True} for i, (text, s, e) in enumerate(words)]
    spans = [{"start": 0, "end": 3, "label": "P"}, {"start": 8, "end": 11, "label": "P"}]
    places = [{**span, "token_start": i, "token_end": i} for span, i in zip(spans, (0, 2), strict=True)]
    return {"text": "Ada met Bob", "tokens": tokens, "spans": places, "answer": "accept", **fields}


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ({"head": 0, "child": 2, "label": "R"}, [("Ada", "R", "Bob")]),
        ({"head": 2, "child": 0, "label": "R"}, [("Bob", "R", "Ada")]),
        ({"head": 0, "child": 1, "label": "R"}, []),
        ({"head": 0, "child": 99, "label": "R"}, []),
        ({"head": 0, "child": 2}, [("Ada", "related", "Bob")]),
        (
            {
                "head": 9,
                "child": 9,
                "label": "R",
                "head_span": {"start": 8, "end": 11},
                "child_span": {"start": 0, "end": 3},
            },
            [("Bob", "R", "Ada")],
        ),
    ],
)
def test_ends_of_relations_of_prodigy(tmp_path: Path, relation: Any, expected: list[tuple[str, str, str]]) -> None:
    (document,), report = read(write(tmp_path / "x", prodigy(relations=[relation])), "prodigy")
    assert triples(document) == expected
    assert report.counts["relations_of_unknown_entities"] == (not expected)


def test_tokens_of_prodigy_that_do_not_fit_are_named(tmp_path: Path) -> None:
    moved = prodigy()
    moved["spans"][1]["end"] = 10
    assert "spans[1]: start and end must be those of its tokens, 8 and 11, got 8 and 10" in failure(
        write(tmp_path / "x", moved)
    )
    moved["spans"][1]["token_end"] = 9
    assert "spans[1]: token_start and token_end must be indices of the 3 tokens" in failure(
        write(tmp_path / "x", moved)
    )


def brat(folder: Path, text: str, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text(text, encoding="utf-8", newline="")
    (folder / "a.ann").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return folder


def test_spans_of_brat_over_a_line_end_are_one(tmp_path: Path) -> None:
    path = brat(tmp_path / "x", "Ada\r\nLovelace, Bob", "T1\tP 0 3;5 13\tAda Lovelace", "T2\tP 0 3;15 18\tAda Bob")
    (document,), report = read(path, "brat")
    assert covered(document) == [("Ada\r\nLovelace", "P")]
    assert report.counts == {"discontinuous_entities": 1}


@pytest.mark.parametrize("shift", [0, 1])
def test_byte_order_mark_of_a_text_of_brat(tmp_path: Path, shift: int) -> None:
    path = brat(tmp_path / "x", "\ufeffAda met Bob", f"T1\tP {8 + shift} {11 + shift}\tBob")
    (document,), _ = read(path, "brat")
    assert (document.text, covered(document)) == ("Ada met Bob", [("Bob", "P")])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("T1\tP 0 3", ""),
        ("T1\tP 0 3\tBob", "line 1: offsets: 0 to 3 covers 'Ada', but the file says 'Bob'"),
        ("T1\tP 0 99\tAda", "line 1: offsets must be a span within the 11 characters of the text, got [0, 99]"),
        ("T1\tP 0\tAda", "line 1: T must be a label with its offsets"),
        ("T1 P 0 3 Ada", "line 1: T must be a label with its offsets"),
        ("T1\tP 0 " + "9" * 5000, "line 1: T must be a label with its offsets"),
        ("R1\tR Arg1:T1", "line 1: R must be a relation as in"),
        ("hello", "line 1: must begin with T, R, E, A, M, N, # or *"),
    ],
)
def test_lines_of_brat(tmp_path: Path, line: str, expected: str) -> None:
    path = brat(tmp_path / "x", "Ada met Bob", line)
    if expected:
        assert expected in failure(path)
    else:
        assert len(list(read_sentences(path))) == 1


def test_files_of_brat_that_are_missing(tmp_path: Path) -> None:
    path = brat(tmp_path / "x", "Ada", "T1\tP 0 3\tAda", "T1\tP 0 3\tAda")
    assert "line 2: id must be an id that no other line has, got 'T1'" in failure(path)
    (path / "a.txt").unlink()
    assert "its text a.txt is missing" in failure(path)
    (path / "a.ann").unlink()
    assert "is a folder, and in no format of folders" in failure(path)
    assert "is a folder without .ann files" in failure(path, "brat")
    (path / "b.txt").write_text("x")
    assert "b.ann: no such file" in failure(path / "b.txt", "brat")


def test_docbin(tmp_path: Path) -> None:
    from spacy.tokens import Doc, DocBin, Span
    from spacy.vocab import Vocab

    if not Doc.has_extension("rel"):
        Doc.set_extension("rel", default={})
    doc = Doc(Vocab(), words=["\U0001f600", "\r\n", "Ada", "Lovelace", "met", "Bob"], spaces=[True, False] + [True] * 4)
    doc.ents = [Span(doc, 2, 4, "P"), Span(doc, 5, 6, "P")]
    doc.spans["sc"] = [Span(doc, 2, 4, "P"), Span(doc, 2, 3, "Name")]
    doc.spans["other"] = [Span(doc, 4, 5, "X")]
    doc._.rel = {(2, 5): {"met": 1.0, "knows": 0.0}, (5, 2): {"met": 0.0}, (5, 4): {"met": 1.0}}
    plain = Doc(Vocab(), words=["Nothing"])
    path = tmp_path / "x.bin"
    DocBin(docs=[doc, plain], store_user_data=True).to_disk(path)
    assert detect_format(path) == "spacy"
    (first, second), report = read(path, "spacy")
    assert first.text == "\U0001f600 \r\nAda Lovelace met Bob "
    assert covered(first) == [("Ada Lovelace", "P"), ("Bob", "P"), ("Ada", "Name")]
    assert triples(first) == [("Ada Lovelace", "met", "Bob")]
    assert covered(second) == []
    assert report.counts == {"other_annotations": 1, "relations_of_unknown_entities": 1}
    doc._.rel = ["wrong"]
    DocBin(docs=[doc], store_user_data=True).to_disk(path)
    assert "document 1: doc._.rel must be a dictionary" in failure(path)


@pytest.mark.parametrize("name", ["saved_words", "tags.parquet"])
def test_words_of_datasets(name: str) -> None:
    pytest.importorskip("pyarrow")
    assert detect_format(SAMPLES / name) == "datasets"
    first, second = read_sentences(SAMPLES / name)
    assert first.tokens == ["Ada", "Lovelace", "knew", "Babbage", "\U0001f600", "."]
    assert [(e.type, e.start, e.end) for e in first.entities] == [("Person", 0, 2), ("Person", 3, 4)]
    assert [(r.type, r.head, r.tail) for r in first.relations] == [("knows", 0, 1)]
    assert (second.tokens, second.entities, second.id) == (["Nothing", "here", "."], [], "1")


def test_text_of_datasets() -> None:
    pytest.importorskip("pyarrow")
    assert detect_format(SAMPLES / "saved_text") == "datasets-text"
    (document,), _ = read(SAMPLES / "saved_text", "datasets-text")
    assert document.text == "Hi \U0001f600\r\n\tAda Lovelace knew Babbage."
    assert triples(document) == [("Ada Lovelace", "knows", "Babbage")]


def test_shards_and_splits_of_datasets(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    (tmp_path / "data").mkdir()
    for number, word in enumerate(["a", "b"]):
        table = pyarrow.Table.from_pylist([{"tokens": [word], "ner_tags": ["B-P"]}])
        pq.write_table(table, tmp_path / "data" / f"train-0000{number}-of-00002.parquet")
    for path in (tmp_path, tmp_path / "data", tmp_path / "data" / "train-00001-of-00002.parquet"):
        assert [sentence.tokens for sentence in read_sentences(path)] == [["a"], ["b"]]
    shutil.copy(tmp_path / "data" / "train-00000-of-00002.parquet", tmp_path / "data" / "test.parquet")
    assert "has the parts 'data/test.parquet', 'data/train-00000-of-00002.parquet'; name one of them" in failure(
        tmp_path
    )
    assert len(list(read_sentences(tmp_path / "data" / "test.parquet"))) == 1


def test_damaged_folders_of_datasets(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = Path(shutil.copytree(SAMPLES / "saved_words", tmp_path / "x"))
    for state, expected in (
        ({"_data_files": [{"filename": "../secret.arrow"}]}, "which is not in this folder"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "gone.arrow: no such file"),
        ({}, "must name its files in _data_files"),
        ({"_data_files": 3}, "must name its files in _data_files"),
    ):
        (folder / "state.json").write_text(json.dumps(state))
        assert expected in failure(folder, "datasets")


def test_rows_of_datasets_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"tokens": ["a"], "ner_tags": [3]})
    assert "ner_tags[0] is 3, not a tag as B-Person; save the data set with save_to_disk" in failure(path)
    path = write(tmp_path / "x", {"tokens": ["a"], "ner_tags": []})
    assert "ner_tags must be a list of tags, one for each item of tokens, got []" in failure(path)
    path = write(tmp_path / "x", {"text": "a", "entities": []})
    assert "needs the columns tokens with ner_tags or entities, got 'text', 'entities'; use --format datasets-text" in (
        failure(path, "datasets")
    )


def test_datasets_without_pyarrow_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BackendError, match=r"pip install \"trimf\[datasets\]\""):
        list(read_sentences(SAMPLES / "saved_words"))

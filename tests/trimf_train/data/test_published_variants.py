"""Data as others publish it: optional fields, layouts of JSON, and annotation that no model can use."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.cli import main
from trimf.runtime.errors import DataError
from trimf_train.data.json_records import read_json_records
from trimf_train.data.prepare import prepare_file
from trimf_train.data.readers import detect_format, read_sentences
from trimf_train.data.sentence import EntityMention, RelationMention
from trimf_train.data.statistics import DataStatistics

SENTENCES = [["Ann", "met", "Bob", "."], ["He", "left", "."]]
NER: list[Any] = [[[0, 0, "P"], [2, 2, "P"]], [[4, 4, "P"]]]
RELATIONS: list[Any] = [[[0, 0, 2, 2, "Met"]], []]
DOCUMENT: dict[str, Any] = {"doc_key": "d", "sentences": SENTENCES, "ner": NER, "relations": RELATIONS}
RECORD: dict[str, Any] = {
    "tokens": SENTENCES[0],
    "entities": [{"type": "P", "start": 0, "end": 1}, {"type": "P", "start": 2, "end": 3}],
    "relations": [{"type": "Met", "head": 0, "tail": 1}],
    "orig_id": 7,
}


def read(path: Path, text: str | bytes) -> tuple[list[Any], DataStatistics]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    statistics = DataStatistics()
    return list(read_sentences(path, statistics=statistics)), statistics


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"doc_key": 12},
        {"doc_key": None, "doc_id": "other"},
        {"dataset": "scierc", "weight": 0.5, "_weight": [1, 1], "clusters": [[[0, 0], [4, 4]]]},
        {"events": [[[[1, "Meet"], [0, 0, "Agent"]]], []], "event_clusters": [], "predicted_clusters": []},
        {"_sentence_start": [0, 4], "sentence_start": [0, 4], "sentence_starts": [0, 4]},
        {"predicted_ner": [[[0, 0, "P", 9.1, 0.9]], []], "predicted_relations": [[], []], "predicted_events": [[], []]},
        {"predicted_re": [[[0, 0, 2, 2, "Met"]], []], "relations_gold": None, "ner_seq": []},
        {"ner": [[[0, 0, "P", 3.5, 0.9], [2, 2, "P", 1, 1.0]], [[4, 4, "P"]]]},
        {"relations": [[[0, 0, 2, 2, "Met", 4.5, 0.75]], []]},
    ],
)
def test_fields_that_dygie_files_may_have(tmp_path: Path, extra: dict[str, Any]) -> None:
    found, statistics = read(tmp_path / "x", json.dumps({**DOCUMENT, **extra}))
    assert [len(sentence.entities) for sentence in found] == [2, 1]
    assert found[0].relations == [RelationMention("Met", 0, 1)]
    assert not statistics.report.describe_left_out()


@pytest.mark.parametrize("absent", [(), ("doc_key",), ("relations",), ("relations", "ner"), ("ner", "doc_key")])
@pytest.mark.parametrize("null", [False, True])
def test_fields_that_dygie_files_may_lack(tmp_path: Path, absent: tuple[str, ...], null: bool) -> None:
    document = {
        name: None if name in absent else value for name, value in DOCUMENT.items() if null or name not in absent
    }
    found, statistics = read(tmp_path / "x", json.dumps(document))
    assert [sentence.tokens for sentence in found] == SENTENCES
    assert statistics.entities == (0 if "ner" in absent else 3)
    assert statistics.relations == (0 if {"ner", "relations"} & set(absent) else 1)
    assert statistics.report.counts["relations_without_entities"] == ("ner" in absent and "relations" not in absent)
    assert found[0].id == ("line 1:0" if "doc_key" in absent else "d:0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"sentences": [SENTENCES[0], [], SENTENCES[1]], "ner": [NER[0], [], NER[1]], "relations": [*RELATIONS, []]},
            "1 sentence without words",
        ),
        ({"relations": [[[0, 0, 2, 2, "Met"], [0, 0, 4, 4, "Met"]], []]}, "1 relation across sentences"),
        (
            {"relations": [[[0, 0, 2, 2, "Met"]], [[4, 4, 0, 0, "Met"], [0, 0, 2, 2, "Met"]]]},
            "2 relations across sentences",
        ),
        ({"relations": [[[0, 0, 2, 2, "Met"], [2, 2, 2, 2, "Met"]], []]}, "1 relation of an entity with itself"),
        ({"ner": None}, "1 relation of documents without entities"),
    ],
)
def test_what_no_model_can_use_is_left_out_and_counted(
    tmp_path: Path, changes: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x"
    found, statistics = read(path, json.dumps({**DOCUMENT, **changes}))
    assert [sentence.tokens for sentence in found] == SENTENCES
    assert statistics.relations == (0 if changes == {"ner": None} else 1)
    assert statistics.report.describe_left_out() == said
    assert not caplog.messages  # whoever passes statistics reports them
    with caplog.at_level(logging.WARNING):
        list(read_sentences(path))
    assert caplog.messages == [f"{path}: left out {said}"]


def test_words_are_counted_over_empty_sentences_and_identifiers_keep_their_numbers(tmp_path: Path) -> None:
    document = {"doc_key": "d", "sentences": [[], SENTENCES[0], [], SENTENCES[1]], "ner": [[], NER[0], [], NER[1]]}
    found, statistics = read(tmp_path / "x", json.dumps(document))
    assert [sentence.id for sentence in found] == ["d:1", "d:3"]
    assert found[1].entities == [EntityMention("P", 0, 1)]
    assert statistics.report.counts["empty_sentences"] == 2
    assert "       2  sentences without words left out" in str(statistics)


def test_spert_records_that_no_model_can_use(tmp_path: Path) -> None:
    loop = {**RECORD, "relations": [{"type": "Met", "head": 1, "tail": 1}, *RECORD["relations"]]}
    twice = {**RECORD, "entities": [RECORD["entities"][0]] * 2}
    empty = {"tokens": [], "entities": [], "relations": [], "orig_id": 3}
    found, statistics = read(tmp_path / "x", json.dumps([loop, empty, twice]))
    assert [sentence.relations for sentence in found] == [[RelationMention("Met", 0, 1)], []]
    assert statistics.report.describe_left_out() == "1 sentence without words, 2 relations of an entity with itself"


@pytest.mark.parametrize(
    "extra",
    [
        {"orig_id": "D1_4"},
        {"orig_id": 4.0},
        {"orig_id": None},
        {"pos": ["NN"] * 4, "dep": [], "ltokens": [], "rtokens": ["x"], "sents": "ignored"},
        {"entities": [{**entity, "text": "x", "score": 0.5} for entity in RECORD["entities"]]},
        {"relations": [{**RECORD["relations"][0], "confidence": 0.5}]},
    ],
)
@pytest.mark.parametrize("layout", ["list", "lines", "pretty"])
def test_fields_and_layouts_of_spert_files(tmp_path: Path, extra: dict[str, Any], layout: str) -> None:
    record = {**RECORD, **extra}
    lines = json.dumps(record) + "\n"
    text = {"list": json.dumps([record, record]), "lines": lines * 2, "pretty": json.dumps(record, indent=2) * 2}[
        layout
    ]
    found, _ = read(tmp_path / "x", text)
    assert detect_format(tmp_path / "x") == "spert"
    assert [sentence.relations for sentence in found] == [[RelationMention("Met", 0, 1)]] * 2


def test_spert_records_without_relations_or_identifier(tmp_path: Path) -> None:
    bare = {"tokens": ["a"], "entities": []}
    found, _ = read(tmp_path / "x", json.dumps([bare, {**bare, "relations": None}]))
    assert [sentence.id for sentence in found] == ["1", "2"]


@pytest.mark.parametrize(
    ("record", "format"),
    [
        ({"tokens": ["a"]}, "prepared"),
        ({"tokens": ["a"], "entities": [], "relations": []}, "prepared"),
        ({"tokens": ["a"], "entities": [], "relations": [], "id": "1", "orig_id": 1}, "prepared"),
        ({"tokens": ["a"], "heads": [0], "lables": ["x"]}, "prepared"),
        ({"tokens": ["a"], "entities": [], "relations": [], "orig_id": 1}, "spert"),
    ],
)
def test_prepared_and_spert_lines_are_told_apart(tmp_path: Path, record: dict[str, Any], format: str) -> None:
    (tmp_path / "x").write_text(json.dumps(record))
    assert detect_format(tmp_path / "x") == format


LAYOUTS = {
    "lines": lambda records: "".join(json.dumps(record) + "\n" for record in records),
    "lines, blank lines between and after": lambda records: "\n\n".join(map(json.dumps, records)) + "\n\n \n",
    "Windows lines": lambda records: "\r\n".join(map(json.dumps, records)) + "\r\n",
    "one line": lambda records: " ".join(map(json.dumps, records)),
    "pretty": lambda records: "\n".join(json.dumps(record, indent=2) for record in records),
    "pretty, tabs": lambda records: "\n\n".join(json.dumps(record, indent="\t") for record in records) + "\n",
    "list": json.dumps,
    "pretty list": lambda records: json.dumps(records, indent=4),
    "list, an item a line": lambda records: "[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_layout_of_dygie_documents(tmp_path: Path, layout: str, mark: bytes) -> None:
    documents = [DOCUMENT, {**DOCUMENT, "doc_key": "Zoë"}]
    found, _ = read(tmp_path / "x", mark + LAYOUTS[layout](documents).encode())
    assert [sentence.id for sentence in found] == ["d:0", "d:1", "Zoë:0", "Zoë:1"]
    assert [sentence.tokens for sentence in found] == SENTENCES * 2


@given(
    st.lists(
        st.dictionaries(st.text(), st.lists(st.text() | st.integers() | st.none(), max_size=3), min_size=1), max_size=4
    ),
    st.sampled_from(sorted(LAYOUTS)),
)
def test_records_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], layout: str
) -> None:
    path = tmp_path_factory.mktemp("records") / "x"
    path.write_bytes(LAYOUTS[layout](records).encode())
    assert [json.loads(record.content) for record in read_json_records(path)] == records


def test_a_broken_file_names_the_line(tmp_path: Path) -> None:
    pretty = json.dumps(DOCUMENT, indent=2)
    lines = pretty.count("\n") + 1
    for text, line in (
        (pretty + "\n" + pretty[:-2], 2 * lines - 1),
        (pretty + "\n}\n", lines + 1),
        (pretty.replace('"ner"', "ner"), 1 + pretty[: pretty.index('"ner"')].count("\n")),
    ):
        with pytest.raises(
            DataError, match=rf"line {line}: .*not valid JSON|not valid JSON.*line {line}|line {line}: not"
        ):
            read(tmp_path / "x", text)
    second = {**DOCUMENT, "ner": [NER[0], [[0, 0, "P"]]]}
    with pytest.raises(DataError, match=rf"x: line {lines + 1}, sentence 1: ner\[1\]\[0\] must be a span within"):
        read(tmp_path / "x", pretty + "\n" + json.dumps(second, indent=2))
    with pytest.raises(DataError, match=r"x: record 2, sentence 1: ner\[1\]\[0\] must be a span within"):
        read(tmp_path / "x", json.dumps([DOCUMENT, second]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"{}", mtime=0), "is compressed with gzip; decompress it first"),
        (bz2.compress(b"{}"), "is compressed with bzip2; decompress it first"),
        (b"PK\x03\x04rest", "is a zip archive; extract it first"),
        ("{}".encode("utf-16"), "is UTF-16 text; save the file as UTF-8"),
    ],
)
@pytest.mark.parametrize("format", [None, "spert", "dygie", "ade", "prepared"])
def test_files_that_are_no_text(tmp_path: Path, content: bytes, said: str, format: str | None) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_sentences(path, format))
    assert str(caught.value) == f"{path}: {said}"


def test_other_formats_are_refused(tmp_path: Path) -> None:
    for record, said in (
        ({"doc_id": "d", "tokens": ["a"], "entity_mentions": []}, "missing required field 'entities'"),  # OneIE
        ({"sents": [["a"]], "vertexSet": []}, "unknown data format"),  # DocRED
    ):
        with pytest.raises(DataError, match=said):
            read(tmp_path / "x", json.dumps(record))


def test_prepare_reports_what_was_left_out_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "data.json"
    source.write_text(json.dumps([{**DOCUMENT, "relations": [[[0, 0, 4, 4, "Met"]], []]}]))
    assert main(["prepare", str(source), str(tmp_path / "out.jsonl")]) == 0
    said = capsys.readouterr().err
    assert said.count("1  relations across sentences left out") == 1
    assert not caplog.messages
    source.write_text(json.dumps([{"sentences": [[]]}]))
    with pytest.raises(DataError, match=r"no sentences; at least one is needed \(left out: 1 sentence without words\)"):
        prepare_file(source, tmp_path / "none.jsonl", parser=None)  # type: ignore[arg-type]

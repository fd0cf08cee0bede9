"""Tables of relations."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hard_extractions import EMPTY, FAILED, PLAIN, SMILE, build, extractions

from trimf.runtime.errors import InputError
from trimf.runtime.output.exchange.settings import Losses, ToolSettings
from trimf.runtime.output.exchange.triples import COLUMNS, write_triples_csv, write_triples_jsonl, write_triples_tsv
from trimf.runtime.output.writers import check_destination
from trimf.runtime.results import Extraction, Relation, Trigger

WRITERS = {"\t": write_triples_tsv, ",": write_triples_csv}


def write_table(results: Sequence[Extraction], delimiter: str) -> list[list[str]]:
    stream = io.StringIO(newline="")
    WRITERS[delimiter](iter(results), stream, ToolSettings(), Losses())
    return list(csv.reader(io.StringIO(stream.getvalue(), newline=""), delimiter=delimiter, strict=True))


def write_lines(results: Sequence[Extraction]) -> list[dict[str, Any]]:
    stream = io.StringIO()
    write_triples_jsonl(iter(results), stream, ToolSettings(), Losses())
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


def test_rows() -> None:
    header, *rows = write_table([EMPTY, SMILE, PLAIN, FAILED], "\t")
    assert header == list(COLUMNS)
    assert header[:4] == ["head", "relation", "tail", "score"]
    assert len(rows) == 4
    assert rows[0] == ["Ann", "met", "Bob\r\nStone", "0.75", "Person", "Person", "2", "5", "10", "20", SMILE.text, "",
                       "", "", "2", "7", ""]  # fmt: skip
    assert write_table([], ",") == [header]
    assert write_lines([]) == []


def test_the_sentence_and_the_triggers() -> None:
    text = "Hm. Bob shot and killed Ann. So."
    start = text.index("Bob")
    bob, ann = (one.entities[0] for one in (_one(text, "Bob"), _one(text, "Ann")))
    kill = Relation(bob, "Kill", ann, 0.5, (Trigger(17, 23, "killed", 0.9), Trigger(8, 12, "shot", 0.4)))
    extraction = Extraction(text, (bob, ann), (kill,), ((0, 3), (start, 28), (29, 32)))
    (row,) = extraction.to_triples()
    assert row["sentence"] == "Bob shot and killed Ann."
    assert row["triggers"] == ["killed", "shot"]
    assert (row["points"], row["basis"]) == ([], None)  # it is not said that the scores are losses
    assert write_table([extraction], ",")[1][11:14] == ["killed; shot", "", ""]
    assert write_lines([extraction]) == [{**row, "number": 1, "id": None, "path": None}]
    assert Extraction(text, (bob, ann), (kill,)).to_triples()[0]["sentence"] == text


def test_what_a_relation_loses() -> None:
    text = "Ann is based in Rome. Rome, Ann"
    ann, rome = (one.entities[0] for one in (_one(text, "Ann"), _one(text, "Rome")))
    words = (Trigger(7, 15, "based in", 0.31449), Trigger(4, 6, "is", 0.05))
    found = (Relation(ann, "Live_In", rome, 0.5, words, "words"), Relation(rome, "Has", ann, 0.5, (), "names"))
    extraction = Extraction(text, (ann, rome), found)
    assert [(row["triggers"], row["points"], row["basis"]) for row in extraction.to_triples()] == [
        (["based in", "is"], [31.4, 5.0], "words"),
        ([], [], "names"),
    ]
    assert [row[11:14] for row in write_table([extraction], "\t")[1:]] == [
        ["based in; is", "31.4; 5.0", "words"],
        ["", "", "names"],
    ]


def _one(text: str, words: str) -> Extraction:
    return build(text, [(words, "P")], [])


@settings(deadline=None, max_examples=50)
@given(st.lists(extractions(), max_size=3), st.sampled_from(sorted(WRITERS)))
def test_values_are_read_back_exactly(results: list[Extraction], delimiter: str) -> None:
    _, *rows = write_table(results, delimiter)
    expected = [triple for result in results for triple in result.to_triples()]
    assert [row[:3] for row in rows] == [[one["head"], one["relation"], one["tail"]] for one in expected]
    assert [(float(row[3]), int(row[6]), int(row[9])) for row in rows] == [
        (one["score"], one["head_start"], one["tail_end"]) for one in expected
    ]
    assert [row[10] for row in rows] == [one["sentence"] for one in expected]
    lines = write_lines(results)
    assert [{key: line[key] for key in COLUMNS[:14]} for line in lines] == expected
    texts = {number: result.text for number, result in enumerate(results, 1)}
    assert all(texts[line["number"]][line["head_start"] : line["head_end"]] == line["head"] for line in lines)


@pytest.mark.parametrize(("format_", "name", "right"), [
    ("triples", "t.csv", "triples-csv"),
    ("triples-csv", "t.TSV", "triples"),
    ("triples-csv", "t.jsonl", "triples-jsonl"),
])  # fmt: skip
def test_an_ending_of_another_table(format_: str, name: str, right: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"its ending is that of --format {right}, not of --format {format_}"):
        check_destination(format_, tmp_path / name)
    check_destination(right, tmp_path / name)
    check_destination(format_, tmp_path / "t.txt")

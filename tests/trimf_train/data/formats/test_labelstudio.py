"""Exports of Label Studio."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from trimf.runtime.errors import DataError
from trimf_train.data.document import AnnotatedDocument, EntityAnnotation, RelationAnnotation
from trimf_train.data.formats.labelstudio import read_labelstudio
from trimf_train.data.readers import detect_format, read_documents
from trimf_train.data.reading_report import ReadingReport

SAMPLES = Path(__file__).parents[1] / "samples"


def region(id: str, start: Any, end: int, *labels: str, **value: Any) -> dict[str, Any]:
    place = {"start": start, "end": end, "labels": list(labels), **value}
    return {"id": id, "type": "labels", "to_name": "text", "from_name": "label", "value": place}


def relation(head: str, tail: str, **fields: Any) -> dict[str, Any]:
    return {"type": "relation", "from_id": head, "to_id": tail, "direction": "right", "labels": ["R"], **fields}


def task(*result: dict[str, Any], text: str = "Ada met Bob", **fields: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": list(result)}], **fields}


def read(tmp_path: Path, *tasks: dict[str, Any]) -> tuple[list[AnnotatedDocument], ReadingReport]:
    path = tmp_path / "x"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    assert detect_format(path) == "labelstudio"
    report = ReadingReport()
    return list(read_labelstudio(path, report)), report


def failure(tmp_path: Path, *tasks: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *tasks)
    return str(caught.value).removeprefix(f"{tmp_path / 'x'}: ")


ADA, BOB = region("a", 0, 3, "P"), region("b", 8, 11, "P")


def test_sample() -> None:
    report = ReadingReport()
    first, second = read_labelstudio(SAMPLES / "labelstudio.json", report)
    assert [first.text[e.start : e.end] for e in first.entities] == ["Ada Lovelace", "Charles Babbage", "London"]
    assert first.relations == [
        RelationAnnotation(0, 1, "met"),
        RelationAnnotation(1, 0, "met"),
        RelationAnnotation(0, 2, "located_in"),
    ]
    assert (first.id, second.id, second.entities) == ("1", "4", [])
    assert report.counts == {
        "further_annotations": 1,
        "rejected_documents": 1,
        "unannotated_documents": 1,
        "other_annotations": 1,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"direction": "right"}, [(0, 1, "R")]),
        ({"direction": "left"}, [(1, 0, "R")]),
        ({"direction": "bi"}, [(0, 1, "R"), (1, 0, "R")]),
        ({"direction": None}, [(0, 1, "R")]),
        ({"labels": ["R", "S"]}, [(0, 1, "R"), (0, 1, "S")]),
        ({"labels": []}, [(0, 1, "related")]),
        ({"labels": None}, [(0, 1, "related")]),
        ({"to_id": "gone"}, []),
        ({"to_id": "a"}, []),
    ],
)
def test_relations(tmp_path: Path, fields: dict[str, Any], expected: list[tuple[int, int, str]]) -> None:
    (document,), report = read(tmp_path, task(ADA, BOB, relation("a", "b", **fields)))
    assert [(r.head, r.tail, r.label) for r in document.relations] == expected
    assert bool(expected) != bool(
        report.counts["relations_of_unknown_entities"] + report.counts["relations_with_itself"]
    )
    assert report.counts["unlabelled_relations"] == ("related" in str(expected))


def test_a_relation_may_come_before_its_regions(tmp_path: Path) -> None:
    (document,), _ = read(tmp_path, task(relation("a", "b"), ADA, BOB))
    assert document.relations == [RelationAnnotation(0, 1, "R")]


def test_regions_with_several_labels_and_with_none(tmp_path: Path) -> None:
    other = {**region("a", 0, 3, "Q"), "from_name": "second"}
    choices = {"id": "a", "type": "choices", "value": {"choices": ["x"]}}
    result = [region("a", 0, 3, "P", "S"), other, choices, region("b", 8, 11), relation("a", "b"), relation("b", "a")]
    (document,), report = read(tmp_path, task(*result))
    assert document.entities == [EntityAnnotation(0, 3, label) for label in "PSQ"]
    assert document.relations == []
    assert report.counts == {"unlabelled_entities": 1, "relations_of_lost_entities": 2, "other_annotations": 1}


def test_the_ground_truth_is_taken_before_the_first(tmp_path: Path) -> None:
    annotations: list[dict[str, Any]] = [
        {"result": [ADA], "was_cancelled": True},
        {"result": []},
        {"result": [BOB], "ground_truth": True},
    ]
    (document,), report = read(tmp_path, task(annotations=annotations))
    assert document.entities == [EntityAnnotation(8, 11, "P")]
    assert report.counts == {"further_annotations": 1}


def test_completions_of_old_versions(tmp_path: Path) -> None:
    old = task()
    del old["annotations"]
    (document,), _ = read(tmp_path, {**old, "completions": [{"result": [ADA]}]})
    assert document.entities == [EntityAnnotation(0, 3, "P")]


@pytest.mark.parametrize("name", ["body", "text", "text2"])
def test_the_labelled_field_is_found(tmp_path: Path, name: str) -> None:
    data = {"title": "Bob and Ada", "id": 3, name: "Ada met Bob"}
    (document, other), _ = read(
        tmp_path,
        {**task(region("a", 0, 3, "P", text="Ada")), "data": data},
        {**task(), "data": {"title": "x", name: "Nothing"}},
    )
    assert (document.text, other.text) == ("Ada met Bob", "Nothing")


def test_offsets_that_nothing_decides_are_counted(tmp_path: Path) -> None:
    text = "\U0001f600 Ada met Bob"
    (document,), report = read(tmp_path, task(region("a", 3, 6, "P"), region("b", 11, 14, "P"), text=text))
    assert [text[e.start : e.end] for e in document.entities] == ["Ada", "Bob"]
    assert report.counts == {"unchecked_offsets": 1, "converted_offsets": 1}


def test_regions_of_white_space_alone_are_counted(tmp_path: Path) -> None:
    (document,), report = read(tmp_path, task(ADA, region("s", 3, 4, "P"), BOB, relation("s", "b"), relation("a", "b")))
    assert document.entities == [EntityAnnotation(0, 3, "P"), EntityAnnotation(8, 11, "P")]
    assert document.relations == [RelationAnnotation(0, 1, "R")]
    assert report.counts == {"blank_entities": 1, "relations_of_lost_entities": 1}


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (
            task(region("a", 0, 30, "P")),
            "result[0].value must be a span within the 11 characters of the text",
        ),
        (task(region("a", -1, 3, "P")), "annotations[0].result[0].value must be a span within"),
        (task(region("a", 3, 3, "P")), "annotations[0].result[0].value must be a span within"),
        (task(region("a", 0, 3, "P", text="Bob")), "0 to 3 covers 'Ada', but the file says 'Bob'"),
        (task(ADA, region("a", 8, 11, "P")), "result[1].id must be an id that no other region has, got 'a'"),
        (task(ADA, BOB, relation("a", "b", direction="up")), "result[2].direction must be right, left or bi, got 'up'"),
        (task({"type": "hypertextlabels", "value": {}}), "mark places in a page, not characters of a text"),
        (task({"type": "paragraphlabels", "value": {}}), "mark places in a page, not characters of a text"),
        (task(region("a", "/p[1]/text()[1]", 3, "P")), "start is a place in a page (HyperText)"),
        (
            task(region("a", 0.5, 3, "P")),
            "result[0].value: start: expected int, got float: 0.5",
        ),
        (task(ADA, {**BOB, "to_name": "x"}), "has regions of several texts, 'text', 'x'; label one text in a task"),
        (
            task(region("a", 900, 950, "P"), text="https://example.com/a.txt"),
            "holds the address 'https://example.com/a.txt'",
        ),
        (
            {**task(ADA), "data": {"a": "Ada", "b": "Ada"}},
            "cannot tell which field holds the text; the fields are 'a', 'b'",
        ),
        ({**task(), "annotations": [], "predictions": [{"result": []}]}, "1 have predictions alone; accept them"),
    ],
)
def test_errors(tmp_path: Path, broken: dict[str, Any], expected: str) -> None:
    message = failure(tmp_path, deepcopy(broken))
    assert expected in message
    assert message.startswith(("record 1: ", "no task has an annotation"))


def test_exports_without_relations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"record 1: looks like a Label Studio JSON-MIN export.*\"JSON\" instead"):
        list(read_documents(SAMPLES / "labelstudio_min.json") or ())
    path = tmp_path / "x.csv"
    path.write_text("annotation_id,annotator,created_at,id,label,lead_time,text,updated_at\n1,1,,1,[],1,a,\n")
    with pytest.raises(DataError, match="line 1: looks like a Label Studio CSV or TSV export"):
        list(read_documents(path) or ())

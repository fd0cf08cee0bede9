"""``trimf relate`` and ``trimf eval --given-entities``, on the shipped bundle and on CoNLL04."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trimf
from trimf.cli import main

RECORDS = [
    {"text": "Ann works for IBM.", "entities": [{"start": 0, "end": 3, "label": "person"}, [14, 17, "Org"]], "id": 7},
    {"text": "Bob", "entities": [[0, 2, "Peop"]]},
    {"text": "x"},
]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    return path


def test_relations_of_a_file(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["relate", str(records), "--type", "person=Peop", "--format", "jsonl"]
    assert main([*arguments, "--on-error", "replace"]) == 0
    shown = capsys.readouterr()
    first, second, third = map(json.loads, shown.out.splitlines())
    assert [one["label"] for one in first["entities"]] == ["person", "Org"]
    assert [(one["head"], one["label"], one["tail"]) for one in first["relations"]] == [(0, "Work_For", 1)]
    assert first["id"] == 7
    assert "inside a word" in second["error"]
    assert "no field 'entities'" in third["error"]
    assert "2 texts could not be read" in shown.err
    assert main([*arguments, "--on-error", "skip", "--misaligned", "snap"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert "1 text could not be read" in shown.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "the model has no entity type 'person'; did you mean 'Peop'"),
        (["--type", "person"], "--type takes NAME=TYPE"),
        (["--type", "person=Loc", "--threshold", "2"], "from 0 to 1"),
        (["--type", "person=Peop"], "inside a word"),
    ],
)
def test_one_line_says_what_is_wrong(
    records: Path, options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relate", str(records), *options]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.splitlines()) == 1


def test_found_entities_of_conll04_give_the_same_relations(shared_data: Path) -> None:
    sentences = json.loads((shared_data / "conll04" / "test.json").read_text(encoding="utf-8"))[:100]
    words = [sentence["tokens"] for sentence in sentences]
    with trimf.load() as extract:
        found = list(extract.words(words))
        pairs = [(tokens, one.entities) for tokens, one in zip(words, found, strict=True)]
        related = list(extract.relate_stream(pairs, 7, words=True))
        texts = [one.text for one in found]
        alone = [extract.relate(text, extract(text).entities) for text in texts[:10]]
        assert [one.relations for one in alone] == [extract(text).relations for text in texts[:10]]
    for before, after in zip(found, related, strict=True):
        assert after.entities == before.entities
        ends = [[(one.head, one.label, one.tail) for one in result.relations] for result in (before, after)]
        assert ends[0] == ends[1]
        scores = [[one.score for one in result.relations] for result in (before, after)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_given_entities_in_an_evaluation(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(shared_data / "conll04" / "test.json")
    assert main(["eval", "default", data, "--given-entities", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["given_entities"] is True
    assert scores["entities"]["micro"]["f1"] == 100
    assert scores["relations"]["strict"]["micro"]["f1"] >= 73
    assert main(["eval", "default", data, "--given-entities"]) == 0
    shown = capsys.readouterr().out
    assert "entities given, relation F1" in shown
    assert "Entities (" not in shown

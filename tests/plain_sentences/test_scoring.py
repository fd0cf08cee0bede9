"""What counts as a right trigger or triple, on made-up results; and the results files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure_plain_sentences as tool
import pytest
import render_results
from score_plain_sentences import (
    JudgedRelation,
    TriggerScore,
    judge_news,
    judge_triggers,
    name_triple,
    score_news,
    score_triggers,
)

from trimf.runtime.results import Entity, Extraction, Relation, Trigger

TEXT = "Ann, born in Rome, lives in Bonn and was born to sing."
ANN = {"start": 0, "end": 3, "text": "Ann", "label": "Peop"}
ROME = {"start": 13, "end": 17, "text": "Rome", "label": "Loc"}
BONN = {"start": 28, "end": 32, "text": "Bonn", "label": "Loc"}


def entity(record: dict[str, Any]) -> Entity:
    return Entity(record["start"], record["end"], record["text"], record["label"], 1.0)


def trigger(phrase: str) -> Trigger:
    start = TEXT.index(phrase)
    return Trigger(start, start + len(phrase), phrase, 0.3)


def judge(marked: list[str], shown: Sequence[str] | None, tail: dict[str, Any] = ROME) -> JudgedRelation:
    link = Relation(entity(ANN), "Live_In", entity(tail), 0.9, tuple(map(trigger, shown or ())))
    extraction = Extraction(TEXT, (), () if shown is None else (link,))
    relation = {"head": 0, "label": "Live_In", "tail": 1, "triggers": marked}
    record = {"text": TEXT, "entities": [ANN, tail], "relations": [relation]}
    (judged,) = judge_triggers([record], lambda *_: extraction)
    return judged


@pytest.mark.parametrize(
    ("marked", "shown", "right"),
    [
        (["born in"], ["born"], True),
        (["born"], ["born in"], True),
        (["lives in"], ["born", "lives"], False),  # only the first trigger counts
        (["sing", "lives in"], ["lives"], True),
        (["lives in"], [], False),
        ([], [], True),
        ([], ["sing"], False),
        (["was born to"], ["to sing"], False),  # they share a stop word alone
        (["was born to sing"], ["to sing"], True),
        (["liv"], ["lives"], False),  # no whole word
    ],
)
def test_the_first_trigger_needs_a_content_word_of_a_marked_phrase(
    marked: list[str], shown: list[str], right: bool
) -> None:
    judged = judge(marked, shown)
    assert judged.found
    assert judged.is_right is right


def test_a_relation_that_is_not_found_is_no_right_none() -> None:
    judged = judge([], None)
    assert not judged.found
    assert not judged.is_right


def test_counts_leave_out_what_is_not_found() -> None:
    judged = [
        *(judge(["born in"], shown) for shown in (["born"], ["sing"], [], None)),
        *(judge([], shown) for shown in (["sing"], [], None)),
    ]
    score = score_triggers(judged)
    assert score == TriggerScore(7, found=5, shown=3, marked=3, marked_right=1, unmarked=2, unmarked_right=1)
    assert score.to_percent() == {
        "found": pytest.approx(100 * 5 / 7),
        "precision": pytest.approx(100 / 3),
        "recall": pytest.approx(100 / 3),
        "none": 50,
    }


def test_nothing_at_all_has_no_score() -> None:
    assert score_triggers([]).to_percent() == {"found": 0, "precision": 0, "recall": 0, "none": 0}
    assert score_news([]).to_percent() == {"precision": 0, "recall": 0, "empty": 0}


def link(head: str, label: str, tail: str) -> Relation:
    return Relation(Entity(0, 1, head, "Peop", 1.0), label, Entity(2, 3, tail, "Loc", 1.0), 0.9)


def test_triples_are_right_missed_wrong_or_accepted() -> None:
    triples = [["Ann", "Live_In", "Rome"], ["Ann", "Live_In", "Bonn"]]
    records = [
        {"text": "a", "triples": triples, "implied": [["Ann", "Live_In", "Italy"]]},
        {"text": "b", "triples": []},
        {"text": "c", "triples": []},
    ]
    found = {
        "a": (link("Ann", "Live_In", "Rome"), link("Ann", "Live_In", "Italy"), link("Ann", "Kill", "Rome")),
        "b": (link("Ann", "Live_In", "Rome"),),
        "c": (),
    }
    judged = judge_news(records, lambda text: Extraction(text, (), found[text]))
    assert judged[0].right == {("Ann", "Live_In", "Rome")}
    assert judged[0].missed == {("Ann", "Live_In", "Bonn")}
    assert judged[0].wrong == {("Ann", "Kill", "Rome")}
    assert score_news(judged) == (1, 1, 2, 2, 1)
    assert len(tool.describe_news_faults(judged)) == 3


def test_an_article_before_a_name_does_not_count() -> None:
    assert name_triple("The World Bank", "OrgBased_In", "the Hague") == ("World Bank", "OrgBased_In", "Hague")
    assert name_triple("Theo", "Live_In", "Athens") == ("Theo", "Live_In", "Athens")


def test_measuring_again_replaces_the_rows_of_the_same_bundle_and_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "plain-triggers.json"
    about = {"command": "python x", "device": "d", "date": "2026-01-01", "commit": "abcdef1"}
    for mode, judged in (("sensor", [judge([], [])]), ("exact", []), ("sensor", [judge(["lives in"], [])])):
        tool.write_results(target, tool.TRIGGER_TABLE, tool.build_trigger_rows("one", mode, judged), 2, about)
    monkeypatch.setattr(render_results, "RESULTS", tmp_path)
    content = render_results.load("plain-triggers")
    assert [row[1:5] for row in content["rows"]] == [
        ["exact", "all", "", ""],
        ["sensor", "all", "1 of 1 (100 %)", "0 of 1 (0 %)"],
        ["sensor", "`Live_In`", "1 of 1 (100 %)", "0 of 1 (0 %)"],
    ]
    assert [entry["rows"] for entry in content["measured"]] == ["`one`, exact", "`one`, sensor"]


def test_faults_name_the_sentence_and_what_was_shown() -> None:
    wrong, unfound = tool.describe_trigger_faults([judge(["born in"], ["sing"]), judge([], [], BONN), judge([], None)])
    assert wrong == f"wrong trigger: Ann Live_In Rome; marked born in; shown sing; {TEXT}"
    assert unfound.startswith("not found: Ann Live_In Rome; marked none; shown none")


def test_a_folder_without_a_bundle_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1

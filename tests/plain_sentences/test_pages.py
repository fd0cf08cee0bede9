"""The pages of plain sentences are what they say: whole words, possible relations, marked words that are there."""

from __future__ import annotations

from typing import Any

import pytest
from score_plain_sentences import NEWS_PAGE, TRIGGER_PAGE, content_words, find_phrase, read_page

#: Entity types of the head and the tail of each relation type of the default bundle.
RELATION_TYPES = {
    "Kill": ("Peop", "Peop"),
    "Live_In": ("Peop", "Loc"),
    "Located_In": ("Loc", "Loc"),
    "OrgBased_In": ("Org", "Loc"),
    "Work_For": ("Peop", "Org"),
}
TRIGGERS, NEWS = read_page(TRIGGER_PAGE), read_page(NEWS_PAGE)


def name(record: dict[str, Any]) -> str:
    return str(record["text"][:40])


@pytest.mark.parametrize("record", [*TRIGGERS, *NEWS], ids=name)
def test_entities_are_where_they_are_said_to_be(record: dict[str, Any]) -> None:
    end = 0
    for entity in record["entities"]:
        assert end <= entity["start"] < entity["end"]
        assert record["text"][entity["start"] : entity["end"]] == entity["text"]
        assert entity["label"] in ("Loc", "Org", "Peop", "Other")
        end = entity["end"]


@pytest.mark.parametrize("record", TRIGGERS, ids=name)
def test_relations_and_marked_words_are_possible(record: dict[str, Any]) -> None:
    entities, text = record["entities"], record["text"]
    inside = {index for entity in entities for index in range(entity["start"], entity["end"])}
    assert record["relations"]
    for relation in record["relations"]:
        labels = entities[relation["head"]]["label"], entities[relation["tail"]]["label"]
        assert labels == RELATION_TYPES[relation["label"]]
        for phrase in relation["triggers"]:
            places = find_phrase(text, phrase)
            assert places
            for place in places:
                assert content_words(text, place), "a trigger that is a stop word can never be right"
                assert inside.isdisjoint(range(*place))


@pytest.mark.parametrize("record", NEWS, ids=name)
def test_triples_are_between_entities(record: dict[str, Any]) -> None:
    labels = {entity["text"]: entity["label"] for entity in record["entities"]}
    for head, label, tail in record["triples"] + record.get("implied", []):
        assert (labels[head], labels[tail]) == RELATION_TYPES[label]


def test_there_are_as_many_as_the_docs_say() -> None:
    assert len({record["text"] for record in TRIGGERS}) == len(TRIGGERS) == 100
    assert sum(any(relation["triggers"] for relation in record["relations"]) for record in TRIGGERS) == 72
    assert len({record["text"] for record in NEWS}) == len(NEWS) == 40
    assert sum(not record["triples"] for record in NEWS) == 10


@pytest.mark.parametrize("label", RELATION_TYPES)
def test_every_type_occurs_often(label: str) -> None:
    marked = [
        link for record in TRIGGERS for link in record["relations"] if link["label"] == label and link["triggers"]
    ]
    assert len(marked) >= 10
    assert sum(triple[1] == label for record in NEWS for triple in record["triples"]) >= 4

"""The values an extraction is made of, and their JSON."""

import json

import msgspec
import pytest

from trimf.runtime.errors import InputError
from trimf.runtime.results import Candidates, Entity, Extraction, Relation, Trigger

TEXT = "Jack Ruby shot Lee Harvey Oswald."
RUBY = Entity(0, 9, "Jack Ruby", "Peop", 0.9)
OSWALD = Entity(15, 32, "Lee Harvey Oswald", "Peop", 0.8)
KILL = Relation(RUBY, "Kill", OSWALD, 0.7, (Trigger(10, 14, "shot", 0.6),), "words")
EXTRACTION = Extraction(TEXT, (RUBY, OSWALD), (KILL,), ((0, len(TEXT)),))
DOCUMENTED = {
    "text": TEXT,
    "entities": [
        {"start": 0, "end": 9, "text": "Jack Ruby", "label": "Peop", "score": 0.9},
        {"start": 15, "end": 32, "text": "Lee Harvey Oswald", "label": "Peop", "score": 0.8},
    ],
    "relations": [
        {
            "head": 0,
            "tail": 1,
            "label": "Kill",
            "score": 0.7,
            "triggers": [{"start": 10, "end": 14, "text": "shot", "score": 0.6}],
            "basis": "words",
        }
    ],
    "sentences": [{"start": 0, "end": 33}],
}


def test_the_documented_shape_with_its_order_of_keys() -> None:
    assert json.dumps(EXTRACTION.to_dict()) == json.dumps(DOCUMENTED)


def test_json_is_one_line_of_the_same() -> None:
    line = Extraction("é\n\u2028\0", notices=("a\nb",)).to_json()
    assert "\n" not in line
    assert json.loads(line)["text"] == "é\n\u2028\0"
    assert json.loads(EXTRACTION.to_json()) == DOCUMENTED


def test_nothing_found() -> None:
    assert json.loads(Extraction("").to_json()) == {"text": "", "entities": [], "relations": []}


def test_notices_only_where_there_are_any() -> None:
    assert "notices" not in EXTRACTION.to_dict()
    assert Extraction("x", notices=("cut",)).to_dict()["notices"] == ["cut"]


def test_entities_that_differ_in_label_only_are_told_apart() -> None:
    other = Entity(0, 9, "Jack Ruby", "Org", 0.9)
    relation = Relation(other, "Kill", OSWALD, 0.7)
    result = Extraction(TEXT, (RUBY, other, OSWALD), (relation,)).to_dict()
    assert (result["relations"][0]["head"], result["relations"][0]["tail"]) == (1, 2)


def test_values_cannot_be_changed_and_compare_by_content() -> None:
    with pytest.raises(AttributeError):
        RUBY.label = "Org"  # type: ignore[misc]
    assert hash(RUBY) == hash(msgspec.structs.replace(RUBY))
    assert msgspec.structs.replace(EXTRACTION) == EXTRACTION


def test_offsets_are_those_of_the_text() -> None:
    assert all(entity.text == TEXT[entity.start : entity.end] for entity in EXTRACTION.entities)


def test_what_a_relation_rests_on_is_read_back() -> None:
    for relation in (KILL, Relation(RUBY, "Kill", OSWALD, 0.7, (), "names"), Relation(RUBY, "Kill", OSWALD, 0.7)):
        doc = Extraction(TEXT, (RUBY, OSWALD), (relation,), candidates=Candidates((RUBY,), (relation,)))
        assert doc.to_dict()["relations"][0]["basis"] == relation.basis
        assert Extraction.from_json(doc.to_json()) == doc
        assert Extraction.from_dict(doc.to_dict()) == doc


def test_json_of_earlier_versions_has_no_basis() -> None:
    content = EXTRACTION.to_dict()
    del content["relations"][0]["basis"]
    (relation,) = Extraction.from_json(json.dumps(content)).relations
    assert relation == msgspec.structs.replace(KILL, basis=None)
    content["relations"][0]["basis"] = "verbs"
    with pytest.raises(InputError, match=r"Invalid enum value 'verbs' - at `\$\.relations\[0\]\.basis`"):
        Extraction.from_dict(content)

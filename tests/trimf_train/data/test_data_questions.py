"""Every question about data is asked of data that deserve it, and of no other."""

from __future__ import annotations

import pytest

from trimf_train.data.data_questions import (
    DataProfile,
    ask_about_data,
    ask_about_split,
    compare_label_sets,
    find_similar_labels,
)
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence


def sentence(number: int, person: str = "Person", place: str = "Place", relation: str = "born in") -> Sentence:
    """ "Anna7 was born in Ulm7"; no label or id is empty unless asked for."""
    entities = [EntityMention(person, 0, 1)] * bool(person) + [EntityMention(place, 4, 5)] * bool(place)
    relations = [RelationMention(relation, 0, 1)] * bool(relation and len(entities) == 2)
    return Sentence(["Anna", "was", "born", f"in{number}", "Ulm"], entities, relations, id=f"d{number}:0")


GOOD = [sentence(number) for number in range(12)]


def ask(sentences: list[Sentence], max_span: int | None = None) -> list[str]:
    return ask_about_data(DataProfile.of(sentences), max_span)


def ask_both(train: list[Sentence], dev: list[Sentence]) -> list[str]:
    return ask_about_split(DataProfile.of(train), DataProfile.of(dev))


def test_good_data_deserve_no_question() -> None:
    assert ask(GOOD, 10) == []
    assert ask_both(GOOD, [sentence(number) for number in range(20, 30)]) == []


def test_no_sentences_at_all() -> None:
    assert ask([], 10) == ["no sentence has an entity: is the annotation in this file?"]
    assert ask_both([], []) == []


@pytest.mark.parametrize("other", ["person", "Person ", "PERSON", "Per son", "Per-son"])
def test_labels_that_differ_in_case_or_spaces_alone(other: str) -> None:
    lines = ask(GOOD + [sentence(number, person=other) for number in range(20, 35)])
    assert len(lines) == 1
    assert "differ in case or spaces alone" in lines[0]
    assert (repr(other) if other.endswith(" ") else other) in lines[0]


def test_relation_labels_that_differ_in_case_alone() -> None:
    (line,) = ask(GOOD + [sentence(number, relation="Born_In") for number in range(20, 35)])
    assert line == "the relation types Born_In, born in differ in case or spaces alone: are they one?"


def test_similar_labels_of_any_script() -> None:
    assert find_similar_labels(["Straße", "STRASSE", "人", "Ort"]) == [["STRASSE", "Straße"]]
    assert find_similar_labels([]) == []


def test_spans_that_the_model_may_not_find() -> None:
    long = Sentence([f"w{i}" for i in range(14)], [EntityMention("Person", 0, 12)], id="long:0")
    lines = ask([*GOOD, long], 10)
    assert lines == [
        "1 entity of more than 10 words cannot be found by a model with model.span.max_width = 10",
    ]
    assert ask([*GOOD, long], 12) == []
    assert ask([*GOOD, long]) == []


def test_repeated_sentences_and_ids() -> None:
    lines = ask([*GOOD, GOOD[3], GOOD[3]])
    assert lines == [
        "2 sentences repeat another word for word: is each to count more than once?",
        "2 sentences have the id of another, such as d3:0: is a document in the data twice?",
    ]


def test_sentences_without_ids_have_not_the_same_id() -> None:
    assert ask([Sentence(["a", f"b{i}"], [EntityMention("A", 0, 1)]) for i in range(12)]) == []


def test_words_joined_in_another_way_are_another_sentence() -> None:
    first, second = (Sentence(tokens, [EntityMention("A", 0, 1)]) for tokens in (["ab", "c"], ["a", "bc"]))
    assert not [line for line in ask([first, second]) if "repeat" in line]


def test_fewer_than_ten_of_a_label() -> None:
    (line,) = ask(GOOD + [sentence(number, place="Castle") for number in range(20, 25)])
    assert line == "1 entity type has fewer than 10 examples, too few to learn well: Castle 5"


def test_many_rare_labels_are_one_line() -> None:
    rare = [sentence(number, place=f"Place {number}", relation="") for number in range(20, 220)]
    (line,) = ask(GOOD + rare)
    assert line.startswith("200 entity types have fewer than 10 examples")
    assert line.endswith("and 195 more")


def test_one_label_that_is_nearly_everything() -> None:
    lines = ask([sentence(number, place="", relation="") for number in range(20, 420)] + GOOD)
    assert lines == ["412 of 424 entity labels are Person: the others will hardly be learnt"]
    assert ask([sentence(number, place="", relation="") for number in range(400)]) == [], "one label is no mistake"


def test_no_word_outside_entities() -> None:
    (line,) = ask([Sentence(["Anna", f"B{i}"], [EntityMention("Person", 0, 2)]) for i in range(12)])
    assert line.startswith("every word is part of an entity")


def test_dev_that_is_train() -> None:
    (line,) = ask_both(GOOD, GOOD[:6])
    assert line.startswith("dev is train: 6 of 6 dev sentences (100%) are also in train")


def test_dev_that_shares_sentences_with_train() -> None:
    (line,) = ask_both(GOOD, [GOOD[0], *(sentence(number) for number in range(20, 23))])
    assert line.startswith("dev and train share sentences: 1 of 4 dev sentences (25%)")


def test_a_label_of_dev_that_train_does_not_have() -> None:
    lines = ask_both(GOOD, [sentence(20, person="person"), sentence(21, place="Castle"), sentence(22, relation="died")])
    assert lines == [
        "2 entity types of dev are not in train and cannot be learnt: Castle, person (is it Person?)",
        "1 relation type of dev is not in train and cannot be learnt: died",
    ]


def test_dev_without_relations() -> None:
    (line,) = ask_both(GOOD, [sentence(20, relation="")])
    assert line.startswith("dev has no relations, but train has")
    assert ask_both([sentence(1, relation="")], [sentence(20, relation="")]) == []


def test_dev_without_entities() -> None:
    (line,) = ask_both(GOOD, [sentence(20, person="", place="")])
    assert line.startswith("dev has no entities")


def test_no_common_label() -> None:
    assert compare_label_sets({"person"}, ["Place", "Person"]) == (
        "the data and the model have no entity type in common, so every score is 0: the data have person (is it "
        "Person?); the model has Person, Place"
    )


def test_some_unknown_labels() -> None:
    line = compare_label_sets(["Person", "Castle"], ["Person"])
    assert line == "1 entity type is not one of the model, so such entities count as missed: Castle"
    assert compare_label_sets(["Person"], ["Person", "Place"]) is None
    assert compare_label_sets([], ["Person"]) is None, "data without entities may be right"

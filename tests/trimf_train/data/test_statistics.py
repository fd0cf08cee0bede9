"""Reports of a data set: every label's items are accounted for, and long lists stay readable."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.text.tokenization import load_tokenizer_rules
from trimf_train.data.document import AnnotatedDocument, EntityAnnotation, RelationAnnotation, validate_document
from trimf_train.data.document_splitting import DocumentSplitting, split_document
from trimf_train.data.label_lists import MAX_NAMED_LABELS, list_labels
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.data.statistics import DataStatistics, find_overlapping_entities
from trimf_train.data.validate import merge_repeated_annotation


@pytest.fixture(autouse=True, scope="module")
def _rules() -> None:
    load_tokenizer_rules()


def test_labels_are_listed_by_count() -> None:
    assert list_labels("  3  types", {"a": 1, "c": 5, "b": 5}, {"a": 4, "b": 5}) == ["  3  types: b 5, c 5, a 1 of 4"]
    assert list_labels("  0  types", {}) == ["  0  types"]


def test_hundreds_of_labels_take_few_lines() -> None:
    counts = {f"organisation/company-{number:03}": 1000 - number for number in range(200)}
    lines = list_labels("     200  entity types", counts, unit="entity types")
    assert lines[0].startswith("     200  entity types: organisation/company-000 1000, organisation/company-001 999,")
    assert lines[-1].endswith(f"and 180 more entity types with {sum(1000 - n for n in range(20, 200))} in all")
    assert len(lines) < 10
    assert all(line.startswith(" " * 10) for line in lines[1:])
    assert max(map(len, lines)) <= 111
    joined = " ".join(line.strip() for line in lines)
    assert [f"company-{number:03} " in joined for number in range(21)] == [True] * MAX_NAMED_LABELS + [False]


@given(st.dictionaries(st.text(max_size=30), st.integers(0, 10**6), max_size=40))
def test_any_labels_make_whole_lines(counts: dict[str, int]) -> None:
    lines = list_labels("head", counts)
    assert not any(character in line for line in lines for character in "\n\r\x1b")
    assert all(len(line) <= 111 or "," not in line[:-1].removeprefix("head: ") for line in lines)


spans = st.tuples(st.integers(0, 9), st.integers(1, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(spans, max_size=12))
def test_overlap_is_what_pairs_say(found: list[tuple[int, int]]) -> None:
    sentence = Sentence(["w"] * 15, [EntityMention("T", *span) for span in found])
    expected: set[int] = set()
    for (i, left), (j, right) in combinations(enumerate(found), 2):
        if left[0] < right[1] and right[0] < left[1]:
            expected |= {i, j}
    assert find_overlapping_entities(sentence) == expected


@given(st.lists(st.sampled_from("AB"), max_size=4), st.data())
def test_merged_items_are_counted_by_type(types: list[str], data: st.DataObject) -> None:
    entities = [EntityMention(type, index % 2, 2) for index, type in enumerate(types)]
    pairs = data.draw(st.lists(st.tuples(*[st.integers(0, len(types) - 1)] * 2), max_size=6)) if types else []
    relations = [RelationMention("r", *pair) for pair in pairs]
    merged = merge_repeated_annotation(Sentence(["a", "b"], entities, relations))
    kept = merged.sentence
    assert Counter(types) == Counter(merged.removed_entities) + Counter(one.type for one in kept.entities)
    assert len(relations) == len(merged.removed_relations) + len(kept.relations)
    assert len(set(kept.entities)) == len(kept.entities)
    assert {(entities[one.head], entities[one.tail]) for one in relations} == {
        (kept.entities[one.head], kept.entities[one.tail]) for one in kept.relations
    }


TEXT = "Dr. Ann-Marie met Bob.\r\n\tThey left \U0001f680 Paris\u2013Rome; e\u0301.\n\nEnd"


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["snap", "skip"]))
def test_every_item_of_a_file_is_kept_merged_or_lost(data: st.DataObject, misaligned: Any) -> None:
    draw = data.draw
    starts = draw(st.lists(st.integers(0, len(TEXT) - 1), max_size=12))
    entities = []
    for start in starts:
        end = draw(st.integers(start + 1, min(start + 25, len(TEXT))))
        if not TEXT[start:end].isspace():
            entities.append(EntityAnnotation(start, end, draw(st.sampled_from("AB"))))
    index = st.integers(0, len(entities) - 1)
    relations = [
        RelationAnnotation(draw(index), draw(index), draw(st.sampled_from("rs"))) for _ in range(6 if entities else 0)
    ]
    document = validate_document(AnnotatedDocument(TEXT, entities, relations, "d"))
    statistics = DataStatistics()
    for sentence in split_document(document, DocumentSplitting("en", misaligned), statistics.report).to_sentences():
        statistics.add(merge_repeated_annotation(sentence))
    for items, annotated, kept, merged in (
        ("entities", entities, statistics.entity_types, statistics.merged_entity_types),
        ("relations", relations, statistics.relation_types, statistics.merged_relation_types),
    ):
        counted = kept + merged + statistics.report.count_lost(items)
        assert counted == Counter(item.label for item in annotated)  # type: ignore[attr-defined]


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def entity(text: str, part: str, label: str) -> dict[str, Any]:
    start = text.index(part)
    return {"start": start, "end": start + len(part), "label": label}


def test_the_report_says_what_is_left_of_each_label(tmp_path: Path) -> None:
    text = "Ann met Bob. Bob left Paris."
    parts = [("Ann", "P"), ("Bob", "P"), ("Ann", "P"), ("Par", "City"), ("Bob. Bob", "P"), ("Paris", "Loc")]
    entities = [entity(text, *part) for part in parts]
    relations = [{"head": 0, "tail": 1, "label": "met"}, {"head": 0, "tail": 5, "label": "met"}]
    relations += [{"head": 3, "tail": 4, "label": "in"}]
    path = write(tmp_path / "x.jsonl", {"text": text, "entities": entities, "relations": relations, "id": "n7"})
    statistics = DataStatistics()
    assert len(list(read_sentences(path, statistics=statistics))) == 2
    assert str(statistics).splitlines()[-14:] == [
        "       1  repeated entities merged",
        "       0  repeated relations merged",
        "       1  relations across sentences left out: met 1",
        "          such as 'Ann' and 'Paris' (document n7)",
        "       1  entities across sentences left out: P 1",
        "          such as 'Bob. Bob' (P, 8 to 16 of document n7)",
        "       1  entities with a start or end inside a word left out: City 1",
        "          such as 'Par' (City, 22 to 25 of document n7) within 'Paris'",
        "       1  relations of such entities left out: in 1",
        "          such as 'Par' and 'Bob. Bob' (document n7)",
        "       2  entity types: P 2 of 4, Loc 1",
        "       1  entity types of which nothing is left: City 1",
        "       1  relation types: met 1 of 2",
        "       1  relation types of which nothing is left: in 1",
    ]


def test_long_spans_are_quoted_in_short(tmp_path: Path) -> None:
    text = "Start " + "of a long span " * 400 + ". The end"
    path = write(tmp_path / "x.jsonl", {"text": text, "entities": [{"start": 0, "end": len(text), "label": "T"}]})
    statistics = DataStatistics()
    list(read_sentences(path, statistics=statistics))
    (example,) = statistics.report.examples["entities_across_sentences"]
    assert example == f"'Start of a long span… long span . The end' (T, 0 to {len(text)} of document 1)"

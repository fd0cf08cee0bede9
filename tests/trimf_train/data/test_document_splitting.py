"""Character offsets become words: every span that words can hold keeps its characters, every other one is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.parsers import ObedientParser

from trimf.runtime.errors import DataError
from trimf.runtime.text.tokenization import load_tokenizer_rules, split_sentences
from trimf_train.data.document import AnnotatedDocument, EntityAnnotation, RelationAnnotation
from trimf_train.data.document_splitting import DocumentSplitting, split_document
from trimf_train.data.prepare import prepare_file
from trimf_train.data.readers import read_documents, read_sentences
from trimf_train.data.reading_report import ReadingReport
from trimf_train.data.sentence import EntityMention, RelationMention

REL = {"head": 0, "tail": 0, "label": "r"}
TEXT = "Marie Curie was born in Warsaw.\n\nShe moved to Paris in 1891."


@pytest.fixture(autouse=True, scope="module")
def _rules() -> None:
    """The first text does not wait for them, which hypothesis would find slow."""
    load_tokenizer_rules()


def annotate(*entities: tuple[int, int, str], relations: tuple[tuple[int, int, str], ...] = ()) -> AnnotatedDocument:
    return AnnotatedDocument(
        TEXT, [EntityAnnotation(*one) for one in entities], [RelationAnnotation(*one) for one in relations], "d"
    )


def test_sentences_hold_their_entities_and_relations() -> None:
    report = ReadingReport()
    document = annotate((0, 11, "Peop"), (24, 30, "Loc"), relations=((0, 1, "born_in"),))
    first, second = split_document(document, DocumentSplitting(), report).to_sentences()
    assert first.entities == [EntityMention("Peop", 0, 2), EntityMention("Loc", 5, 6)]
    assert first.relations == [RelationMention("born_in", 0, 1)]
    assert (first.id, second.id, second.entities) == ("d:0", "d:1", [])
    assert not report.counts


def test_losses_are_counted_with_examples() -> None:
    report = ReadingReport()
    entities = ((0, 11, "Peop"), (46, 50, "Loc"), (24, 40, "Loc"), (33, 36, "Peop"), (6, 12, "Peop"))
    document = annotate(*entities, relations=((0, 1, "r"), (0, 3, "r"), (4, 4, "r")))
    first, _ = split_document(document, DocumentSplitting(), report).to_sentences()
    assert report.counts == {
        "misaligned_entities": 1,
        "entities_across_sentences": 1,
        "relations_of_lost_entities": 1,
        "relations_across_sentences": 1,
        "relations_with_itself": 1,
        "trimmed_entities": 1,
    }
    assert [entity.start for entity in first.entities] == [0, 1]
    assert "'Pari' (Loc, 46 to 50 of document d) within 'Paris'" in "\n".join(report.list_lines())


def test_snapped_entities_cover_whole_words() -> None:
    report = ReadingReport()
    _, second = split_document(annotate((46, 50, "Loc")), DocumentSplitting(misaligned="snap"), report).to_sentences()
    assert [second.tokens[entity.start : entity.end] for entity in second.entities] == [["Paris"]]
    assert report.describe_changes() == "1 entity that began or ended inside a word extended to whole words"
    assert report.describe_left_out() == ""


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.data())
def test_any_words_of_any_text_keep_their_characters(text: str, data: st.DataObject) -> None:
    sentences = split_sentences(text)
    entities, expected = [], []
    for number, sentence in enumerate(sentences):
        first = data.draw(st.integers(0, len(sentence.words) - 1))
        last = data.draw(st.integers(first, len(sentence.words) - 1))
        entities.append(EntityAnnotation(sentence.starts[first], sentence.ends[last], f"T{number}"))
        expected.append([EntityMention(f"T{number}", first, last + 1)])
    report = ReadingReport()
    split = split_document(AnnotatedDocument(text, entities), DocumentSplitting(), report).to_sentences()
    assert [sentence.entities for sentence in split] == expected
    assert not report.counts


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=40), st.data())
def test_any_span_is_kept_or_counted(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    if text[start:end].isspace():
        return
    report = ReadingReport()
    split = split_document(
        AnnotatedDocument(text, [EntityAnnotation(start, end, "T")]), DocumentSplitting(), report
    ).to_sentences()
    kept = sum(len(sentence.entities) for sentence in split)
    assert kept + report.counts["misaligned_entities"] + report.counts["entities_across_sentences"] == 1


def test_relations_name_entities_by_id_or_index(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    entities = [{"start": 0, "end": 11, "label": "Peop", "id": "T1"}, {"start": 24, "end": 30, "label": "Loc"}]
    record = {"text": TEXT, "entities": entities, "relations": [{"head": "T1", "tail": 1, "label": "r"}], "meta": {}}
    path.write_text(json.dumps(record), encoding="utf-8")
    (document,) = read_documents(path) or ()
    assert document.relations == [RelationAnnotation(0, 1, "r")]
    assert document.id == "1"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"text": "a", "entities": [{"start": 0, "end": 2, "label": "T"}]}, "entities[0].end must be from 1 to 1"),
        ({"text": "a", "entities": [{"start": -1, "end": 1, "label": "T"}]}, "entities[0].start must be a character"),
        ({"text": "a b", "entities": [{"start": 1, "end": 2, "label": "T"}]}, "not blank, got ' '"),
        ({"text": "a", "entities": [{"start": 0, "end": 1, "label": ""}]}, "entities[0].label must be a non-empty"),
        ({"text": "a", "entities": [{"start": 0, "end": 1}]}, "missing required field 'entities[0].label'"),
        (
            {"text": "a", "entities": [], "relations": [REL]},
            "relations[0].head must",
        ),
        (
            {"text": "a", "entities": [], "relations": [REL | {"head": "T"}]},
            "relations[0].head must",
        ),
        (
            {
                "text": "a b",
                "entities": [{"start": 0, "end": 1, "label": "T", "id": 1}, {"start": 2, "end": 3, "label": "T"}],
                "relations": [REL | {"tail": 1}],
            },
            "relations[0].tail must be clear, but 1 is both an index and the id of entities[0]; write ids as strings",
        ),
        ({"text": "a", "entities": [], "relation": []}, "unknown field 'relation'; did you mean 'relations'?"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, record: dict[str, object], expected: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": "fine", "entities": []}) + "\n" + json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_sentences(path))
    assert str(caught.value).startswith(f"{path}: line 2: ")
    assert expected in str(caught.value)


def test_prepare_refuses_spans_inside_words_unless_told_what_to_do(tmp_path: Path) -> None:
    source, output = tmp_path / "x.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"text": TEXT, "entities": [{"start": 46, "end": 50, "label": "Loc"}]}))
    with pytest.raises(DataError, match=r"1 entity begins or ends inside a word, such as 'Pari'.*--misaligned snap"):
        prepare_file(source, output, ObedientParser(), progress=False)
    assert not output.exists()
    summary = prepare_file(source, output, ObedientParser(), progress=False, misaligned="snap")
    assert (summary.source.language, summary.source.misaligned) == ("en", "snap")
    assert [len(sentence.entities) for sentence in read_sentences(output)] == [0, 1]


ZOE = "Zoe\u0308 A\u030angstro\u0308m"
PARIS = "\u0628\u0627\u0631\u064a\u0633"


@pytest.mark.parametrize(
    ("text", "part", "words"),
    [
        ("\U0001f680 \U0001f469\u200d\U0001f680 Ann left", "Ann", ["Ann"]),
        (f"{ZOE}\tleft", ZOE, ZOE.split()),
        ("One\r\nline\r\n\r\nTwo\t\tlines", "Two\t\tlines", ["Two", "lines"]),
        ("\ufeffAnn left", "left", ["left"]),
        ("Ann left", "Ann left", ["Ann", "left"]),
        ("a" * 3000 + " b", "a" * 3000, ["a" * 3000]),
        (f"\u0645\u0631\u064a\u0645 \u0641\u064a {PARIS}", PARIS, [PARIS]),
    ],
)
def test_offsets_count_characters(tmp_path: Path, text: str, part: str, words: list[str]) -> None:
    start = text.index(part)
    record = {"text": text, "entities": [{"start": start, "end": start + len(part), "label": "T"}], "id": "d"}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8", newline="")
    found = [
        sentence.tokens[entity.start : entity.end] for sentence in read_sentences(path) for entity in sentence.entities
    ]
    assert found == [words]


def test_documents_without_text_or_entities(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    texts = ["", " \r\n\t ", "One. Two.", ""]
    path.write_text("".join(json.dumps({"text": text, "entities": []}) + "\n" for text in texts))
    assert [sentence.id for sentence in read_sentences(path)] == ["3:0", "3:1"]


def test_nested_overlapping_and_repeated_entities_stay(tmp_path: Path) -> None:
    text = "the New York Stock Exchange"
    spans = [(4, 12, "Loc"), (4, 27, "Org"), (8, 18, "X"), (4, 12, "Org"), (4, 12, "Loc"), (3, 12, "Loc")]
    entities = [dict(zip(("start", "end", "label"), span, strict=True)) for span in spans]
    relations = [{"head": 0, "tail": 1, "label": "in"}, {"head": 4, "tail": 1, "label": "in"}]
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": text, "entities": entities, "relations": relations}))
    (sentence,) = read_sentences(path)
    expected = [("Loc", 1, 3), ("Org", 1, 5), ("X", 2, 4), ("Org", 1, 3)]
    assert sentence.entities == [EntityMention(*one) for one in expected]
    assert sentence.relations == [RelationMention("in", 0, 1)]


def test_a_book_is_one_record() -> None:
    """Every entity is found at once, wherever it stands."""
    part = "Ann lives in Paris. "
    count = 5000
    entities = [EntityAnnotation(i * len(part) + 13, i * len(part) + 18, "Loc") for i in range(count)]
    document = AnnotatedDocument(part * count, entities, [RelationAnnotation(0, count - 1, "r")], "book")
    report = ReadingReport()
    sentences = split_document(document, DocumentSplitting(), report).to_sentences()
    assert [sentence.entities for sentence in sentences] == [[EntityMention("Loc", 3, 4)]] * count
    assert report.counts == {"relations_across_sentences": 1}
    assert sentences[-1].id == f"book:{count - 1}"


def test_a_relation_between_entities_that_snap_to_the_same_words_joins_one_entity() -> None:
    report = ReadingReport()
    document = annotate((46, 50, "Loc"), (46, 51, "Loc"), relations=((0, 1, "r"),))
    split = split_document(document, DocumentSplitting(misaligned="snap"), report)
    assert split.relations == []
    assert report.counts["relations_with_itself"] == 1

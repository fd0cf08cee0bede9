"""Readers: every format to the same records, strict about bad ones, and the real data's known sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimf.commands.preparation import _READERS
from trimf.runtime.errors import DataError, InputError
from trimf_train.data import jsonl as prepared
from trimf_train.data.formats import dygie, spert
from trimf_train.data.readers import FORMATS, detect_format, read_sentences
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.data.statistics import DataStatistics, find_overlapping_entities
from trimf_train.data.validate import merge_repeated_annotation, validate_sentence

DATA = Path(__file__).parents[3].parent / "shared" / "data"

SAMPLES = Path(__file__).parent / "samples"
TEXT_SAMPLES = {
    "labelstudio": "labelstudio.json",
    "doccano": "doccano.jsonl",
    "prodigy": "prodigy.jsonl",
    "conll": "labelstudio.conll",
}

OSWALD: dict[str, Any] = {
    "tokens": ["Oswald", "was", "shot", "by", "Jack", "Ruby"],
    "entities": [{"type": "Peop", "start": 0, "end": 1}, {"type": "Peop", "start": 4, "end": 6}],
    "relations": [{"type": "Kill", "head": 1, "tail": 0}],
}
ADE_LINE = "10030778|Intravenous azithromycin-induced ototoxicity.|ototoxicity|43|54|azithromycin|22|34"
DOCUMENT: dict[str, Any] = {
    "doc_key": "D1",
    "sentences": [["We", "parse", "text", "."], ["Parsing", "uses", "big", "graphs", "."]],
    "ner": [[[2, 2, "Material"]], [[4, 4, "Task", 3.5, 0.9], [6, 7, "Method", 1.0, 0.1]]],
    "relations": [[], [[6, 7, 4, 4, "USED-FOR", 2.0, 0.8]]],
    "clusters": [],
    "predicted_ner": [],
}


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def changed(record: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**record, **fields}


def failure(path: Path, format: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        list(read_sentences(path, format))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_spert_record(tmp_path: Path) -> None:
    path = write(tmp_path / "x", [changed(OSWALD, orig_id=7, pos=["a"]), OSWALD])
    first, second = spert.read_spert(path)
    assert first == Sentence(
        tokens=OSWALD["tokens"],
        entities=[EntityMention("Peop", 0, 1), EntityMention("Peop", 4, 6)],
        relations=[RelationMention("Kill", 1, 0)],
        id="7",
    )
    assert second.id == "2"


def test_dygie_document_offsets_become_sentence_offsets(tmp_path: Path) -> None:
    first, second = dygie.read_dygie(write(tmp_path / "x", DOCUMENT))
    assert first == Sentence(tokens=["We", "parse", "text", "."], entities=[EntityMention("Material", 2, 3)], id="D1:0")
    assert second.entities == [EntityMention("Task", 0, 1), EntityMention("Method", 2, 4)]
    assert second.relations == [RelationMention("USED-FOR", 1, 0)]
    assert second.id == "D1:1"


def test_dygie_counts_offsets_anew_in_every_document(tmp_path: Path) -> None:
    path = write(tmp_path / "x", DOCUMENT, changed(DOCUMENT, doc_key="D2"))
    assert [s.entities for s in dygie.read_dygie(path)][2:] == [s.entities for s in dygie.read_dygie(path)][:2]


def test_dygie_relation_takes_the_first_entity_of_a_span_with_two_types(tmp_path: Path) -> None:
    twice = changed(DOCUMENT, ner=[[], [[4, 4, "Task"], [4, 4, "Generic"], [6, 7, "Method"]]])
    assert list(dygie.read_dygie(write(tmp_path / "x", twice)))[1].relations == [RelationMention("USED-FOR", 2, 0)]


def test_prepared_round_trip(tmp_path: Path) -> None:
    sentence = Sentence(
        tokens=["Œuvre", "\u2028", '"'],
        entities=[EntityMention("A", 0, 1)],
        heads=[0, 0, 1],
        labels=["ROOT", "x", "y"],
        id="1",
    )
    path = tmp_path / "x"
    path.write_bytes(prepared.encode_line(sentence) * 2)
    assert list(prepared.read_prepared_file(path)) == [sentence, sentence]


@pytest.mark.parametrize("name", ["data.json", "dygie.spert.ade", "prepared"])
def test_format_comes_from_content_not_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    contents = {
        "spert": "\n\n  " + json.dumps([OSWALD], indent=2),
        "dygie": json.dumps(DOCUMENT),
        "ade": ADE_LINE,
        "prepared": json.dumps(OSWALD),
        "offsets": json.dumps({"text": "Oswald was shot", "entities": []}),
        **{format: (SAMPLES / name).read_text(encoding="utf-8") for format, name in TEXT_SAMPLES.items()},
        "datasets": json.dumps({"tokens": ["a", "b"], "ner_tags": ["B-A", "O"]}),
        "datasets-text": json.dumps({"text": "a b", "entities": {"start": [0], "end": [1], "label": ["A"]}}),
    }
    assert set(contents) == set(FORMATS) - {"brat", "spacy"}
    for format, text in contents.items():
        path.write_text(text, encoding="utf-8")
        assert detect_format(path) == format
        assert list(read_sentences(path)) == list(read_sentences(path, format))


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for text in (json.dumps([OSWALD]), f"{json.dumps(DOCUMENT)}\r\n\r\n", f"{ADE_LINE}\r\n", json.dumps(OSWALD)):
        path.write_text(text, encoding="utf-8")
        plain = list(read_sentences(path))
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert list(read_sentences(path)) == plain


def test_unknown_format_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'csv'.*offsets, dygie, prepared, spert, ade"):
        read_sentences(tmp_path / "x", "csv")


@pytest.mark.parametrize("format", [None, *FORMATS])
def test_missing_file_and_folder(tmp_path: Path, format: str | None) -> None:
    assert "no such file" in failure(tmp_path / "x", format)
    assert "is a folder" in failure(tmp_path, format)


@pytest.mark.parametrize("format", [None, *(format for format in FORMATS if format not in ("brat", "spacy"))])
def test_invalid_utf8_names_the_line(tmp_path: Path, format: str | None) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\n\xff\n")
    message = failure(path, format)
    assert message.startswith(": line 1" if format == "prepared" else ": line 2")
    if format != "prepared":  # a blank line already fails there
        assert message == ": line 2: byte 0xff is not valid UTF-8; save the file as UTF-8"


def test_unrecognised_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for text in ("hello", '{"entities": {}}', "1|2", '"text"', "[1]"):
        path.write_text(text, encoding="utf-8")
        assert ": line 1: unknown data format: " in failure(path)
        assert "the known formats are offsets, dygie, " in failure(path)
    for text in ("{", "{" * 100_000):
        path.write_text(text, encoding="utf-8")
        assert failure(path).startswith(": line 1: not valid JSON")
    path.write_text(" \n", encoding="utf-8")
    assert "the file is empty" in failure(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"[{json.dumps(OSWALD)},\n{{]", ": line 2: not valid JSON"),
        (f"[\n{json.dumps(OSWALD)}\n", ": line 3: not valid JSON: Input data was truncated"),
        ('[\n\n{"tokens": nope}]', ": line 3: not valid JSON"),
        ("[" * 100_000, ": line 1: not valid JSON: nested too deeply"),
    ],
)
def test_broken_spert_json_names_the_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "x"
    path.write_text(text, encoding="utf-8")
    assert failure(path).startswith(expected)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (changed(OSWALD, tokens="Oswald"), "tokens: expected array, got str: 'Oswald'"),
        (changed(OSWALD, tokens=["a", 3]), "tokens[1]: expected str, got int: 3"),
        ({"tokens": ["a"], "relations": []}, "missing required field 'entities'"),
        (
            changed(OSWALD, entities=[{"type": "P", "start": 0, "end": "1"}]),
            "entities[0].end: expected int, got str: '1'",
        ),
        (changed(OSWALD, entities=[{"type": "P", "start": 0}]), "missing required field 'entities[0].end'"),
        (
            changed(OSWALD, entities=[{"type": "P", "start": 0, "end": 7}]),
            "entities[0].end must be from 1 to 6 (exclusive; the sentence has 6 words), got 7",
        ),
        (
            changed(OSWALD, entities=[{"type": "P", "start": 2, "end": 2}]),
            "entities[0].end must be from 3 to 6 (exclusive; the sentence has 6 words), got 2",
        ),
        (
            changed(OSWALD, entities=[{"type": "P", "start": -1, "end": 2}]),
            "entities[0].start must be a word index from 0 to 5, got -1",
        ),
        (
            changed(OSWALD, entities=[{"type": "", "start": 0, "end": 2}], relations=[]),
            "entities[0].type must be a non-empty string, got ''",
        ),
        (
            changed(OSWALD, relations=[{"type": "Kill", "head": 0, "tail": 2}]),
            "relations[0].tail must be an index into the 2 entities of the sentence (counted from 0), got 2",
        ),
        (
            changed(OSWALD, relations=[{"type": "Kill", "head": 1, "tail": 1}, {"type": "", "head": 0, "tail": 1}]),
            "relations[1].type must be a non-empty string, got ''",
        ),
        (changed(OSWALD, tokens=[]), "tokens must be a non-empty list of words, got []"),
        (
            changed(OSWALD, tokens=["a", ""], entities=[], relations=[]),
            "tokens[1] must be a non-empty string, got ''",
        ),
        (["tokens"], "expected object, got array: ['tokens']"),
    ],
)
def test_bad_spert_record_is_named(tmp_path: Path, record: Any, expected: str) -> None:
    assert failure(write(tmp_path / "x", [OSWALD, record])) == f": record 2: {expected}"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (changed(DOCUMENT, ner=[[]]), ": ner must have 2 lists, one per sentence; got 1"),
        (changed(DOCUMENT, relations=[[]] * 3), ": relations must have 2 lists, one per sentence; got 3"),
        (
            changed(DOCUMENT, ner=[[[2, 4, "Material"]], []]),
            ", sentence 0: ner[0][0] must be a span within words 0 to 3, the words of the sentence,"
            " got [2, 4, 'Material']",
        ),
        (
            changed(DOCUMENT, ner=[[], [[3, 5, "Task"]]]),
            ", sentence 1: ner[1][0] must be a span within words 4 to 8, the words of the sentence, got [3, 5, 'Task']",
        ),
        (
            changed(DOCUMENT, relations=[[], [[4, 4, 6, 6, "USED-FOR"]]]),
            ", sentence 1: tail of relations[1][0] must be the span of an entity of the sentence, got [6, 6]",
        ),
        (
            changed(DOCUMENT, relations=[[], [[5, 5, 4, 4, "USED-FOR"]]]),
            ", sentence 1: head of relations[1][0] must be the span of an entity of the sentence, got [5, 5]",
        ),
        (
            changed(DOCUMENT, relations=[[[2, 2, 9, 9, "USED-FOR"]], []]),
            ", sentence 0: tail of relations[0][0] must be a span within words 0 to 8, the words of the document,"
            " got [9, 9]",
        ),
        (
            changed(DOCUMENT, relations=[[], [[4, 4, 7, 6, "USED-FOR"]]]),
            ", sentence 1: tail of relations[1][0] must be a span within words 0 to 8, the words of the document,"
            " got [7, 6]",
        ),
        (
            changed(DOCUMENT, ner=[[], [[4, "5", "Task"]]]),
            ": ner[1][0][1]: expected int, got str: '5'",
        ),
        (
            changed(DOCUMENT, ner=[[], [[4, 5]]]),
            ": ner[1][0]: expected array of at least length 3, got 2: [4, 5]",
        ),
        (
            changed(DOCUMENT, sentences=[["a"], []], ner=[[], [[1, 1, "Task"]]], relations=[[], []]),
            ", sentence 1: ner[1][0] must be a span within no words, got [1, 1, 'Task']",
        ),
        ({"doc_key": "d", "ner": [], "relations": []}, ": missing required field 'sentences'"),
    ],
)
def test_bad_dygie_document_is_named(tmp_path: Path, document: Any, expected: str) -> None:
    assert failure(write(tmp_path / "x", DOCUMENT, document)) == f": line 2{expected}"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (changed(OSWALD, orig_id=7), "unknown field 'orig_id'"),
        (
            changed(OSWALD, entities=[{"type": "P", "start": 0, "end": 1, "text": "x"}]),
            "unknown field 'entities[0].text'",
        ),
        (changed(OSWALD, heads=[0] * 6), "labels must be set if heads are set, got None"),
        (
            changed(OSWALD, heads=[0], labels=["a"] * 6),
            "heads must be a list of 6 items (one per word, not 1), got [0]",
        ),
        (
            changed(OSWALD, heads=[0] * 6, labels=["a"]),
            "labels must be a list of 6 items (one per word, not 1), got ['a']",
        ),
        (
            changed(OSWALD, heads=[0, 0, 6, 0, 0, 0], labels=["a"] * 6),
            "heads[2] must be a word index from 0 to 5, got 6",
        ),
        (
            changed(OSWALD, heads=[0] * 6, labels=["a"] * 5 + [""]),
            "labels[5] must be a non-empty string, got ''",
        ),
    ],
)
def test_bad_prepared_line_is_named(tmp_path: Path, record: Any, expected: str) -> None:
    path = write(tmp_path / "x", OSWALD, record)
    with pytest.raises(DataError) as caught:
        list(prepared.read_prepared_file(path))
    assert str(caught.value) == f"{path}: line 2: {expected}"


@pytest.mark.parametrize("number", [1, 2, 300])
def test_lines_of_spert_are_not_taken_for_prepared_ones(tmp_path: Path, number: int) -> None:
    records = [OSWALD] * 300
    records[number - 1] = changed(OSWALD, orig_id=7)
    path = write(tmp_path / "x", *records)
    assert detect_format(path) == "spert"
    assert [sentence.id for sentence in read_sentences(path)][number - 1] == "7"


def test_lines_that_fit_both_give_the_same_sentences(tmp_path: Path) -> None:
    path = write(tmp_path / "x", OSWALD, changed(OSWALD, relations=[]))
    spert, prepared = ([*read_sentences(path, format)] for format in ("spert", "prepared"))
    assert [(s.tokens, s.entities, s.relations) for s in spert] == [
        (s.tokens, s.entities, s.relations) for s in prepared
    ]


def test_the_command_line_knows_every_format() -> None:
    assert list(FORMATS) == _READERS


def test_prepared_line_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path / "x", OSWALD, OSWALD)
    path.write_bytes(path.read_bytes()[:-20])
    assert failure(path) == ": line 2: not valid JSON: Input data was truncated"


def test_long_values_are_cut_in_errors(tmp_path: Path) -> None:
    message = failure(write(tmp_path / "x", [changed(OSWALD, tokens="x" * 10_000)]))
    assert len(message) < 200


def test_repeated_annotation_is_merged_and_counted(tmp_path: Path) -> None:
    record = {
        "tokens": ["a", "b", "c"],
        "entities": [
            {"type": "A", "start": 0, "end": 1},
            {"type": "A", "start": 0, "end": 1},
            {"type": "B", "start": 0, "end": 1},
            {"type": "B", "start": 2, "end": 3},
        ],
        "relations": [
            {"type": "R", "head": 0, "tail": 3},
            {"type": "R", "head": 1, "tail": 3},
            {"type": "S", "head": 1, "tail": 3},
            {"type": "R", "head": 3, "tail": 2},
        ],
    }
    statistics = DataStatistics()
    (sentence,) = read_sentences(write(tmp_path / "x", [record]), statistics=statistics)
    assert sentence.entities == [EntityMention("A", 0, 1), EntityMention("B", 0, 1), EntityMention("B", 2, 3)]
    assert sentence.relations == [RelationMention("R", 0, 2), RelationMention("S", 0, 2), RelationMention("R", 2, 1)]
    assert validate_sentence(sentence, "") is sentence
    assert statistics.merged_entities == 1
    assert statistics.merged_relations == 1
    assert statistics.pairs_with_several_types == 1
    assert statistics.overlapping_entities == 2
    assert statistics.sentences_with_overlap == 1
    assert statistics.entity_types == {"A": 1, "B": 2}
    assert statistics.relation_types == {"R": 2, "S": 1}


def test_a_relation_between_repeats_of_one_entity_is_a_bad_prepared_line(tmp_path: Path) -> None:
    record = changed(OSWALD, entities=[OSWALD["entities"][0]] * 2)
    assert "must be a different entity than the head" in failure(write(tmp_path / "x", record))


def test_statistics_of_unusual_sentences() -> None:
    statistics = DataStatistics(max_span=2)
    nested = Sentence(tokens=list("abcd"), entities=[EntityMention("A", 0, 3), EntityMention("A", 1, 2)])
    for sentence in (Sentence(tokens=["a"]), nested):
        statistics.add(merge_repeated_annotation(sentence))
    assert statistics.sentences_without_entities == 1
    assert statistics.sentences_without_relations == 2
    assert statistics.long_entities == 1
    assert statistics.longest_entity == 3
    assert statistics.words == 5
    assert find_overlapping_entities(nested) == {0, 1}
    assert "1  entities longer than 2 words" in str(statistics)
    assert "entity types: A 2" in str(statistics)


def test_touching_entities_do_not_overlap() -> None:
    touching = Sentence(tokens=["a", "b"], entities=[EntityMention("A", 0, 1), EntityMention("A", 1, 2)])
    assert find_overlapping_entities(touching) == set()


def test_importing_readers_needs_neither_torch_nor_spacy() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers', 'spacy'])); "
        "import trimf_train.data.readers, trimf_train.data.prepare, trimf_train.evaluation.evaluate, "
        "trimf_train.data.formats.spert, trimf_train.data.formats.dygie, trimf_train.data.formats.ade, "
        "trimf_train.data.jsonl"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"development data {name} is not here")
    return path


@pytest.mark.parametrize(
    ("name", "format", "sentences", "entities", "relations", "merged_relations", "long_entities"),
    [
        ("conll04/train.json", "spert", 922, 3377, 1283, 0, 2),
        ("conll04/dev.json", "spert", 231, 893, 343, 0, 0),
        ("conll04/test.json", "spert", 288, 1079, 422, 0, 0),
        ("scierc/train.json", "dygie", 1861, 5598, 3215, 4, 13),
        ("scierc/dev.json", "dygie", 275, 811, 455, 0, 3),
    ],
)
def test_sizes_of_the_real_data(
    name: str, format: str, sentences: int, entities: int, relations: int, merged_relations: int, long_entities: int
) -> None:
    path = real(name)
    statistics = DataStatistics()
    ids = [sentence.id for sentence in read_sentences(path, statistics=statistics)]
    assert detect_format(path) == format
    assert len(set(ids)) == len(ids) == statistics.sentences == sentences
    assert statistics.entities == entities
    assert statistics.relations == relations
    assert statistics.merged_relations == merged_relations
    assert statistics.merged_entities == 0
    assert statistics.long_entities == long_entities


def test_scierc_entities_say_what_the_document_says() -> None:
    path = real("scierc/dev.json")
    sentences = list(read_sentences(path))
    expected = []
    for line in path.read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        words = [word for sentence in document["sentences"] for word in sentence]
        expected += [[words[a : b + 1] for a, b, _ in rows] for rows in document["ner"]]
    assert [[s.tokens[e.start : e.end] for e in s.entities] for s in sentences] == expected

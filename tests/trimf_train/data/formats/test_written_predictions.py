"""Predictions that are written for an annotation tool and read as its annotation: the same spans and relations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from support.hard_extractions import EMPTY, PLAIN, SMILE, build, extractions

from trimf.runtime.output.exchange.settings import Losses
from trimf.runtime.output.writers import write_extractions
from trimf.runtime.results import Extraction
from trimf_train.data.readers import detect_format, read_documents

NAMES = {"labelstudio": "x.json", "doccano": "x.jsonl", "brat": "folder", "spacy": "x.spacy"}
WORDS = build(
    "Zo\u00eb Kr\u00e4mer \U0001f469\u200d\U0001f4bb works for Acme \u4e2d\u6587 Ltd. in S\u00e3o Paulo \U0001f600, "
    "says\r\n\r\n\tBob.",
    [
        ("Zo\u00eb Kr\u00e4mer", "Person"),
        ("Acme \u4e2d\u6587 Ltd.", "Org"),
        ("S\u00e3o Paulo", "City"),
        ("Bob", "Person"),
    ],
    [(0, "works_for", 1), (1, "based_in", 2), (0, "lives_in", 2)],
)

Spans = list[tuple[int, int, str]]
Triples = set[tuple[int, str, int]]


def write_and_read(results: Sequence[Extraction], format_: str, folder: Path) -> list[tuple[str, Spans, Triples]]:
    path = folder / NAMES[format_]
    write_extractions(results, format_, path, None, Losses())
    if format_ == "labelstudio":  # which keeps predictions apart until somebody accepts them
        tasks = json.loads(path.read_text(encoding="utf-8"))
        for task in tasks:
            task["annotations"] = task.pop("predictions")
        path.write_text(json.dumps(tasks), encoding="utf-8")
    assert detect_format(path) == format_
    documents = read_documents(path)
    assert documents is not None
    return [
        (
            document.text,
            [(one.start, one.end, one.label) for one in document.entities],
            {(one.head, one.label, one.tail) for one in document.relations},
        )
        for document in documents
    ]


def expect(result: Extraction) -> tuple[str, Spans, Triples]:
    index = result.entities.index
    return (
        result.text,
        [(one.start, one.end, one.label) for one in result.entities],
        {(index(one.head), one.label, index(one.tail)) for one in result.relations if one.head != one.tail},
    )


@pytest.mark.parametrize("format_", NAMES)
def test_the_same_entities_and_relations(format_: str, tmp_path: Path) -> None:
    texts = [WORDS, PLAIN] if format_ == "doccano" else [WORDS, PLAIN, EMPTY]
    assert sorted(write_and_read(texts, format_, tmp_path)) == sorted(map(expect, texts))


def test_a_relation_with_a_low_score_is_one(tmp_path: Path) -> None:
    relations = tuple(msgspec.structs.replace(one, score=0.2) for one in WORDS.relations)
    assert write_and_read([msgspec.structs.replace(WORDS, relations=relations)], "spacy", tmp_path) == [expect(WORDS)]


@pytest.mark.parametrize("format_", ["labelstudio", "doccano"])
def test_line_ends_and_nested_entities(format_: str, tmp_path: Path) -> None:
    assert write_and_read([SMILE], format_, tmp_path) == [expect(SMILE)]


@pytest.mark.parametrize("format_", ["labelstudio", "brat", "spacy"])
@settings(deadline=None, max_examples=40)
@given(result=extractions())
def test_any_text(format_: str, result: Extraction) -> None:
    with TemporaryDirectory() as folder:
        ((text, spans, _),) = write_and_read([result], format_, Path(folder))
    kept = [(one.start, one.end, one.label) for one in result.entities if not one.text.isspace()]
    if format_ != "brat":
        assert text == result.text
        assert sorted(spans) == sorted(kept)
        return
    # At its start, this character is a byte-order mark to every reader of a file. In brat, a piece of white space at an
    # end of a span is no piece, and labels are changed.
    assert text == result.text.removeprefix("\ufeff")
    shift = len(result.text) - len(text)
    lost = sum(start == 0 and end == shift for start, end, _ in kept)
    assert len(spans) == len(kept) - lost
    assert {text[start:end].strip() for start, end, _ in spans} <= {text[max(start - shift, 0) : end - shift].strip()
                                                                    for start, end, _ in kept}  # fmt: skip

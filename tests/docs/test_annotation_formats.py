"""The page of annotation formats: its examples are read, and it names every format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trimf_train.data.formats.registry import FORMATS
from trimf_train.data.readers import detect_format, read_documents, read_sentences

PAGE = (Path(__file__).parents[2] / "docs" / "annotation-formats.md").read_text(encoding="utf-8")
TEXT = "Marie Curie was born in Warsaw."


def example(title: str, language: str) -> str:
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    match = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert match
    return match[1]


@pytest.mark.parametrize(
    ("title", "format"), [("Label Studio", "labelstudio"), ("doccano", "doccano"), ("Prodigy", "prodigy")]
)
def test_examples_of_json(tmp_path: Path, title: str, format: str) -> None:
    path = tmp_path / "x"
    path.write_text(example(title, "json"), encoding="utf-8")
    assert detect_format(path) == format
    check(path)


def test_example_of_brat(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "x.ann").write_text(example("brat", "text"), encoding="utf-8")
    check(tmp_path)


def check(path: Path) -> None:
    (document,) = read_documents(path) or ()
    assert document.text == TEXT
    assert [(TEXT[e.start : e.end], e.label) for e in document.entities] == [
        ("Marie Curie", "Person"),
        ("Warsaw", "City"),
    ]
    assert [(r.head, r.tail, r.label) for r in document.relations] == [(0, 1, "born_in")]


def test_example_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(example("CoNLL and BIO columns", "text"), encoding="utf-8")
    (sentence,) = read_sentences(path)
    assert [(e.type, e.start, e.end) for e in sentence.entities] == [("Person", 0, 2), ("City", 5, 6)]


def test_every_format_of_a_tool_is_on_the_page() -> None:
    own = {"offsets", "dygie", "prepared", "spert", "ade"}
    assert [format for format in FORMATS if format not in own and f"`{format}`" not in PAGE] == []

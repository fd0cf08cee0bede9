"""The program in docs/bundle-format.md gives what TriMF gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import trimf

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = (
    "Lee Harvey Oswald was shot by Jack Ruby in Dallas .",
    "Steve Jobs , chairman of Apple , was born in San Francisco .",
    "Boeing spokesman Todd Blecher spoke from Seattle .",
    "PERUGIA , Italy ( AP )",
    "Nothing",
)


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    text = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text.partition("## A complete program")[2], re.DOTALL)
    names: dict[str, Any] = {"__name__": "bundle_format"}
    exec(compile(code, "docs/bundle-format.md", "exec"), names)
    return names


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_program_gives_what_trimf_gives(sentence: str, program: dict[str, Any]) -> None:
    words = sentence.split()
    bundle = program["Bundle"](ROOT / "models" / "default")
    entities, relations = program["extract"](bundle, words)
    (expected,) = trimf.load(threads=1).words([words])
    types = bundle.manifest["labels"]["entities"]
    assert [(" ".join(words[start:end]), types[label]) for start, end, label, _ in entities] == [
        (entity.text, entity.label) for entity in expected.entities
    ]
    assert [score for *_, score in entities] == pytest.approx([entity.score for entity in expected.entities], abs=1e-4)
    assert [(expected.entities[head], name, expected.entities[tail]) for head, name, tail, *_ in relations] == [
        (relation.head, relation.label, relation.tail) for relation in expected.relations
    ]
    scores = [score for _, _, _, score, _ in relations]
    assert scores == pytest.approx([relation.score for relation in expected.relations], abs=1e-4)

"""The published JSON schema is that of the code, and every result of the shipped bundle is valid by it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import write_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trimf
from trimf.cli import main

SHOT = "Lee Harvey Oswald was shot by Jack Ruby in Dallas."
TEXTS = [
    SHOT,
    "",
    " \n\t ",
    "Rome",
    "Zoë Ångström 🚀 wörks for Siemens AG in München, Germany. 巴拉克·奥巴马出生于夏威夷。 قال في واشنطن",
    "\x00\x1b[31m<b>&amp;</b>\u202e\ufeff Jack Ruby lives in Dallas.",
    f"{SHOT} " * 40,
    "x" * 3000,
    "- Jack Ruby\n- Dallas\n\nJack Ruby lives\nin Dallas.",
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(write_schema.OUTPUT.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def extract() -> trimf.Extractor:
    return trimf.load(threads=1, syntax="arcs", candidates=True)


def test_the_published_file_is_that_of_the_code() -> None:
    assert write_schema.OUTPUT.read_text(encoding="utf-8") == write_schema.render(), (
        "run python docs/tools/write_schema.py"
    )


def test_every_object_and_property_is_described() -> None:
    for definition in trimf.build_schema()["$defs"].values():
        for part in (definition, *definition["properties"].values()):
            assert part["description"].endswith(".")
            assert not {"`", "\n"} & set(part["description"])


def test_results_are_valid(validator: Any, extract: trimf.Extractor) -> None:
    with trimf.load(threads=1, triggers="exact", syntax="arcs", candidates=True) as exact:
        docs = [exact(SHOT), *map(extract, TEXTS), *trimf.load(threads=1).stream(TEXTS)]
    docs.append(trimf.load(threads=1, triggers=0)(SHOT))
    assert docs[-1].to_dict()["relations"][0]["basis"] is None
    for doc in docs:
        validator.validate(doc.to_dict() | {"id": 1})
        validator.validate(json.loads(doc.to_json()))
    first = docs[0].to_dict()
    assert first["relations"][0]["triggers"]
    assert first["relations"][0]["basis"] == "words"
    assert first["arcs"]
    assert first["candidates"]["relations"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_results_of_any_text_are_valid(validator: Any, extract: trimf.Extractor, text: str) -> None:
    validator.validate(extract(f"Jack Ruby {text} Dallas").to_dict())


def test_results_in_place_of_unreadable_texts_are_valid(validator: Any, extract: trimf.Extractor) -> None:
    texts: list[Any] = [SHOT, None, b"\xff", "a\ud800b"]
    docs = list(extract.stream(texts, on_error="replace"))
    assert [bool(doc.error) for doc in docs] == [False, True, True, True]
    assert len(list(extract.stream(texts, on_error="skip"))) == 1
    for doc in docs:
        validator.validate(json.loads(doc.to_json()))


@pytest.mark.parametrize("mode", ["skip", "replace"])
@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_files_of_results_are_valid(validator: Any, tmp_path: Path, format_: str, mode: str) -> None:
    records = [{"id": n, "text": text, "meta": {"source": ["ü", None]}} for n, text in enumerate(TEXTS)]
    lines = [json.dumps(record) for record in records]
    lines.insert(2, '{"id": "bad", "text": 7}')
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["extract", "--input", str(source), "--on-error", mode, "--format", format_, "--output", str(output)]
    assert main([*arguments, "--threads", "1", "--candidates", "--tree"]) == 0
    written = output.read_text(encoding="utf-8")
    objects = json.loads(written) if format_ == "json" else [json.loads(line) for line in written.splitlines()]
    assert len(objects) == len(TEXTS) + (mode == "replace")
    for entry in objects:
        validator.validate(entry)
        assert "id" in entry
    assert sum("error" in entry for entry in objects) == (mode == "replace")


@pytest.mark.parametrize(
    "change",
    [
        {"text": None},
        {"entities": {}},
        {"entities": [{"start": 0, "end": 1}]},
        {"relations": [{"head": -1, "tail": 0, "label": "x", "score": 1.0}]},
        {"sentences": [[0, 1]]},
        {"notices": [1]},
        {"candidates": []},
    ],
)
def test_what_is_no_extraction_is_invalid(validator: Any, change: dict[str, Any]) -> None:
    sound = {"text": "", "entities": [], "relations": []}
    assert validator.is_valid(sound)
    assert not validator.is_valid(sound | change)
    with pytest.raises(trimf.InputError):
        trimf.Extraction.from_dict(sound | change)

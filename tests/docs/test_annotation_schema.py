"""The published JSON schema of annotated text is that of the code, and says the same as the reader."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import write_schema
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.errors import DataError
from trimf_train.data.formats.offsets import build_schema, read_offsets
from trimf_train.data.reading_report import ReadingReport

ROOT = Path(__file__).resolve().parents[2]

#: Corpora as running text; they are not part of the repository.
DATA = Path(os.environ.get("TRIMF_DATA", ROOT.parent / "shared" / "data"))
CORPORA = ["conll04/natural", "knowledgenet"]

EXAMPLES = re.findall(
    r'^\{"text": .*"entities": \[\{"start".*\}$', (ROOT / "docs/training.md").read_text(), re.MULTILINE
)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(write_schema.ANNOTATION_OUTPUT.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def read(path: Path, *records: Any) -> list[Any]:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return list(read_offsets(path, ReadingReport()))


def test_the_published_file_is_that_of_the_code() -> None:
    path = write_schema.ANNOTATION_OUTPUT
    assert path.read_text(encoding="utf-8") == write_schema.render(path), "run python docs/tools/write_schema.py"


def test_every_object_and_property_is_described() -> None:
    for definition in build_schema()["$defs"].values():
        for part in (definition, *definition["properties"].values()):
            assert part["description"].endswith(".")
            assert not {"`", "\n"} & set(part["description"])


def test_the_examples_of_the_page_are_valid_and_readable(validator: Any, tmp_path: Path) -> None:
    assert EXAMPLES
    for example in map(json.loads, EXAMPLES):
        validator.validate(example)
        (document,) = read(tmp_path / "x.jsonl", example)
        assert len(document.entities) == len(example["entities"]) > 1
        assert document.relations


@pytest.mark.parametrize("corpus", CORPORA)
def test_published_corpora_are_valid_and_readable(validator: Any, corpus: str) -> None:
    files = sorted((DATA / corpus).glob("*.jsonl"))
    if not files:
        pytest.skip(f"{corpus} is not here; TRIMF_DATA names the folder of the corpora")
    for path in files:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for record in records:
            validator.validate(record)
        documents = list(read_offsets(path, ReadingReport()))
        assert [document.text for document in documents] == [record["text"] for record in records]
        assert [document.id for document in documents] == [str(record["id"]) for record in records]


ENTITY = {"start": 0, "end": 1, "label": "T"}


@pytest.mark.parametrize(
    "record",
    [
        {"entities": []},
        {"text": "a"},
        {"text": None, "entities": []},
        {"text": "a", "entities": [ENTITY | {"start": -1}]},
        {"text": "a", "entities": [ENTITY | {"end": 0}]},
        {"text": "a", "entities": [ENTITY | {"label": ""}]},
        {"text": "a", "entities": [ENTITY | {"start": 0.5}]},
        {"text": "a", "entities": [ENTITY], "relations": [{"head": -1, "tail": 0, "label": "r"}]},
        {"text": "a", "entities": [ENTITY], "relations": [{"head": 0, "label": "r"}]},
        {"text": "a", "entities": [ENTITY], "relations": None},
    ],
)
def test_what_the_schema_refuses_the_reader_refuses(validator: Any, tmp_path: Path, record: dict[str, Any]) -> None:
    sound = {"text": "a", "entities": [ENTITY | {"id": 7, "note": None}], "relations": [], "id": 1, "meta": {}}
    validator.validate(sound)
    assert len(read(tmp_path / "x.jsonl", sound)) == 1
    assert not validator.is_valid(record)
    with pytest.raises(DataError):
        read(tmp_path / "x.jsonl", record)


@given(st.text(min_size=1, max_size=20), st.data())
def test_what_the_reader_takes_is_valid(validator: Any, tmp_path_factory: Any, text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    record = {
        "text": text,
        "entities": [{"start": start, "end": end, "label": "T", "id": data.draw(st.none() | st.text())}],
    }
    try:
        (document,) = read(tmp_path_factory.getbasetemp() / "any.jsonl", record)
    except DataError:
        assert text[start:end].isspace()
    else:
        validator.validate(record)
        assert document.text == text
        assert (document.entities[0].start, document.entities[0].end) == (start, end)

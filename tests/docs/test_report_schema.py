"""The published JSON schema of a report is that of the code, and reports are valid by it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import write_schema

from trimf.cli import main


def test_the_published_file_is_that_of_the_code() -> None:
    assert write_schema.REPORT_OUTPUT.read_text(encoding="utf-8") == write_schema.render(write_schema.REPORT_OUTPUT), (
        "run python docs/tools/write_schema.py"
    )


def test_a_report_is_valid(tmp_path: Path) -> None:
    schema = json.loads(write_schema.REPORT_OUTPUT.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    data, written = tmp_path / "data.jsonl", tmp_path / "report.json"
    record = {
        "text": "Jack Ruby lives in Dallas. He shot Oswald.",
        "entities": [{"start": 0, "end": 9, "label": "Peop"}, {"start": 27, "end": 29, "label": "Peop"}],
        "relations": [{"head": 1, "tail": 0, "label": "Live_In"}],
    }
    data.write_text(json.dumps(record) + "\n", encoding="utf-8")
    command = ["report", "default", str(data), "--compare", "default", "--json", str(written), "--resamples", "10"]
    assert main(command) == 0
    jsonschema.Draft202012Validator(schema).validate(json.loads(written.read_bytes()))


def test_every_object_and_property_of_a_report_is_described() -> None:
    definitions = json.loads(write_schema.REPORT_OUTPUT.read_text(encoding="utf-8"))["$defs"]
    for name, definition in definitions.items():
        if not name.startswith("Unreachable"):  # these are part of `trimf eval`, too, and described there
            for part in (definition, *definition["properties"].values()):
                assert part["description"].endswith(".")
                assert not {"`", "\n"} & set(part["description"])

"""Tasks with predictions for Label Studio."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from support.hard_extractions import EMPTY, FAILED, PLAIN, SMILE, extractions

from trimf.runtime.errors import InputError
from trimf.runtime.output.exchange.labelstudio import build_labelling_config, write_labelstudio
from trimf.runtime.output.exchange.settings import Losses, ToolSettings
from trimf.runtime.results import Extraction

SETTINGS = ToolSettings(("Person", "City", "Name"), ("met", "knows", "lives in"), "my-model-1a2b3c4d")


def write(results: Sequence[Extraction], model: ToolSettings = SETTINGS) -> list[dict[str, Any]]:
    stream, losses = io.StringIO(), Losses()
    write_labelstudio(iter(results), stream, model, losses)
    assert losses.describe() == []
    return json.loads(stream.getvalue())


def test_a_task() -> None:
    (task,) = write([SMILE])
    assert task["data"] == {"id": 7, "text": SMILE.text}
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "my-model-1a2b3c4d"
    assert prediction["score"] == 0.5
    assert prediction["result"][1] == {
        "id": "e1",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "value": {"start": 10, "end": 20, "text": "Bob\r\nStone", "labels": ["Person"]},
        "score": 0.5625,
    }
    # Label Studio keeps one relation for a pair, so its types are labels of one.
    assert prediction["result"][5:] == [
        {"type": "relation", "from_id": "e0", "to_id": "e1", "direction": "right", "labels": ["met", "knows"]},
        {"type": "relation", "from_id": "e1", "to_id": "e0", "direction": "right", "labels": ["met"]},
        {"type": "relation", "from_id": "e1", "to_id": "e2", "direction": "right", "labels": ["lives in"]},
    ]


def test_texts_without_entities() -> None:
    empty, failed, plain = write([EMPTY, FAILED, PLAIN])
    assert empty["data"] == {"id": "empty", "text": ""}
    assert failed["data"] == {"id": "bad", "text": "", "error": "line 3: no field 'text'"}
    assert plain["predictions"] == [{"model_version": "my-model-1a2b3c4d", "result": []}]
    assert write([]) == []


def test_names_of_the_tags() -> None:
    (task,) = write([SMILE], SETTINGS._replace(from_name="ner", to_name="content"))
    regions = [item for item in task["predictions"][0]["result"] if item["type"] == "labels"]
    assert {(item["from_name"], item["to_name"]) for item in regions} == {("ner", "content")}


@settings(deadline=None, max_examples=50)
@given(extractions())
def test_every_entity_and_relation_is_there(extraction: Extraction) -> None:
    (task,) = write([extraction])
    text = task["data"]["text"]
    assert text == extraction.text
    result = task["predictions"][0]["result"]
    regions = {item["id"]: item["value"] for item in result if item["type"] == "labels"}
    # Label Studio takes [...text], the code points of the text, from start to end.
    assert [(text[one["start"] : one["end"]], one["start"], one["labels"][0]) for one in regions.values()] == [
        (entity.text, entity.start, entity.label) for entity in extraction.entities
    ]
    pairs = [(item["from_id"], item["to_id"]) for item in result if item["type"] == "relation"]
    assert len(pairs) == len(set(pairs))
    places = [(one["start"], one["end"], one["labels"][0]) for one in regions.values()]
    found = {
        (places[int(item["from_id"][1:])], label, places[int(item["to_id"][1:])])
        for item in result
        if item["type"] == "relation"
        for label in item["labels"]
    }
    assert found == {
        ((one.head.start, one.head.end, one.head.label), one.label, (one.tail.start, one.tail.end, one.tail.label))
        for one in extraction.relations
    }


def test_the_labelling_configuration() -> None:
    names = ['a "b" & <c>', "\u00e4\n\U0001f600"]
    config = build_labelling_config(names, ["r>"], "ner", "content")
    root = ElementTree.fromstring(config)
    assert [tag.get("value") for tag in root.iter("Label")] == names
    assert len({tag.get("background") for tag in root.iter("Label")}) == 2
    assert [tag.get("value") for tag in root.iter("Relation")] == ["r>"]
    assert root.find("Labels").attrib == {"name": "ner", "toName": "content"}  # type: ignore[union-attr]
    assert root.find("Text").attrib == {"name": "content", "value": "$text"}  # type: ignore[union-attr]
    assert "Relation" not in build_labelling_config(names, [])
    with pytest.raises(InputError, match=r"'a\\x1b' cannot be written .* rename the label"):
        build_labelling_config(["a\x1b"], [])


def test_label_studio_takes_the_predictions(tmp_path: Path) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="pip install label-studio-sdk")
    config = interface.LabelInterface(build_labelling_config(SETTINGS.entity_types, SETTINGS.relation_types))
    config.validate()
    for task in write([SMILE, EMPTY, FAILED, PLAIN]):
        for prediction in task["predictions"]:
            assert config.validate_prediction(prediction, return_errors=True) == []

"""JSON lines for doccano."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from support.hard_extractions import EMPTY, FAILED, PLAIN, SMILE, extractions

from trimf.runtime.output.exchange.doccano import write_doccano
from trimf.runtime.output.exchange.settings import Losses, ToolSettings
from trimf.runtime.results import Extraction


def write(results: Sequence[Extraction], losses: Losses | None = None) -> list[dict[str, Any]]:
    stream = io.StringIO()
    write_doccano(iter(results), stream, ToolSettings(), losses or Losses())
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


def test_a_line() -> None:
    losses = Losses()
    line, plain = write([SMILE, EMPTY, FAILED, PLAIN], losses)
    assert line["id"] == 7
    assert line["text"] == SMILE.text
    # The first emoji takes two code units of UTF-16.
    assert line["entities"][:2] == [
        {"id": 0, "label": "Person", "start_offset": 3, "end_offset": 6},
        {"id": 1, "label": "Person", "start_offset": 11, "end_offset": 21},
    ]
    assert line["relations"][3] == {"id": 3, "from_id": 1, "to_id": 2, "type": "lives in"}
    assert plain == {"text": "Nothing here.", "entities": [], "relations": []}
    assert losses.describe() == [
        "overlapping entities, for which the project must allow overlapping spans (1): 7",
        "empty texts were left out, which doccano refuses (2): empty, bad",
    ]


@settings(deadline=None, max_examples=50)
@given(extractions())
def test_offsets_count_utf_16(extraction: Extraction) -> None:
    lines = write([extraction])
    assert len(lines) == bool(extraction.text)
    for line in lines:
        units = line["text"].encode("utf-16-le")
        covered = [units[2 * one["start_offset"] : 2 * one["end_offset"]] for one in line["entities"]]
        assert [part.decode("utf-16-le") for part in covered] == [entity.text for entity in extraction.entities]
        assert [(one["from_id"], one["type"], one["to_id"]) for one in line["relations"]] == [
            (extraction.entities.index(one.head), one.label, extraction.entities.index(one.tail))
            for one in extraction.relations
        ]
        # doccano's importer puts a record's fields over its own columns.
        assert "filename" not in line
        assert line.get("filename_") == extraction.fields.get("filename")  # type: ignore[attr-defined]

"""Write JSON lines that doccano imports into a project with relations."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TextIO

from ...results import Extraction, RecordExtraction
from .settings import Losses, ToolSettings, number_entities

#: Columns that doccano's importer adds itself.
_OWN_COLUMNS = frozenset({"filename", "upload_name", "example_uuid", "#line_number"})


def write_doccano(extractions: Iterable[Extraction], stream: TextIO, settings: ToolSettings, losses: Losses) -> None:
    """Write one JSON object per line, flushed at once for readers of a pipe.

    Args:
        extractions: Extractions to write; each is consumed once.
        stream: Where to write.
        settings: Not used.
        losses: Counts empty texts, which doccano refuses, and texts with overlapping entities, of which doccano keeps
            the first unless the project allows them.
    """
    for number, extraction in enumerate(extractions, 1):
        name = extraction.name if isinstance(extraction, RecordExtraction) else ""
        example = name or f"text {number}"
        if not extraction.text:
            losses.add("empty texts were left out, which doccano refuses", example)
            continue
        if _overlaps(extraction):
            losses.add("overlapping entities, for which the project must allow overlapping spans", example)
        # In ASCII, because doccano guesses the encoding of a file, and may guess wrong.
        stream.write(json.dumps(build_example(extraction)) + "\n")
        stream.flush()


def build_example(extraction: Extraction) -> dict[str, Any]:
    """Build a line for doccano.

    doccano counts UTF-16 code units, in which a character such as an emoji takes two, unless the project counts
    grapheme clusters.

    Args:
        extraction: The extraction; the other fields of its record become metadata. One whose name is a column of
            doccano's importer gets an underscore.
    """
    fields = extraction.fields if isinstance(extraction, RecordExtraction) else {}
    index = number_entities(extraction)
    wide = [] if max(extraction.text, default="") <= "\uffff" else _find_wide(extraction.text)
    return {
        **{f"{key}_" if key in _OWN_COLUMNS else key: value for key, value in fields.items()},
        "text": extraction.text,
        "entities": [
            {
                "id": number,
                "label": entity.label,
                "start_offset": entity.start + bisect_left(wide, entity.start),
                "end_offset": entity.end + bisect_left(wide, entity.end),
            }
            for number, entity in enumerate(extraction.entities)
        ],
        "relations": [
            {
                "id": number,
                "from_id": index[relation.head],
                "to_id": index[relation.tail],
                "type": relation.label,
            }
            for number, relation in enumerate(extraction.relations)
        ],
    }


def _find_wide(text: str) -> list[int]:
    """Return the indices of the characters that take two code units in UTF-16."""
    return [index for index, character in enumerate(text) if character > "\uffff"]


def _overlaps(extraction: Extraction) -> bool:
    places = sorted((entity.start, entity.end) for entity in extraction.entities)
    return any(start < end for (_, end), (start, _) in pairwise(places))

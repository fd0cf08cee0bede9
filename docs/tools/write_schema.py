"""Write the JSON schemas of an extraction, an annotated document and a report, from the code.

Run ``python docs/tools/write_schema.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trimf
from trimf_train.data.formats import offsets
from trimf_train.evaluation.report import schema as report

_DOCS = Path(__file__).resolve().parents[1]

OUTPUT = _DOCS / "extraction.schema.json"
ANNOTATION_OUTPUT = _DOCS / "annotation.schema.json"
REPORT_OUTPUT = _DOCS / "report.schema.json"

#: Functions that build the schemas, by file.
SCHEMAS: dict[Path, Callable[[], dict[str, Any]]] = {
    OUTPUT: trimf.build_schema,
    ANNOTATION_OUTPUT: offsets.build_schema,
    REPORT_OUTPUT: report.build_schema,
}


def render(path: Path = OUTPUT) -> str:
    """Return the content of a file."""
    return json.dumps(SCHEMAS[path](), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in SCHEMAS:
        path.write_text(render(path), encoding="utf-8")

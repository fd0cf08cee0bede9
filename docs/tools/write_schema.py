"""Write the JSON schema of an extraction to ``docs/extraction.schema.json``, from the code.

Run ``python docs/tools/write_schema.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import trimf

OUTPUT = Path(__file__).resolve().parents[1] / "extraction.schema.json"


def render() -> str:
    """Return the content of the file."""
    return json.dumps(trimf.build_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(render(), encoding="utf-8")

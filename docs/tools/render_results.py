"""Render the tables of README and docs from the files in ``docs/results``.

A page names a results file in a pair of comments; what stands between them is generated:

    <!-- results: conll04-recipes -->
    <!-- /results -->

``<!-- results: NAME brief -->`` renders the table without the commands that measured it. Run this file to render all
pages in place, or with ``--check`` to fail where a page differs from its results file.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(
    r"(<!-- results: (?P<name>[\w-]+)(?P<brief> brief)? -->\n)(?P<body>.*?)(<!-- /results -->)", re.DOTALL
)

#: What every measurement states: the command that repeats it, the device, the day (ISO 8601) and the commit measured.
MEASUREMENT = ("command", "device", "date", "commit")


def pages() -> list[Path]:
    """Return README and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def load(name: str) -> dict[str, Any]:
    """Read a results file.

    Args:
        name: file name in ``docs/results`` without its suffix.

    Returns:
        Keys ``title``, ``columns``, ``rows`` and ``measured``, and ``note`` where there is one.

    Raises:
        ValueError: a key is missing, a row has another length than the columns, or a measurement is incomplete.
    """
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    missing = [key for key in ("title", "columns", "rows", "measured") if not content.get(key)]
    if missing:
        raise ValueError(f"{name}.json: missing {', '.join(missing)}")
    for row in content["rows"]:
        if len(row) != len(content["columns"]):
            raise ValueError(f"{name}.json: row {row[0]!r} has {len(row)} cells, expected {len(content['columns'])}")
    for measurement in content["measured"]:
        if "from" not in measurement and any(not measurement.get(key) for key in MEASUREMENT):
            raise ValueError(f"{name}.json: a measurement must state {', '.join(MEASUREMENT)}")
    return content


def cell_text(cell: Any) -> str:
    """Return the text of a cell; a cell ``{"from", "row", "column"}`` is looked up in another results file.

    Raises:
        ValueError: the other file has no such row or column.
    """
    if not isinstance(cell, dict):
        return str(cell)
    source = load(cell["from"])
    rows = [row for row in source["rows"] if row[0] == cell["row"]]
    if len(rows) != 1 or cell["column"] not in source["columns"]:
        raise ValueError(f"{cell['from']}.json has no row {cell['row']!r} with a column {cell['column']!r}")
    return cell_text(rows[0][source["columns"].index(cell["column"])])


def render(name: str, *, brief: bool = False) -> str:
    """Return a results file as a Markdown table.

    Args:
        name: file name in ``docs/results`` without its suffix.
        brief: leave out the note and the commands that measured it.
    """
    content = load(name)
    lines = [content["columns"], ["---"] * len(content["columns"])]
    lines += [[cell_text(cell) for cell in row] for row in content["rows"]]
    parts = ["\n".join(f"| {' | '.join(line)} |" for line in lines)]
    if not brief:
        if content.get("note"):
            parts.append(content["note"])
        parts.append("\n".join(_measurement_line(measurement) for measurement in content["measured"]))
    return "\n\n".join(parts) + "\n"


def _measurement_line(measurement: dict[str, str]) -> str:
    if "from" in measurement:
        return f"- see `docs/results/{measurement['from']}.json`"
    what = f"{measurement['rows']}: " if measurement.get("rows") else ""
    where = f"{measurement['device']}, {measurement['date']}, commit {measurement['commit']}"
    return f"- {what}`{measurement['command']}` ({where})"


def rendered(text: str) -> str:
    """Return the text of a page with every results block rendered anew."""
    return BLOCK.sub(lambda block: block[1] + render(block["name"], brief=bool(block["brief"])) + block[5], text)


def main(arguments: list[str]) -> int:
    """Render all pages in place, or with ``--check`` report those that differ; return the exit status."""
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (expected := rendered(text)) != text:
            stale.append(page.relative_to(ROOT).as_posix())
            if "--check" not in arguments:
                page.write_text(expected, encoding="utf-8")
    for page in stale:
        sys.stdout.write(f"{page}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

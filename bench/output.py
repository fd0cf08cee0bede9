"""A report as files: JSON, Markdown and HTML in one folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .schema import Report


def write(report: Report, folder: Path) -> Exception | None:
    """Write ``report.json``, ``report.md`` and ``report.html``.

    What went wrong is given back instead of raised, so that numbers that took an hour outlive a page that fails.
    """
    (folder / "report.json").write_bytes(msgspec.json.encode(report) + b"\n")
    try:
        from .html import page
        from .markdown import markdown

        (folder / "report.md").write_text(markdown(report), encoding="utf-8")
        (folder / "report.html").write_text(page(report), encoding="utf-8")
    except Exception as error:
        return error
    return None

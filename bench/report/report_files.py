"""Write a report to a folder as JSON, Markdown and HTML."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .schema import Report


def write_report(report: Report, folder: Path) -> Exception | None:
    """Write ``report.json``, ``report.md`` and ``report.html``.

    An error of the Markdown or HTML file is returned instead of raised, so that a failing page does not lose the
    results of a long run.

    Args:
        report: The report.
        folder: Existing folder to write to.

    Returns:
        The error, or None.
    """
    (folder / "report.json").write_bytes(msgspec.json.encode(report) + b"\n")
    try:
        from .html_report import render_page
        from .markdown_report import render_markdown

        (folder / "report.md").write_text(render_markdown(report), encoding="utf-8")
        (folder / "report.html").write_text(render_page(report), encoding="utf-8")
    except Exception as error:
        return error
    return None

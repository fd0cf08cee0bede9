"""Write a report as an HTML page and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from trimf.runtime.errors import InputError
from trimf.runtime.files.output import open_output

from .schema import Report


class ReportFiles(NamedTuple):
    """Where a report goes; ``-`` is standard output, None leaves the form out."""

    html: Path | None
    json: Path | None

    def check(self, data: Path) -> None:
        """Raise InputError unless a report can be written here without replacing the data or itself."""
        if self.html is None and self.json is None:
            raise InputError("nothing to write: pass --output report.html, --json report.json or both")
        if self.html is not None and self.html == self.json:
            raise InputError(f"--output and --json are both {self.html}; choose two files")
        for option, path in (("--output", self.html), ("--json", self.json)):
            if path is not None and path.exists() and data.exists() and path.samefile(data):
                raise InputError(f"{option} {path} is the data; choose another file")


def write_report(report: Report, files: ReportFiles) -> None:
    """Write a report.

    Args:
        report: The report.
        files: Where to write it.

    Raises:
        InputError: A file cannot be written.
    """
    if files.html is not None:
        from .html_report import render_report

        with open_output(files.html) as stream:
            stream.write(render_report(report))
    if files.json is not None:
        with open_output(files.json) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")

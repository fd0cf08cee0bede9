"""Write extractions to a file or to stdout while they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from ..files.output import open_output
from ..results import Extraction, RecordExtraction


def write_extractions(extractions: Iterable[Extraction], format_: str, output: Path | None) -> None:
    """Write extractions to a file or to stdout.

    Args:
        extractions: Extractions to write; each is consumed once.
        format_: ``"text"``, ``"json"`` (one array), ``"jsonl"`` (one object per line) or ``"html"``.
        output: File to write, which appears only when it is complete; None or ``-`` writes to standard output as
            results arrive, in UTF-8 unless the format is text.

    Raises:
        InputError: The file cannot be written.
    """
    with open_output(output, encoding=None if format_ == "text" else "utf-8") as stream:
        _FORMATS[format_](extractions, stream)
        stream.flush()


def _write_text(extractions: Iterable[Extraction], stream: TextIO) -> None:
    """Write marked sentences, tables and notices."""
    from rich.console import Console

    from .terminal_text import print_extraction

    console = Console(file=stream)
    for extraction in extractions:
        if isinstance(extraction, RecordExtraction) and (name := extraction.name):
            console.print(f"{name}:", markup=False, highlight=False)
        print_extraction(extraction, console)


def _write_json(extractions: Iterable[Extraction], stream: TextIO) -> None:
    """Write one JSON array."""
    separator = "[\n"
    for extraction in extractions:
        stream.write(separator + extraction.to_json())
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_jsonl(extractions: Iterable[Extraction], stream: TextIO) -> None:
    """Write one JSON object per line, flushed at once for readers of a pipe."""
    for extraction in extractions:
        stream.write(extraction.to_json() + "\n")
        stream.flush()


def _write_html(extractions: Iterable[Extraction], stream: TextIO) -> None:
    """Write one self-contained HTML page."""
    from .html_page import render_html

    for piece in render_html(extractions):
        stream.write(piece)


#: Writer of each output format.
_FORMATS: dict[str, Callable[[Iterable[Extraction], TextIO], None]] = {
    "text": _write_text,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "html": _write_html,
}

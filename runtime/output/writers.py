"""Write extractions to a file, a folder or stdout while they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from ..errors import InputError
from ..files.atomic import check_new_folder
from ..files.output import open_output
from ..results import Extraction, RecordExtraction
from .exchange.brat import write_brat
from .exchange.docbin import write_docbin
from .exchange.doccano import write_doccano
from .exchange.labelstudio import write_labelstudio
from .exchange.settings import Losses, ToolSettings
from .exchange.triples import write_triples_csv, write_triples_jsonl, write_triples_tsv


def write_extractions(
    extractions: Iterable[Extraction],
    format_: str,
    output: Path | None,
    settings: ToolSettings | None = None,
    losses: Losses | None = None,
) -> None:
    """Write extractions to a file, a folder or stdout.

    Args:
        extractions: Extractions to write; each is consumed once.
        format_: ``"text"``, ``"json"`` (one array), ``"jsonl"`` (one object per line) or ``"html"``; a table of
            relations, ``"triples"`` (separated by tabs), ``"triples-csv"`` or ``"triples-jsonl"``; or what a tool for
            annotation imports, ``"labelstudio"``, ``"doccano"``, ``"brat"`` (a folder) or ``"spacy"`` (a binary file).
        output: File or folder to write, which appears only when it is complete; None or ``-`` writes to standard output
            as results arrive, in UTF-8 unless the format is text.
        settings: What the formats of other tools need besides the extractions.
        losses: Counts what such a format does not hold.

    Raises:
        InputError: The file or folder cannot be written.
    """
    settings = ToolSettings() if settings is None else settings
    losses = Losses() if losses is None else losses
    if write := _PATH_FORMATS.get(format_):
        check_destination(format_, output)
        write(extractions, Path(str(output)), settings, losses)
        return
    with open_output(output, encoding=None if format_ == "text" else "utf-8") as stream:
        if write_own := _OWN_FORMATS.get(format_):
            write_own(extractions, stream)
        else:
            _STREAM_FORMATS[format_](extractions, stream, settings, losses)
        stream.flush()


def check_destination(format_: str, output: Path | None) -> None:
    """Check that an output can hold a format, before anything is computed.

    Raises:
        InputError: The format needs a folder or a file and the output is none, or its name is that of another format.
    """
    name = "" if output is None else str(output)
    if format_ == "brat":
        if output is None or name == "-":
            raise InputError("--format brat writes a folder; name it with --output FOLDER")
        check_new_folder(output)
        return
    if format_ == "spacy" and name in ("", "-"):
        raise InputError("--format spacy writes a binary file; name it with --output FILE.spacy")
    if output is not None and output.is_dir():
        raise InputError(f"--output {output} is a folder, but --format {format_} writes a file; choose another path")
    other = _TABLE_ENDINGS.get(output.suffix.lower()) if output is not None and format_.startswith("triples") else None
    if other not in (None, format_):
        raise InputError(f"--output {output}: its ending is that of --format {other}, not of --format {format_}")


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


#: Writers of the formats that hold whatever an extraction has, or show it.
_OWN_FORMATS: dict[str, Callable[[Iterable[Extraction], TextIO], None]] = {
    "text": _write_text,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "html": _write_html,
}

#: Writers of other tools' formats that are text.
_STREAM_FORMATS: dict[str, Callable[[Iterable[Extraction], TextIO, ToolSettings, Losses], None]] = {
    "triples": write_triples_tsv,
    "triples-csv": write_triples_csv,
    "triples-jsonl": write_triples_jsonl,
    "labelstudio": write_labelstudio,
    "doccano": write_doccano,
}

#: Writers of other tools' formats that are a folder or binary.
_PATH_FORMATS: dict[str, Callable[[Iterable[Extraction], Path, ToolSettings, Losses], None]] = {
    "brat": write_brat,
    "spacy": write_docbin,
}

#: The format of tables by the ending of their file.
_TABLE_ENDINGS = {
    ".tsv": "triples",
    ".tab": "triples",
    ".csv": "triples-csv",
    ".jsonl": "triples-jsonl",
    ".ndjson": "triples-jsonl",
}

#: Names of the formats of other tools, which do not hold everything.
TOOL_FORMATS = (*_STREAM_FORMATS, *_PATH_FORMATS)

#: Names of all formats.
FORMATS = (*_OWN_FORMATS, *TOOL_FORMATS)

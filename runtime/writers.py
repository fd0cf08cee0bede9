"""Extractions to a file or the terminal, as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .errors import InputError
from .files import atomic_path
from .results import Extraction


def write(extractions: Iterable[Extraction], format_: str, output: Path | None) -> None:
    """Write in ``format_`` (text, json, jsonl, html) to ``output``, all or nothing, or to stdout as they come.

    Raises:
        InputError: the file cannot be written.
    """
    with to_stream(output) as stream:
        _FORMATS[format_](extractions, stream)
        stream.flush()


@contextmanager
def to_stream(output: Path | None) -> Iterator[TextIO]:
    """``output``, written all or nothing, or stdout; raises :class:`InputError` where it cannot be written."""
    if output is None:
        yield sys.stdout
        return
    try:
        with atomic_path(output) as new, new.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from error


def _text(extractions: Iterable[Extraction], stream: TextIO) -> None:
    from rich.console import Console

    from .render import to_text

    console = Console(file=stream)
    for extraction in extractions:
        to_text(extraction, console)
        for notice in extraction.notices:
            print(f"trimf: {notice}", file=sys.stderr)


def _json(extractions: Iterable[Extraction], stream: TextIO) -> None:
    separator = "[\n"
    for extraction in extractions:
        stream.write(separator + extraction.to_json())
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _jsonl(extractions: Iterable[Extraction], stream: TextIO) -> None:
    for extraction in extractions:
        stream.write(extraction.to_json() + "\n")
        stream.flush()


def _html(extractions: Iterable[Extraction], stream: TextIO) -> None:
    from .render import to_html

    for piece in to_html(extractions):
        stream.write(piece)


_FORMATS: dict[str, Callable[[Iterable[Extraction], TextIO], None]] = {
    "text": _text,
    "json": _json,
    "jsonl": _jsonl,
    "html": _html,
}

"""Read brat standoff annotation: a folder of ``.txt`` files with an ``.ann`` file beside each."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from trimf.runtime.errors import DataError

from ..document import AnnotatedDocument
from ..document_building import DocumentBuilder, SourceSpan
from ..json_errors import field_error, read_bytes, read_lines, short_repr
from ..offset_counting import CountedSpan, find_counting
from ..reading_report import ReadingReport
from .format import FormatSample

_SPAN = re.compile(r"(?P<label>\S+) (?P<places>\d{1,18} \d{1,18}(?:;\d{1,18} \d{1,18})*)", re.ASCII)
_RELATION = re.compile(r"(?P<label>\S+) [^\s:]+:(?P<head>\S+) [^\s:]+:(?P<tail>\S+)\s*")

#: First characters of the other lines of an annotation file, and what they are.
_OTHER = {
    "E": "event",
    "A": "attribute",
    "M": "modification",
    "N": "normalization",
    "#": "note",
    "*": "equivalence",
}


def is_brat(sample: FormatSample) -> bool:
    """Return True for a folder with annotation files, and for one such file, or the text beside it."""
    path = sample.path
    if path.is_dir():
        return next(_list_annotation_files(path), None) is not None
    return path.suffix == ".ann" or (path.suffix == ".txt" and path.with_suffix(".ann").exists())


def list_brat_files(path: Path) -> list[Path]:
    """Return the files that are read when a folder or a file is given."""
    files = [file for ann in _annotation_files(path) for file in (ann, ann.with_suffix(".txt"))]
    return [file for file in files if file.exists()]


def read_brat(path: Path, report: ReadingReport) -> Iterator[AnnotatedDocument]:
    """Read the documents of a folder and its subfolders, or one document.

    Offsets count characters of the text with its line ends as they are in the file; where the covered text fits no such
    counting, other countings are tried.

    Args:
        path: The folder, or one ``.ann`` or ``.txt`` file.
        report: Counts what is left out: entities in several pieces with their relations, events, attributes, notes and
            the like, and texts without annotation file.

    Yields:
        The checked documents, in the order of their names. ``id`` is the name without ``.ann``, in its folder.

    Raises:
        DataError: A file is missing or cannot be used; the message names the file, the line and what was expected.
    """
    annotated = _annotation_files(path)
    if path.exists() and not path.is_dir() and path.suffix not in (".ann", ".txt"):
        raise DataError(f"{path}: is no file of brat; name a folder, an .ann file or its .txt file")
    if path.is_dir():
        if not annotated:
            raise DataError(f"{path}: is a folder without .ann files, so not one of brat")
        for text in sorted(path.rglob("*.txt")):
            if not text.name.startswith(".") and text.with_suffix(".ann") not in annotated:
                report.add("unannotated_documents", example=f"{text.relative_to(path)} has no .ann file")
    for ann in annotated:
        id = ann.relative_to(path) if path.is_dir() else Path(ann.name)
        yield _read_document(ann, id.with_suffix("").as_posix(), report)


def _annotation_files(path: Path) -> list[Path]:
    return sorted(_list_annotation_files(path)) if path.is_dir() else [path.with_suffix(".ann")]


def _list_annotation_files(folder: Path) -> Iterator[Path]:
    """Yield the annotation files of a folder and its subfolders, but no hidden ones, which archives of macOS have."""
    return (path for path in folder.rglob("*.ann") if not path.name.startswith(".") and path.is_file())


def _read_document(ann: Path, id: str, report: ReadingReport) -> AnnotatedDocument:
    source = ann.with_suffix(".txt")
    if not ann.exists():
        raise DataError(f"{ann}: no such file; brat writes it beside the text {source.name}")
    if not source.exists():
        raise DataError(f"{ann}: its text {source.name} is missing; put it into the same folder")
    text = read_bytes(source).decode()
    builder = DocumentBuilder(text, str(ann), report, id)
    relations: list[tuple[int, str]] = []
    names: set[str] = set()
    spans: list[tuple[str, SourceSpan]] = []
    for line_number, content in read_lines(ann):
        line, location = content.decode(), f"{ann}: line {line_number}"
        name, _, rest = line.partition("\t")
        if not line.strip():
            continue
        if line[0] in "TR":
            if name in names:
                raise field_error(location, "id", name, "an id that no other line has")
            names.add(name)
        if line[0] == "T":
            span = _read_span(rest, text, location, report)
            if span is None:
                builder.drop(name)
            else:
                spans.append((name, span))
        elif line[0] == "R":
            relations.append((line_number, rest))
        elif line[0] in _OTHER:
            report.add("other_annotations", _OTHER[line[0]], f"{line} (line {line_number} of {id}.ann)")
            if line[0] == "E":
                builder.drop(name)
        else:
            raise DataError(
                f"{location}: must begin with T, R, E, A, M, N, # or *, as a line of brat, got {short_repr(line)}"
            )
    shift = _count_byte_order_mark(source, text, [span.span for _, span in spans])
    for name, span in spans:
        moved = span.span._replace(start=span.span.start - shift, end=span.span.end - shift)
        builder.add_entity(SourceSpan(moved, span.label, span.field), name)
    for line_number, rest in relations:
        match = _RELATION.fullmatch(rest)
        if match is None:
            expected = "a relation as in 'R1<tab>Type Arg1:T1 Arg2:T2'"
            raise field_error(f"{ann}: line {line_number}", "R", rest, expected)
        builder.add_relation(match["head"], match["tail"], match["label"])
    return builder.build()


def _read_span(rest: str, text: str, location: str, report: ReadingReport) -> SourceSpan | None:
    """Read a text-bound annotation; None if it is in several pieces.

    brat cuts a span at line ends, so pieces with only white space between them are one.
    """
    what, _, covered = rest.partition("\t")
    match = _SPAN.fullmatch(what)
    if match is None:
        expected = "a label with its offsets as in 'T1<tab>Label 0 5<tab>text'"
        raise field_error(location, "T", rest, expected)
    numbers = [int(digits) for digits in re.split("[ ;]", match["places"])]
    gaps = zip(numbers[1:-1:2], numbers[2::2], strict=True)
    if any(text[end:start].strip() or start < end for end, start in gaps):
        report.add("discontinuous_entities", match["label"], f"{rest} ({Path(location).name})")
        return None
    span = CountedSpan(numbers[0], numbers[-1], covered if "\t" in rest else None)
    return SourceSpan(span, match["label"], f"{location.rpartition(': ')[2]}: offsets")


def _count_byte_order_mark(source: Path, text: str, spans: list[CountedSpan]) -> int:
    """Return 1 if the file begins with a byte-order mark that the offsets count, which is no part of the text."""
    with source.open("rb") as file:
        marked = file.read(3) == codecs.BOM_UTF8
    return int(marked and find_counting(text, spans) is None and find_counting(f"\ufeff{text}", spans) is not None)

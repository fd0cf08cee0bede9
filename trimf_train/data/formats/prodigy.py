"""Read the JSON lines that Prodigy writes (``prodigy db-out``): spans and relations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError

from ..document import AnnotatedDocument
from ..document_building import DocumentBuilder, SourceSpan
from ..json_errors import decode_record
from ..json_records import read_json_records
from ..offset_counting import CountedSpan
from ..reading_report import ReadingReport
from .format import FormatSample


class Token(msgspec.Struct, frozen=True):
    """Word of a task, with its characters."""

    start: int
    end: int
    text: str | None = None


class Span(msgspec.Struct, frozen=True):
    """Span; ``token_end`` is its last token."""

    start: int
    end: int
    label: str | None = None
    token_start: int | None = None
    token_end: int | None = None


class Relation(msgspec.Struct, frozen=True):
    """Relation between two tokens, and the spans that they are part of."""

    head: int
    child: int
    label: str | None = None
    head_span: Span | None = None
    child_span: Span | None = None


class Task(msgspec.Struct, frozen=True):
    """Annotated task; further fields are ignored."""

    text: str
    tokens: list[Token] | None = None
    spans: list[Span] | None = None
    relations: list[Relation] | None = None
    answer: str | None = None
    task_hash: int | str | None = msgspec.field(default=None, name="_task_hash")


_DECODER = msgspec.json.Decoder(Task)
_OWN_FIELDS = {"_task_hash", "_input_hash", "answer", "spans"}


def is_prodigy(sample: FormatSample) -> bool:
    """Return True if a record has a text and a field that only Prodigy writes."""
    return any(
        "text" in record and bool(_OWN_FIELDS & record.keys()) and "entities" not in record for record in sample.records
    )


def read_prodigy(path: Path, report: ReadingReport) -> Iterator[AnnotatedDocument]:
    """Read the accepted tasks of a Prodigy export.

    Args:
        path: The file: JSON lines.
        report: Counts what is left out: tasks that were rejected or ignored, and tasks annotated again.

    Yields:
        The checked documents, in file order. ``id`` is the number of the task, counted from 1.

    Raises:
        DataError: The file or a task cannot be used; the message names the line, the field and what was expected.
    """
    seen: set[int | str] = set()
    for number, record in enumerate(read_json_records(path), 1):
        location = f"{path}: {record.name}"
        task = decode_record(_DECODER, record.content, location)
        if task.answer not in (None, "accept"):
            report.add("rejected_documents", task.answer or "", f"{location}: answer {task.answer}")
        elif task.task_hash is not None and task.task_hash in seen:
            report.add("further_annotations", example=location)
        else:
            yield _build_document(task, str(number), location, report)
            if task.task_hash is not None:
                seen.add(task.task_hash)


def _build_document(task: Task, id: str, location: str, report: ReadingReport) -> AnnotatedDocument:
    builder = DocumentBuilder(task.text, location, report, id)
    spans = task.spans or []
    for index, span in enumerate(spans):
        covered = _covered_text(task, span, f"{location}: spans[{index}]")
        builder.add_entity(
            SourceSpan(CountedSpan(span.start, span.end, covered), span.label or "", f"spans[{index}]"), index
        )
    for relation in task.relations or ():
        ends = [
            _find_span(task, spans, relation.head, relation.head_span),
            _find_span(task, spans, relation.child, relation.child_span),
        ]
        head, tail = ends
        builder.add_relation(
            f"token {relation.head}" if head is None else head,
            f"token {relation.child}" if tail is None else tail,
            relation.label,
        )
    return builder.build()


def _covered_text(task: Task, span: Span, location: str) -> str | None:
    """Return the text of a span by the text of its tokens, or its only token; None if it has more or none.

    The white space between tokens is that between their offsets, so the first and the last token decide.
    """
    if task.tokens is None or span.token_start is None or span.token_end is None:
        return None
    if not 0 <= span.token_start <= span.token_end < len(task.tokens):
        raise DataError(
            f"{location}: token_start and token_end must be indices of the {len(task.tokens)} tokens, got "
            f"{span.token_start} and {span.token_end}"
        )
    first, last = task.tokens[span.token_start], task.tokens[span.token_end]
    if (first.start, last.end) != (span.start, span.end):
        raise DataError(
            f"{location}: start and end must be those of its tokens, {first.start} and {last.end}, "
            f"got {span.start} and {span.end}"
        )
    return first.text if first is last else None


def _find_span(task: Task, spans: list[Span], token: int, place: Span | None) -> int | None:
    """Return the index of the span that an end of a relation means: by its characters, or else by its token."""
    if place is not None:
        same = [i for i, span in enumerate(spans) if (span.start, span.end) == (place.start, place.end)]
        return next((i for i in same if spans[i].label == place.label), same[0] if same else None)
    ends = [i for i, span in enumerate(spans) if span.token_end == token]
    if not ends:
        ends = [i for i, span in enumerate(spans) if _holds(span, token)]
    if not ends and task.tokens is not None and 0 <= token < len(task.tokens):
        word = task.tokens[token]
        ends = [i for i, span in enumerate(spans) if span.start <= word.start and word.end <= span.end]
    return ends[0] if ends else None


def _holds(span: Span, token: int) -> bool:
    return span.token_start is not None and span.token_end is not None and span.token_start <= token <= span.token_end

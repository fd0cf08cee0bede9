"""Read the export "JSON" of Label Studio: tasks with regions of text and relations between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimf.runtime.errors import DataError

from ..document import AnnotatedDocument
from ..document_building import DocumentBuilder, SourceSpan
from ..json_errors import decode_record, field_error, read_lines, short_repr
from ..json_records import read_json_records
from ..offset_counting import CountedSpan, find_counting
from ..reading_report import ReadingReport
from .format import FormatSample

_HOW_TO_EXPORT = 'export the project as "JSON"'


class Result(msgspec.Struct, frozen=True):
    """Item of an annotation: a region, a relation or something else."""

    type: str
    id: str | int | None = None
    value: msgspec.Raw = msgspec.Raw(b"{}")
    to_name: str | None = None
    from_id: str | int | None = None
    to_id: str | int | None = None
    direction: str | None = None
    labels: list[str] | None = None


class Region(msgspec.Struct, frozen=True):
    """Value of a labelled region of text."""

    start: int
    end: int
    labels: list[str] = []
    text: str | None = None


class Annotation(msgspec.Struct, frozen=True):
    """What one annotator made of a task."""

    result: list[Result] = []
    was_cancelled: bool | None = None
    ground_truth: bool | None = None


class Task(msgspec.Struct, frozen=True):
    """Task; versions before 1.0 call its annotations completions."""

    data: dict[str, Any]
    id: str | int | None = None
    annotations: list[Annotation] | None = None
    completions: list[Annotation] | None = None
    predictions: list[Any] | None = None


_TASK = msgspec.json.Decoder(Task)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_REGION = msgspec.json.Decoder(Region)


def is_labelstudio(sample: FormatSample) -> bool:
    """Return True for the exports JSON, JSON-MIN, CSV and TSV, of which the reader refuses the last three."""
    return _is_table(sample.line) or any(_is_task(record) or _is_flat(record) for record in sample.records)


def _is_table(line: str) -> bool:
    """Return True for the header of a table."""
    return "annotation_id" in line and "lead_time" in line and not line.lstrip().startswith(("{", "["))


def _is_task(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("data"), dict) and bool({"annotations", "completions", "predictions"} & record.keys())


def _is_flat(record: Mapping[str, Any]) -> bool:
    """Return True for a task of JSON-MIN."""
    return "data" not in record and ("annotation_id" in record or {"annotator", "lead_time"} <= record.keys())


def read_labelstudio(path: Path, report: ReadingReport) -> Iterator[AnnotatedDocument]:
    """Read the documents of a Label Studio export.

    Of several annotations of a task, the ground truth is taken, or else the first that was not skipped. A region with
    several labels becomes one entity a label; its relations belong to the first. Offsets may count code points or
    UTF-16 code units, and line ends as one or two characters: the covered text decides.

    Args:
        path: The file: a JSON list of tasks.
        report: Counts what is left out: tasks without annotation, further annotations, results of other kinds,
            relations of regions without a label.

    Yields:
        The checked documents, in file order. ``id`` is that of the task.

    Raises:
        DataError: The file or a task cannot be used; the message names the record, the field and what to do.
    """
    _refuse_table(path)
    field: str | None = None
    documents = predictions = 0
    for number, record in enumerate(read_json_records(path), 1):
        location = f"{path}: {record.name}"
        _refuse_flat_task(record.content, location)
        task = decode_record(_TASK, record.content, location)
        predictions += bool(task.predictions)
        chosen = _choose_annotation(task, report)
        if chosen is None:
            continue
        index, annotation = chosen
        where = f"{'annotations' if task.annotations is not None else 'completions'}[{index}].result"
        spans = _read_regions(annotation, where, location)
        field = _find_text_field(task, annotation, [span for *_, span in spans], field, location)
        yield _build_document(
            str(number if task.id is None else task.id), task.data[field], annotation, where, spans, location, report
        )
        documents += 1
    if not documents and predictions:
        raise DataError(
            f"{path}: no task has an annotation, {predictions} have predictions alone; accept them in Label Studio, "
            f"and {_HOW_TO_EXPORT} again"
        )


def _refuse_table(path: Path) -> None:
    """Refuse a table, which has no relations."""
    line_number, line = next(((number, line) for number, line in read_lines(path) if line.strip()), (1, b""))
    if _is_table(line.decode()):
        raise DataError(
            f"{path}: line {line_number}: looks like a Label Studio CSV or TSV export, which has no relations; "
            f"{_HOW_TO_EXPORT}"
        )


def _refuse_flat_task(content: bytes, location: str) -> None:
    """Refuse a task of JSON-MIN, which has no relations."""
    try:
        fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return  # the decoder of tasks says what is wrong
    if _is_flat(fields):
        raise DataError(
            f"{location}: looks like a Label Studio JSON-MIN export, which has no relations; {_HOW_TO_EXPORT} instead"
        )


def _choose_annotation(task: Task, report: ReadingReport) -> tuple[int, Annotation] | None:
    """Return the annotation to read, with its index; None if the task has none."""
    annotations = task.annotations if task.annotations is not None else task.completions or []
    usable = [(index, item) for index, item in enumerate(annotations) if not item.was_cancelled]
    if not usable:
        report.add("rejected_documents" if annotations else "unannotated_documents", example=f"task {task.id}")
        return None
    chosen = next((pair for pair in usable if pair[1].ground_truth), usable[0])
    for _ in range(len(usable) - 1):
        report.add("further_annotations", example=f"task {task.id}")
    return chosen


def _read_regions(annotation: Annotation, where: str, location: str) -> list[tuple[Result, Region, SourceSpan]]:
    """Return the labelled regions of text, with the first label of each in its span."""
    regions = []
    for index, result in enumerate(annotation.result):
        field = f"{where}[{index}]"
        if result.type in ("hypertextlabels", "paragraphlabels"):
            raise DataError(
                f"{location}: {field}: {result.type} mark places in a page, not characters of a text; label the plain "
                "text, with the tags Text and Labels, to train on it"
            )
        if result.type != "labels":
            continue
        value = bytes(result.value)
        if isinstance(decode_record(_OBJECT, value, f"{location}: {field}.value").get("start"), str):
            raise DataError(
                f"{location}: {field}.value: start is a place in a page (HyperText), not a character of a text; label "
                "the plain text, with the tag Text, to train on it"
            )
        region = decode_record(_REGION, value, f"{location}: {field}.value")
        span = SourceSpan(
            CountedSpan(region.start, region.end, region.text),
            region.labels[0] if region.labels else "",
            f"{field}.value",
        )
        regions.append((result, region, span))
    return regions


def _find_text_field(
    task: Task, annotation: Annotation, spans: Sequence[SourceSpan], known: str | None, location: str
) -> str:
    """Return the name of the field of ``data`` that was labelled."""
    texts = [name for name, value in task.data.items() if isinstance(value, str)]
    names = {result.to_name for result in annotation.result if result.type == "labels"}
    if len(names) > 1:
        labelled = ", ".join(sorted(map(short_repr, names)))
        raise DataError(f"{location}: has regions of several texts, {labelled}; label one text in a task")
    fitting = [name for name in texts if spans and _fits(task.data[name], spans)]
    for choice in ([name for name in texts if name in names], [known] if known in texts else [], fitting, texts):
        if len(choice) == 1 and choice[0] is not None:
            return choice[0]
    if "text" in texts:
        return "text"
    fields = ", ".join(map(short_repr, task.data)) or "none"
    raise DataError(
        f"{location}: data: cannot tell which field holds the text; the fields are {fields}; call it 'text'"
    )


def _fits(text: str, spans: Sequence[SourceSpan]) -> bool:
    return find_counting(text, [source.span for source in spans]) is not None


def _build_document(
    id: str,
    text: str,
    annotation: Annotation,
    where: str,
    regions: list[tuple[Result, Region, SourceSpan]],
    location: str,
    report: ReadingReport,
) -> AnnotatedDocument:
    _check_url(text, regions, location)
    builder = DocumentBuilder(text, location, report, id)
    places: dict[str | int, tuple[int, int]] = {}
    for result, region, span in regions:
        place = (region.start, region.end)
        if result.id is not None and places.setdefault(result.id, place) != place:
            field = f"{span.field.removesuffix('.value')}.id"
            raise field_error(location, field, result.id, "an id that no other region has")
        builder.add_entity(span, result.id)
        for label in region.labels[1:]:
            builder.add_entity(SourceSpan(span.span, label, span.field))
    for index, result in enumerate(annotation.result):
        if result.type == "relation":
            _add_relation(builder, result, f"{where}[{index}]")
        elif result.type != "labels":
            report.add("other_annotations", result.type)
            if result.id is not None:
                builder.drop(result.id)
    return builder.build()


def _add_relation(builder: DocumentBuilder, result: Result, field: str) -> None:
    directions: dict[str | None, tuple[tuple[str | int | None, str | int | None], ...]] = {
        "right": ((result.from_id, result.to_id),),
        "left": ((result.to_id, result.from_id),),
        "bi": ((result.from_id, result.to_id), (result.to_id, result.from_id)),
    }
    if result.direction is not None and result.direction not in directions:
        raise field_error(builder.location, f"{field}.direction", result.direction, "right, left or bi")
    for head, tail in directions[result.direction or "right"]:
        for label in result.labels or [""]:
            builder.add_relation(head, tail, label)


def _check_url(text: str, regions: list[tuple[Result, Region, SourceSpan]], location: str) -> None:
    """Refuse a task whose text lies elsewhere."""
    beyond = any(region.end > 2 * len(text) for _, region, _ in regions)
    if beyond and "://" in text and not any(map(str.isspace, text)):
        raise DataError(
            f"{location}: data: holds the address {short_repr(text)} instead of the text; import the text itself into "
            "Label Studio, or replace the address by it"
        )

"""Read spaCy's ``DocBin`` files (``.spacy``): entities, spans and the relations of the extension ``doc._.rel``."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimf.runtime.errors import DataError

from ..document import AnnotatedDocument
from ..document_building import DocumentBuilder, SourceSpan
from ..json_errors import field_error
from ..offset_counting import CODE_POINTS, CountedSpan
from ..reading_report import ReadingReport
from .format import FormatSample

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

#: Group of spans that spaCy's span categorizer uses.
SPANS_KEY = "sc"

#: A relation counts from this score on; annotation has 1.0, and 0.0 for the pairs without relation.
MIN_SCORE = 0.5

_RELATIONS = ("._.", "rel", None, None)


def is_docbin(sample: FormatSample) -> bool:
    """Return True for a compressed file whose content begins as a DocBin does."""
    try:
        with sample.path.open("rb") as file:
            start = zlib.decompressobj().decompress(file.read(200), 32)
    except (OSError, zlib.error):
        return False
    return b"\xa7version" in start


def read_docbin(path: Path, report: ReadingReport) -> Iterator[AnnotatedDocument]:
    """Read the documents of a DocBin.

    Entities are ``doc.ents`` and the spans of ``doc.spans["sc"]``. ``doc._.rel`` maps the first tokens of two entities
    to a score for each label, as in spaCy's tutorial of a relation component; the file must have been written with
    ``store_user_data=True``. Sentences of spaCy are not used.

    Args:
        path: The file.
        report: Counts what is left out: spans of other groups, spans without a label, relations of other tokens.

    Yields:
        The checked documents, in file order. ``id`` is the number of the document, counted from 1.

    Raises:
        DataError: The file is no DocBin, or a document cannot be used.
    """
    for number, doc in enumerate(_iterate_docs(path), 1):
        location = f"{path}: document {number}"
        builder = DocumentBuilder(doc.text, location, report, str(number))
        seen = set()
        for field, spans in _list_spans(doc, report):
            for index, span in enumerate(spans):
                place = (span.start_char, span.end_char, span.label_)
                if place not in seen:
                    seen.add(place)
                    source = SourceSpan(CountedSpan(span.start_char, span.end_char), span.label_, f"{field}[{index}]")
                    builder.add_entity(source, span.start)
        for head, tail, label in _list_relations(doc, location):
            builder.add_relation(head, tail, label)
        yield builder.build(CODE_POINTS)


def _iterate_docs(path: Path) -> Iterator[Doc]:
    """Yield the documents of a file; whatever is wrong with it becomes a DataError."""
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    try:
        content = path.read_bytes()
    except OSError as error:
        what = "is a folder, not a data file" if path.is_dir() else f"cannot be read: {error.strerror or error}"
        raise DataError(f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else what}") from error
    try:
        yield from DocBin().from_bytes(content).get_docs(Vocab())
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise DataError(
            f"{path}: is no DocBin that this spaCy can read ({reason}); write it with DocBin.to_disk of spaCy 3"
        ) from error


def _list_spans(doc: Doc, report: ReadingReport) -> list[tuple[str, list[Span]]]:
    """Return the spans that are entities, by field; count those of other groups."""
    found = [("ents", list(doc.ents))]
    for key, group in doc.spans.items():
        if key == SPANS_KEY:
            found.append((f"spans['{key}']", list(group)))
        else:
            for span in group:
                report.add("other_annotations", f"span of the group {key}", span.text)
    return found


def _list_relations(doc: Doc, location: str) -> list[tuple[int, int, str]]:
    """Return the relations as the first tokens of head and tail, and the label."""
    user_data: Mapping[Any, Any] = doc.user_data
    value = user_data.get(_RELATIONS) or {}
    if not isinstance(value, Mapping):
        raise field_error(location, "doc._.rel", value, "a dictionary {(head token, tail token): {label: score}}")
    relations = []
    for pair, scores in value.items():
        try:
            head, tail = (int(token) for token in pair)
            relations += [(head, tail, str(label)) for label, score in scores.items() if float(score) >= MIN_SCORE]
        except (TypeError, ValueError, AttributeError) as error:
            expected = "{(head token, tail token): {label: score}}"
            raise field_error(location, "doc._.rel", {pair: scores}, expected) from error
    return relations

"""Build annotated documents from spans with any kind of offsets and relations with any kind of names.

Every reader of an annotation tool's files uses it, so that all of them count the same losses.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import msgspec

from trimf.runtime.errors import DataError

from .document import AnnotatedDocument, EntityAnnotation, RelationAnnotation, validate_document
from .json_errors import field_error, short_repr
from .offset_counting import (
    CODE_POINTS,
    COUNTINGS,
    CountedSpan,
    Counting,
    convert_span,
    count_word_ends,
    find_counting,
    index_units,
    is_simple,
)
from .reading_report import ReadingReport

#: Label of relations that a tool wrote without one.
UNLABELLED_RELATION = "related"


@dataclass(frozen=True, slots=True)
class SourceSpan:
    """Span as a tool wrote it; ``field`` says where, and error messages name it."""

    span: CountedSpan
    label: str
    field: str


@dataclass(slots=True)
class DocumentBuilder:
    """Collects the spans and relations of one document.

    Relations name entities by whatever the tool names them by. A name that was added without an entity (``drop``) is
    that of a span which the reader left out, so its relations are left out and counted, too.

    Attributes:
        text: Text of the document.
        location: Where it comes from; error messages start with it.
        report: Counts what is left out or changed.
        id: Identifies the document in reports.
    """

    text: str
    location: str
    report: ReadingReport
    id: str = ""
    spans: list[SourceSpan] = field(default_factory=list)
    _names: dict[Hashable, int | None] = field(default_factory=dict)
    _relations: list[RelationAnnotation] = field(default_factory=list)

    def add_entity(self, span: SourceSpan, name: Hashable = None) -> None:
        """Add an entity.

        Args:
            span: Its place and its label.
            name: What relations call it; the first entity with a name keeps it. None if it has no name.
        """
        if not span.label:
            self.report.add("unlabelled_entities", example=self._describe(span))
            if name is not None:
                self.drop(name)
            return
        if name is not None and self._names.get(name) is None:
            self._names[name] = len(self.spans)
        self.spans.append(span)

    def drop(self, name: Hashable) -> None:
        """Remember the name of a span that is no entity."""
        self._names.setdefault(name, None)

    def add_relation(self, head: Hashable, tail: Hashable, label: str | None) -> None:
        """Add a relation between named entities; call it after all entities were added.

        Relations of spans that were left out, of unknown ones, and of an entity with itself are counted.
        """
        if not label:
            self.report.add("unlabelled_relations")
            label = UNLABELLED_RELATION
        ends = self._names.get(head), self._names.get(tail)
        if head not in self._names or tail not in self._names:
            self.report.add("relations_of_unknown_entities", label, f"{head} and {tail} ({label}, document {self.id})")
        elif ends[0] is None or ends[1] is None:
            self.report.add("relations_of_lost_entities", label)
        elif ends[0] == ends[1]:
            self.report.add("relations_with_itself", label)
        else:
            self._relations.append(RelationAnnotation(ends[0], ends[1], label))

    def build(self, counting: Counting | None = None) -> AnnotatedDocument:
        """Return the checked document.

        Args:
            counting: What the offsets count; None finds it by the covered text that the tool wrote.

        Raises:
            DataError: An offset lies outside the text, or the covered text fits no counting.
        """
        counting = self._find_counting() if counting is None else counting
        units = index_units(self.text, counting)
        entities = []
        changed = False
        for source in self.spans:
            converted = convert_span(source.span, units)
            if converted is None:
                unit = "characters" if counting == CODE_POINTS else counting.unit
                limit = f"a span within the {len(units) - 1} {unit} of the text"
                raise field_error(self.location, source.field, [source.span.start, source.span.end], limit)
            changed |= converted != (source.span.start, source.span.end)
            self._check_covered(source, converted)
            entities.append(EntityAnnotation(*converted, source.label))
        if changed:
            self.report.add("converted_offsets", str(counting))
        document = AnnotatedDocument(self.text, entities, self._relations, self.id, self.location)
        return validate_document(_leave_out_blank_entities(document, self.report))

    def _find_counting(self) -> Counting:
        """Find the counting by the covered text; where that leaves several, by the ends of words."""
        spans = [source.span for source in self.spans]
        if is_simple(self.text) or not spans:
            return CODE_POINTS
        fitting = [counting for counting in COUNTINGS if find_counting(self.text, spans, [counting])]
        places = {tuple(convert_span(span, index_units(self.text, counting)) for span in spans) for counting in fitting}
        if len(places) > 1:
            self.report.add("unchecked_offsets", example=f"document {self.id}")
            return max(fitting, key=lambda counting: count_word_ends(self.text, spans, counting))
        return fitting[0] if fitting else CODE_POINTS

    def _check_covered(self, source: SourceSpan, converted: tuple[int, int]) -> None:
        """Raise a DataError if a span does not cover the text that the tool says."""
        span = source.span
        if span.covered is None or find_counting(self.text, [CountedSpan(*converted, span.covered)], [CODE_POINTS]):
            return
        raise DataError(
            f"{self.location}: {source.field}: {span.start} to {span.end} covers "
            f"{short_repr(self.text[converted[0] : converted[1]])}, but the file says {short_repr(span.covered)}; the "
            "offsets fit neither as characters nor as UTF-16 code units, so the text was changed after it was annotated"
        )

    def _describe(self, source: SourceSpan) -> str:
        return f"{(source.span.covered or '')!r} ({source.span.start} to {source.span.end} of document {self.id})"


def _leave_out_blank_entities(document: AnnotatedDocument, report: ReadingReport) -> AnnotatedDocument:
    """Leave out entities of white space alone, which a click marks easily, and their relations."""
    blank = [document.text[entity.start : entity.end].isspace() for entity in document.entities]
    if not any(blank):
        return document
    index: dict[int, int] = {}
    for number, entity in enumerate(document.entities):
        if blank[number]:
            report.add("blank_entities", entity.label, f"{entity.start} to {entity.end} of document {document.id}")
        else:
            index[number] = len(index)
    relations = []
    for relation in document.relations:
        if relation.head in index and relation.tail in index:
            relations.append(RelationAnnotation(index[relation.head], index[relation.tail], relation.label))
        else:
            report.add("relations_of_lost_entities", relation.label)
    return msgspec.structs.replace(
        document, entities=[document.entities[number] for number in index], relations=relations
    )

"""Read DyGIE documents (SciERC, ACE05): offsets count the words of the document, ends are inclusive.

Source: the data format of Luan et al., "A General Framework for Information Extraction using Dynamic Span Graphs",
NAACL 2019, and of its derivatives DyGIE++ (Wadden et al., EMNLP 2019), PURE (Zhong and Chen, NAACL 2021) and PL-Marker
(Ye et al., ACL 2022). Their annotations may end in scores and their documents may have other fields, such as events and
predictions; both are ignored. All fields but ``sentences`` are optional.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError

from ..json_errors import decode_record, field_error
from ..json_records import JsonRecord, read_json_records
from ..reading_report import ReadingReport
from ..sentence import EntityMention, RelationMention, Sentence
from ..validate import validate_sentence


class _DygieEntity(msgspec.Struct, frozen=True, array_like=True):
    """Entity of a document; ``last`` is inclusive."""

    start: int
    last: int
    type: str


class _DygieRelation(msgspec.Struct, frozen=True, array_like=True):
    """Relation of a document, between two spans."""

    head_start: int
    head_last: int
    tail_start: int
    tail_last: int
    type: str


class _DygieDocument(msgspec.Struct, frozen=True):
    """Record of the file; ``ner`` and ``relations`` have one list per sentence."""

    sentences: list[list[str]]
    ner: list[list[_DygieEntity]] | None = None
    relations: list[list[_DygieRelation]] | None = None
    doc_key: str | int | float | None = None
    doc_id: str | int | float | None = None


_DECODER = msgspec.json.Decoder(_DygieDocument)


def read_dygie(path: str | Path, report: ReadingReport | None = None) -> Iterator[Sentence]:
    """Read the sentences of a DyGIE file: JSON lines, pretty-printed documents, or one list of documents.

    A relation names spans; it joins the entities with these spans, the first entity where a span has several types.
    Sentences without words, relations that leave their sentence, relations of an entity with itself, and the relations
    of a document without ``ner`` are left out.

    Args:
        path: The DyGIE file.
        report: Counts what is left out, if not None.

    Yields:
        The checked sentences, in file order. ``id`` is ``DOC_KEY:SENTENCE`` with sentences counted from 0; a document
        without ``doc_key`` and ``doc_id`` is named by its line or record.

    Raises:
        DataError: The file or a record cannot be used: not JSON, lists of different lengths, an offset outside its
            sentence or document, or a relation whose span is not an entity of the sentence. The message names the line,
            the field, the value and what was expected.
    """
    path = Path(path)
    counts = ReadingReport() if report is None else report
    for record in read_json_records(path):
        yield from _read_document(record, f"{path}: {record.name}", counts)


def _read_document(record: JsonRecord, location: str, report: ReadingReport) -> Iterator[Sentence]:
    """Yield the checked sentences of one document."""
    document = decode_record(_DECODER, record.content, location)
    count, total = len(document.sentences), sum(map(len, document.sentences))
    for field, rows in (("ner", document.ner), ("relations", document.relations)):
        if rows is not None and len(rows) != count:
            raise DataError(f"{location}: {field} must have {count} lists, one per sentence; got {len(rows)}")
    key = document.doc_id if document.doc_key is None else document.doc_key
    name = record.name if key is None else str(key)
    ner = [[] for _ in document.sentences] if document.ner is None else document.ner
    related = [[] for _ in document.sentences] if document.relations is None else document.relations
    if document.ner is None:
        for row in (row for rows in related for row in rows):
            report.add("relations_without_entities", row.type)
        related = [[] for _ in document.sentences]
    first = 0  # index in the document of the first word of this sentence
    for i, tokens in enumerate(document.sentences):
        sentence_location = f"{location}, sentence {i}"
        words = range(first, first + len(tokens))
        entities, index = _convert_entities(ner[i], words, sentence_location, f"ner[{i}]")
        relations = _convert_relations(related[i], index, words, total, sentence_location, f"relations[{i}]", report)
        if tokens:
            sentence = Sentence(tokens=tokens, entities=entities, relations=relations, id=f"{name}:{i}")
            yield validate_sentence(sentence, sentence_location)
        else:
            report.add("empty_sentences")
        first += len(tokens)


def _convert_entities(
    rows: list[_DygieEntity], words: range, location: str, field: str
) -> tuple[list[EntityMention], dict[tuple[int, int], int]]:
    """Return the entities with sentence offsets, and the index of each entity by its span in document offsets."""
    entities: list[EntityMention] = []
    index: dict[tuple[int, int], int] = {}
    for i, row in enumerate(rows):
        if row.start not in words or row.last not in words or row.start > row.last:
            limits = f"words {words.start} to {words.stop - 1}, the words of the sentence" if words else "no words"
            raise field_error(location, f"{field}[{i}]", [row.start, row.last, row.type], f"a span within {limits}")
        index.setdefault((row.start, row.last), i)
        entities.append(EntityMention(row.type, row.start - words.start, row.last - words.start + 1))
    return entities, index


def _convert_relations(
    rows: list[_DygieRelation],
    index: dict[tuple[int, int], int],
    words: range,
    total: int,
    location: str,
    field: str,
    report: ReadingReport,
) -> list[RelationMention]:
    """Return the relations that the sentence can hold, by entity index, and count the others.

    Args:
        rows: Relations of the sentence, with spans in document offsets.
        index: Index of each entity of the sentence by its span in document offsets.
        words: Document offsets of the words of the sentence.
        total: Number of words of the document.
        location: Where the sentence is; error messages start with it.
        field: Name of the list of relations, for error messages.
        report: Counts what is left out.
    """
    relations = []
    for i, row in enumerate(rows):
        ends = {"head": (row.head_start, row.head_last), "tail": (row.tail_start, row.tail_last)}
        for name, (start, last) in ends.items():
            if not 0 <= start <= last < total:
                expected = f"a span within words 0 to {total - 1}, the words of the document"
                raise field_error(location, f"{name} of {field}[{i}]", [start, last], expected)
        if any(start not in words or last not in words for start, last in ends.values()):
            report.add("relations_across_sentences", row.type)
            continue
        for name, span in ends.items():
            if span not in index:
                expected = "the span of an entity of the sentence"
                raise field_error(location, f"{name} of {field}[{i}]", list(span), expected)
        if ends["head"] == ends["tail"]:
            report.add("relations_with_itself", row.type)
            continue
        relations.append(RelationMention(row.type, index[ends["head"]], index[ends["tail"]]))
    return relations

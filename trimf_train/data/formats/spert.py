"""Read SpERT JSON (CoNLL04 and others): one sentence a record, entity ends exclusive, relations by entity index.

Source: the data format of Eberts & Ulges, "Span-based Joint Entity and Relation Extraction with Transformer
Pre-training", ECAI 2020. Fields that published derivatives add to a record, an entity or a relation (parts of speech,
context, scores) are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..json_errors import decode_record
from ..json_records import read_json_records
from ..reading_report import ReadingReport
from ..sentence import EntityMention, RelationMention, Sentence
from ..validate import validate_sentence


class _SpertEntity(msgspec.Struct, frozen=True):
    """Entity of a record; ``end`` is exclusive."""

    type: str
    start: int
    end: int


class _SpertRelation(msgspec.Struct, frozen=True):
    """Relation of a record; ``head`` and ``tail`` are indices into its entities."""

    type: str
    head: int
    tail: int


class _SpertRecord(msgspec.Struct, frozen=True):
    """Sentence of the file."""

    tokens: list[str]
    entities: list[_SpertEntity]
    relations: list[_SpertRelation] | None = None
    orig_id: str | int | float | None = None
    id: str | int | float | None = None


_DECODER = msgspec.json.Decoder(_SpertRecord)


def read_spert(path: str | Path, report: ReadingReport | None = None) -> Iterator[Sentence]:
    """Read the sentences of a SpERT file: one list of records, JSON lines, or pretty-printed records.

    Sentences without words and relations of an entity with itself are left out.

    Args:
        path: The SpERT file.
        report: Counts what is left out, if not None.

    Yields:
        The checked sentences, in file order. ``id`` is ``orig_id`` or ``id``, or the record's number (from
        1) if both are missing.

    Raises:
        DataError: The file or a record cannot be used; the message names the record, the field, the value and what
            was expected.
    """
    path = Path(path)
    counts = ReadingReport() if report is None else report
    for number, raw in enumerate(read_json_records(path), 1):
        sentence = decode_sentence(raw.content, f"{path}: {raw.name}", str(number), counts)
        if sentence is not None:
            yield sentence


def decode_sentence(content: bytes, location: str, id: str, report: ReadingReport) -> Sentence | None:
    """Decode and check one record.

    Args:
        content: The record as JSON.
        location: Where it comes from; error messages start with it.
        id: Id of the sentence if the record has none.
        report: Counts what is left out.

    Returns:
        The sentence; None if it has no words and is left out.

    Raises:
        DataError: The record cannot be used.
    """
    record = decode_record(_DECODER, content, location)
    if not record.tokens and not record.entities and not record.relations:
        report.add("empty_sentences")
        return None
    entities = [EntityMention(entity.type, entity.start, entity.end) for entity in record.entities]
    relations = [RelationMention(relation.type, relation.head, relation.tail) for relation in record.relations or ()]
    name = next((str(value) for value in (record.orig_id, record.id) if value is not None), id)
    sentence = Sentence(tokens=record.tokens, entities=entities, relations=relations, id=name)
    return _drop_loops(validate_sentence(sentence, location, allow_loops=True), report)


def _drop_loops(sentence: Sentence, report: ReadingReport) -> Sentence:
    """Return the sentence without the relations of an entity, or of repeats of one, with itself."""
    entities = sentence.entities
    kept = []
    for relation in sentence.relations:
        if entities[relation.head] == entities[relation.tail]:
            report.add("relations_with_itself", relation.type)
        else:
            kept.append(relation)
    return msgspec.structs.replace(sentence, relations=kept)

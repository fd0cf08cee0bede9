"""SpERT JSON (CoNLL04 and others): one list of sentences, entity ends exclusive, relations by entity index.

Source: the data format of Eberts & Ulges, "Span-based Joint Entity and Relation Extraction with Transformer
Pre-training", ECAI 2020. Fields that published derivatives add to a record (parts of speech, context) are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from .sentence import EntityMention, RelationMention, Sentence
from .source import decode_list, decode_record, read_bytes
from .validate import check


class _Entity(msgspec.Struct, frozen=True):
    type: str
    start: int
    end: int


class _Relation(msgspec.Struct, frozen=True):
    type: str
    head: int
    tail: int


class _Record(msgspec.Struct, frozen=True):
    tokens: list[str]
    entities: list[_Entity]
    relations: list[_Relation]
    orig_id: str | int | None = None


_DECODER = msgspec.json.Decoder(_Record)


def read(path: str | Path) -> Iterator[Sentence]:
    """The sentences of a SpERT file, in order; ``id`` is ``orig_id``, or the record's number (from 1) without one.

    Raises:
        DataError: The file or a record cannot be used; the message names record, field, value and expectation.
    """
    path = Path(path)
    for number, raw in enumerate(decode_list(read_bytes(path), path), 1):
        place = f"{path}: record {number}"
        record = decode_record(_DECODER, bytes(raw), place)
        sentence = Sentence(
            tokens=record.tokens,
            entities=[EntityMention(entity.type, entity.start, entity.end) for entity in record.entities],
            relations=[RelationMention(relation.type, relation.head, relation.tail) for relation in record.relations],
            id=str(number if record.orig_id is None else record.orig_id),
        )
        yield check(sentence, place)

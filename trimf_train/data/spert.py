"""Read SpERT JSON (CoNLL04 and others): a list of sentences, entity ends exclusive, relations by entity index.

Source: the data format of Eberts & Ulges, "Span-based Joint Entity and Relation Extraction with Transformer
Pre-training", ECAI 2020. Fields that published derivatives add to a record (parts of speech, context) are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from .json_errors import decode_list, decode_record, read_bytes
from .sentence import EntityMention, RelationMention, Sentence
from .validate import validate_sentence


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
    relations: list[_SpertRelation]
    orig_id: str | int | None = None


_DECODER = msgspec.json.Decoder(_SpertRecord)


def read_spert(path: str | Path) -> Iterator[Sentence]:
    """Read the sentences of a SpERT file.

    Args:
        path: The SpERT file.

    Yields:
        The checked sentences, in file order. ``id`` is ``orig_id``, or the record's number (from 1) if that is
        missing.

    Raises:
        DataError: The file or a record cannot be used; the message names the record, the field, the value and what
            was expected.
    """
    path = Path(path)
    for record_number, raw in enumerate(decode_list(read_bytes(path), path), 1):
        location = f"{path}: record {record_number}"
        record = decode_record(_DECODER, bytes(raw), location)
        sentence = Sentence(
            tokens=record.tokens,
            entities=[EntityMention(entity.type, entity.start, entity.end) for entity in record.entities],
            relations=[RelationMention(relation.type, relation.head, relation.tail) for relation in record.relations],
            id=str(record_number if record.orig_id is None else record.orig_id),
        )
        yield validate_sentence(sentence, location)

"""Read DyGIE JSON lines (SciERC, ACE05): one document per line, offsets count document words, ends inclusive.

Source: the data format of Luan et al., "A General Framework for Information Extraction using Dynamic Span Graphs",
NAACL 2019, and of DyGIE++ (Wadden et al., EMNLP 2019), whose annotations may end in scores and whose documents may
have other fields; both are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError

from .json_errors import decode_record, field_error, read_lines
from .sentence import EntityMention, RelationMention, Sentence
from .validate import validate_sentence


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
    """Line of the file; ``ner`` and ``relations`` have one list per sentence."""

    sentences: list[list[str]]
    ner: list[list[_DygieEntity]]
    relations: list[list[_DygieRelation]]
    doc_key: str | int | None = None


_DECODER = msgspec.json.Decoder(_DygieDocument)


def read_dygie(path: str | Path) -> Iterator[Sentence]:
    """Read the sentences of a DyGIE file.

    A relation names spans; it joins the entities with these spans, the first entity where a span has several types.

    Args:
        path: The DyGIE file.

    Yields:
        The checked sentences, in file order. ``id`` is ``DOC_KEY:SENTENCE`` with sentences counted from 0; a
        document without ``doc_key`` is named by its line.

    Raises:
        DataError: The file or a record cannot be used: not JSON, lists of different lengths, an offset outside its
            sentence, or a relation whose span is not an entity of the sentence. The message names the line, the
            field, the value and what was expected.
    """
    path = Path(path)
    for line_number, line in read_lines(path):
        if line.strip():
            yield from _read_document(line, f"{path}: line {line_number}", line_number)


def _read_document(line: bytes, location: str, line_number: int) -> Iterator[Sentence]:
    """Yield the checked sentences of one document."""
    document = decode_record(_DECODER, line, location)
    count = len(document.sentences)
    for field, rows in (("ner", document.ner), ("relations", document.relations)):
        if len(rows) != count:
            raise DataError(f"{location}: {field} must have {count} lists, one per sentence; got {len(rows)}")
    name = f"line {line_number}" if document.doc_key is None else str(document.doc_key)
    first = 0  # index in the document of the first word of this sentence
    for i, (tokens, ner, relations) in enumerate(
        zip(document.sentences, document.ner, document.relations, strict=True)
    ):
        sentence_location = f"{location}, sentence {i}"
        entities, index = _convert_entities(ner, first, len(tokens), sentence_location, f"ner[{i}]")
        sentence = Sentence(
            tokens=tokens,
            entities=entities,
            relations=_convert_relations(relations, index, sentence_location, f"relations[{i}]"),
            id=f"{name}:{i}",
        )
        yield validate_sentence(sentence, sentence_location)
        first += len(tokens)


def _convert_entities(
    rows: list[_DygieEntity], first: int, words: int, location: str, field: str
) -> tuple[list[EntityMention], dict[tuple[int, int], int]]:
    """Return the entities with sentence offsets, and the index of each entity by its span in document offsets."""
    entities: list[EntityMention] = []
    index: dict[tuple[int, int], int] = {}
    for i, row in enumerate(rows):
        if not first <= row.start <= row.last < first + words:
            expected = f"a span within words {first} to {first + words - 1}, the words of the sentence"
            raise field_error(location, f"{field}[{i}]", [row.start, row.last, row.type], expected)
        index.setdefault((row.start, row.last), i)
        entities.append(EntityMention(row.type, row.start - first, row.last - first + 1))
    return entities, index


def _convert_relations(
    rows: list[_DygieRelation], index: dict[tuple[int, int], int], location: str, field: str
) -> list[RelationMention]:
    """Return the relations by entity index; ``index`` maps document spans to entity indices."""
    relations = []
    for i, row in enumerate(rows):
        ends = {"head": (row.head_start, row.head_last), "tail": (row.tail_start, row.tail_last)}
        for name, span in ends.items():
            if span not in index:
                raise field_error(
                    location, f"{name} of {field}[{i}]", list(span), "the span of an entity of the sentence"
                )
        relations.append(RelationMention(row.type, index[ends["head"]], index[ends["tail"]]))
    return relations

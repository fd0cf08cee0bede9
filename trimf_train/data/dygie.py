"""DyGIE JSON lines (SciERC, ACE05): one document a line, offsets count words of the document, ends inclusive.

Source: the data format of Luan et al., "A General Framework for Information Extraction using Dynamic Span Graphs",
NAACL 2019, and of DyGIE++ (Wadden et al., EMNLP 2019), whose rows may end in scores and whose documents may hold
other fields; both are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError

from .sentence import EntityMention, RelationMention, Sentence
from .source import decode_record, problem, read_lines
from .validate import check


class _Entity(msgspec.Struct, frozen=True, array_like=True):
    start: int
    last: int
    type: str


class _Relation(msgspec.Struct, frozen=True, array_like=True):
    head_start: int
    head_last: int
    tail_start: int
    tail_last: int
    type: str


class _Document(msgspec.Struct, frozen=True):
    sentences: list[list[str]]
    ner: list[list[_Entity]]
    relations: list[list[_Relation]]
    doc_key: str | int | None = None


_DECODER = msgspec.json.Decoder(_Document)


def read(path: str | Path) -> Iterator[Sentence]:
    """The sentences of a DyGIE file, in order; ``id`` is ``DOC_KEY:SENTENCE``, the sentence counted from 0.

    A document without ``doc_key`` is named by its line. A relation refers to spans: it joins the entities of these
    spans, the first one where a span has several types.

    Raises:
        DataError: The file or a record cannot be used: not JSON, lists of different lengths, an offset outside its
            sentence, or a relation whose span is no entity of the sentence. The message names line, field, value and
            expectation.
    """
    path = Path(path)
    for number, line in read_lines(path):
        if line.strip():
            yield from _sentences(line, f"{path}: line {number}", number)


def _sentences(line: bytes, place: str, number: int) -> Iterator[Sentence]:
    document = decode_record(_DECODER, line, place)
    count = len(document.sentences)
    for name, rows in (("ner", document.ner), ("relations", document.relations)):
        if len(rows) != count:
            raise DataError(f"{place}, field {name}: got {len(rows)} lists, expected {count}, one for every sentence")
    name = f"line {number}" if document.doc_key is None else str(document.doc_key)
    first = 0  # the document's number of this sentence's first word
    for i, (tokens, ner, relations) in enumerate(
        zip(document.sentences, document.ner, document.relations, strict=True)
    ):
        here = f"{place}, sentence {i}"
        entities, index = _entities(ner, first, len(tokens), here, f"ner[{i}]")
        sentence = Sentence(
            tokens=tokens,
            entities=entities,
            relations=_relations(relations, index, here, f"relations[{i}]"),
            id=f"{name}:{i}",
        )
        yield check(sentence, here)
        first += len(tokens)


def _entities(
    rows: list[_Entity], first: int, words: int, place: str, field: str
) -> tuple[list[EntityMention], dict[tuple[int, int], int]]:
    """The entities in the sentence's own counting, and the index of each by its span in the document's."""
    entities: list[EntityMention] = []
    index: dict[tuple[int, int], int] = {}
    for i, row in enumerate(rows):
        if not first <= row.start <= row.last < first + words:
            wanted = f"first and last word of a span within {first} to {first + words - 1}, the words of the sentence"
            raise problem(place, f"{field}[{i}]", [row.start, row.last, row.type], wanted)
        index.setdefault((row.start, row.last), i)
        entities.append(EntityMention(row.type, row.start - first, row.last - first + 1))
    return entities, index


def _relations(
    rows: list[_Relation], index: dict[tuple[int, int], int], place: str, field: str
) -> list[RelationMention]:
    relations = []
    for i, row in enumerate(rows):
        ends = {"head": (row.head_start, row.head_last), "tail": (row.tail_start, row.tail_last)}
        for name, span in ends.items():
            if span not in index:
                raise problem(place, f"{field}[{i}]", list(span), f"as {name} the span of an entity of the sentence")
        relations.append(RelationMention(row.type, index[ends["head"]], index[ends["tail"]]))
    return relations

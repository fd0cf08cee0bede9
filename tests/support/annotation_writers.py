"""Write annotated documents as annotation tools do, for round trips; independent of the readers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trimf_train.data.document import AnnotatedDocument

Count = Callable[[str], int]


def count_utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def count_utf16_joined(text: str) -> int:
    return count_utf16(text.replace("\r\n", "\n"))


def write_lines(path: Path, records: Sequence[Any]) -> Path:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def write_labelstudio(path: Path, documents: Sequence[AnnotatedDocument], count: Count = len) -> Path:
    tasks = []
    for number, document in enumerate(documents, 1):
        result: list[dict[str, Any]] = []
        for index, entity in enumerate(document.entities):
            covered = document.text[entity.start : entity.end]
            value = {
                "start": count(document.text[: entity.start]),
                "end": count(document.text[: entity.end]),
                "text": re.sub("[\n\r]", r"\\n", covered),
                "labels": [entity.label],
            }
            result.append(
                {"value": value, "id": f"r{index}", "from_name": "label", "to_name": "text", "type": "labels"}
            )
        for relation in document.relations:
            ends = {"from_id": f"r{relation.head}", "to_id": f"r{relation.tail}"}
            result.append({**ends, "type": "relation", "direction": "right", "labels": [relation.label]})
        annotation = {"id": number, "result": result, "was_cancelled": False, "ground_truth": False}
        tasks.append({"id": document.id or number, "data": {"text": document.text}, "annotations": [annotation]})
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def write_doccano(path: Path, documents: Sequence[AnnotatedDocument], count: Count = count_utf16) -> Path:
    records, id = [], 100
    for number, document in enumerate(documents, 1):
        first = id
        entities = []
        for entity in document.entities:
            offsets = {
                "start_offset": count(document.text[: entity.start]),
                "end_offset": count(document.text[: entity.end]),
            }
            entities.append({"id": id, "label": entity.label, **offsets})
            id += 1
        relations = [
            {"id": i, "from_id": first + relation.head, "to_id": first + relation.tail, "type": relation.label}
            for i, relation in enumerate(document.relations)
        ]
        fields = {"entities": entities, "relations": relations, "Comments": []}
        records.append({"id": document.id or number, "text": document.text, **fields})
    return write_lines(path, records)


def split_at_entities(document: AnnotatedDocument) -> list[tuple[int, int]]:
    """Tokens: runs without white space, and runs of other white space than one blank, cut at the ends of entities."""
    cuts = {end for entity in document.entities for end in (entity.start, entity.end)}
    tokens: list[tuple[int, int]] = []
    for match in re.finditer(r"\S+|\s+", document.text):
        begin = match.start()
        for end in [*sorted(cut for cut in cuts if match.start() < cut < match.end()), match.end()]:
            tokens.append((begin, end))
            begin = end
    return tokens


def write_prodigy(path: Path, documents: Sequence[AnnotatedDocument]) -> Path:
    tasks = []
    for number, document in enumerate(documents):
        places = split_at_entities(document)
        first = {start: i for i, (start, _) in enumerate(places)}
        last = {end: i for i, (_, end) in enumerate(places)}
        spans = [
            {**span(e.start, e.end, e.label), "token_start": first[e.start], "token_end": last[e.end]}
            for e in document.entities
        ]
        relations = [
            {
                "head": spans[relation.head]["token_end"],
                "child": spans[relation.tail]["token_end"],
                "head_span": spans[relation.head],
                "child_span": spans[relation.tail],
                "label": relation.label,
                "color": "#fff",
            }
            for relation in document.relations
        ]
        tokens = [
            {"text": document.text[start:end], "start": start, "end": end, "id": i, "ws": False}
            for i, (start, end) in enumerate(places)
        ]
        hashes = {"_input_hash": number, "_task_hash": number}
        fields = {"tokens": tokens, "spans": spans, "relations": relations, "answer": "accept"}
        tasks.append({"text": document.text, **hashes, **fields})
    return write_lines(path, tasks)


def span(start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label}


def write_brat(path: Path, documents: Sequence[AnnotatedDocument]) -> Path:
    path.mkdir()
    for number, document in enumerate(documents):
        lines = []
        for i, entity in enumerate(document.entities):
            pieces = list(re.finditer(r"[^\r\n]+", document.text[entity.start : entity.end]))
            places = ";".join(f"{entity.start + piece.start()} {entity.start + piece.end()}" for piece in pieces)
            lines.append(f"T{i}\t{entity.label} {places}\t{' '.join(piece[0] for piece in pieces)}")
        lines += [f"R{i}\t{r.label} Arg1:T{r.head} Arg2:T{r.tail}\t" for i, r in enumerate(document.relations)]
        name = f"{number:05}"
        (path / f"{name}.txt").write_text(document.text, encoding="utf-8", newline="")
        (path / f"{name}.ann").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return path


def write_docbin(path: Path, documents: Sequence[AnnotatedDocument]) -> Path:
    from spacy.tokens import Doc, DocBin
    from spacy.vocab import Vocab

    if not Doc.has_extension("rel"):
        Doc.set_extension("rel", default={})
    vocab = Vocab()
    docs = []
    for document in documents:
        places = split_at_entities(document)
        doc = Doc(vocab, words=[document.text[start:end] for start, end in places], spaces=[False] * len(places))
        spans = [doc.char_span(entity.start, entity.end, label=entity.label) for entity in document.entities]
        doc.spans["sc"] = spans
        pairs: dict[tuple[int, int], dict[str, float]] = {}
        for relation in document.relations:
            key = (spans[relation.head].start, spans[relation.tail].start)
            pairs.setdefault(key, {"none": 0.0})[relation.label] = 1.0
        doc._.rel = pairs
        docs.append(doc)
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path

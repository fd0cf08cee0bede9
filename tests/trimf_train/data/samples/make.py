"""Write the samples of text, each as its tool writes it: python tests/trimf_train/data/samples/make.py.

Every text has a tab, an emoji and a Windows line end before its entities. The folders ``saved_words`` and
``saved_text`` and the file ``tags.parquet`` were written by ``datasets`` 5.2: ``save_to_disk`` and ``to_parquet``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TEXT = "\U0001f600\tNews\r\nAda Lovelace met Charles Babbage in London \U0001f682."
SPANS = [(8, 20, "Person"), (25, 40, "Person"), (44, 50, "City")]
STAMP = "2026-05-04T09:12:31.482113Z"


def utf16(index: int, joined: bool = False) -> int:
    """Count the UTF-16 code units before a character, with "\\r\\n" as one if ``joined``."""
    before = TEXT[:index].replace("\r\n", "\n") if joined else TEXT[:index]
    return len(before.encode("utf-16-le")) // 2


def region(id: str, number: int, **place: Any) -> dict[str, Any]:
    start, end, label = SPANS[number]
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label], **place}
    return {"value": value, "id": id, "from_name": "label", "to_name": "text", "type": "labels", "origin": "manual"}


def annotation(id: int, result: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "id": id,
        "completed_by": 1,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": STAMP,
        "updated_at": STAMP,
        "draft_created_at": STAMP,
        "lead_time": 41.2,
        "prediction": {},
        "result_count": len(result),
        "unique_id": "5d0c8c4e-1c0a-4b5e-9d35-0c1b5a3f2a10",
        "import_id": None,
        "last_action": None,
        "bulk_created": False,
        "task": 1,
        "project": 1,
        "updated_by": 1,
        "parent_prediction": None,
        "parent_annotation": None,
        "last_created_by": None,
        **fields,
    }


def task(id: int, annotations: list[dict[str, Any]], text: str = TEXT) -> dict[str, Any]:
    return {
        "id": id,
        "annotations": annotations,
        "file_upload": "1a2b3c4d-news.json",
        "drafts": [],
        "predictions": [],
        "data": {"text": text, "source": "https://example.com/news"},
        "meta": {},
        "created_at": STAMP,
        "updated_at": STAMP,
        "inner_id": id,
        "total_annotations": len(annotations),
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "last_comment_updated_at": None,
        "project": 1,
        "updated_by": 1,
        "comment_authors": [],
    }


def relation(head: str, tail: str, direction: str, *labels: str) -> dict[str, Any]:
    return {"from_id": head, "to_id": tail, "type": "relation", "direction": direction, "labels": list(labels)}


def write_labelstudio() -> None:
    result = [
        region("yX3k-0aB1", 0),
        region("Qz7_pL2c9", 1),
        region("t0Rm5sV8w", 2),
        relation("yX3k-0aB1", "Qz7_pL2c9", "bi", "met"),
        relation("t0Rm5sV8w", "yX3k-0aB1", "left", "located_in"),
        {"value": {"choices": ["History"]}, "id": "c1", "from_name": "topic", "to_name": "text", "type": "choices"},
    ]
    tasks = [
        task(1, [annotation(1, result), annotation(2, [region("a", 0)])]),
        task(2, [annotation(3, [], was_cancelled=True)]),
        task(3, [], "Not labelled yet."),
        task(4, [annotation(4, [])], "Nothing to label here."),
    ]
    write("labelstudio.json", json.dumps(tasks, ensure_ascii=False))
    flat = {
        "text": TEXT,
        "id": 1,
        "label": [{"start": 8, "end": 20, "text": "Ada Lovelace", "labels": ["Person"]}],
        "annotator": 1,
        "annotation_id": 1,
        "created_at": STAMP,
        "updated_at": STAMP,
        "lead_time": 41.2,
    }
    write("labelstudio_min.json", json.dumps([flat]))


def write_doccano() -> None:
    entities = [
        {"id": 11 + number, "label": label, "start_offset": utf16(start), "end_offset": utf16(end)}
        for number, (start, end, label) in enumerate(SPANS)
    ]
    relations = [
        {"id": 1, "from_id": 11, "to_id": 12, "type": "met"},
        {"id": 2, "from_id": 11, "to_id": 13, "type": "located_in"},
    ]
    records = [
        {"id": 5, "text": "Nothing here.", "entities": [], "relations": [], "Comments": []},
        {"id": 6, "text": TEXT, "source": "x", "entities": entities, "relations": relations, "Comments": ["check"]},
    ]
    write("doccano.jsonl", "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    triples = [[utf16(start), utf16(end), label] for start, end, label in SPANS]
    write("doccano_triples.jsonl", json.dumps({"id": 1, "text": TEXT, "label": triples, "Comments": []}) + "\n")


def write_prodigy() -> None:
    words = ["\U0001f600", "\t", "News", "\r\n", "Ada", "Lovelace", "met", "Charles", "Babbage", "in", "London"]
    tokens, start = [], 0
    for id, word in enumerate([*words, "\U0001f682", "."]):
        start = TEXT.index(word, start)
        ws = TEXT[start + len(word) : start + len(word) + 1] == " "
        tokens.append({"text": word, "start": start, "end": start + len(word), "id": id, "ws": ws, "disabled": False})
        start += len(word)
    spans = [
        {"start": 8, "end": 20, "token_start": 4, "token_end": 5, "label": "Person"},
        {"start": 25, "end": 40, "token_start": 7, "token_end": 8, "label": "Person"},
        {"start": 44, "end": 50, "token_start": 10, "token_end": 10, "label": "City"},
    ]
    colour = {"color": "#96e8ce"}
    relations = [
        {"head": 5, "child": 8, "head_span": spans[0], "child_span": spans[1], "label": "met", **colour},
        {"head": 5, "child": 10, "label": "located_in", **colour},
    ]
    common = {"_input_hash": 1, "_view_id": "relations", "_timestamp": 1_780_000_000, "_session_id": "news-ann"}
    task = {"text": TEXT, "meta": {"source": "news"}, "tokens": tokens, "spans": spans, "relations": relations}
    tasks = [
        {"text": "Skip me.", **common, "_task_hash": -7, "tokens": [], "spans": [], "answer": "ignore"},
        {**task, **common, "_task_hash": 3, "answer": "accept"},
        {**task, **common, "_task_hash": 3, "_session_id": "news-bob", "answer": "accept"},
        {"text": "Wrong.", **common, "_task_hash": 4, "spans": [], "answer": "reject"},
    ]
    write("prodigy.jsonl", "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in tasks))


def write_brat() -> None:
    folder = HERE / "brat"
    (folder / "news").mkdir(parents=True, exist_ok=True)
    lines = [
        "T1\tPerson 8 20\tAda Lovelace",
        "T2\tPerson 25 40\tCharles Babbage",
        "T3\tCity 44 50\tLondon",
        "R1\tmet Arg1:T1 Arg2:T2\t",
        "T4\tPerson 8 11;17 20\tAda ace",
        "R2\tlocated_in Arg1:T1 Arg2:T3\t",
        "R3\tmet Arg1:T4 Arg2:T2\t",
        "E1\tMeeting:T2 Who:T1",
        "A1\tSure T1",
        "*\tEquiv T1 T4",
        "#1\tAnnotatorNotes T1\tis this the whole name?",
    ]
    write("brat/annotation.conf", "[entities]\nPerson\nCity\n[relations]\nmet\tArg1:Person, Arg2:Person\n")
    write("brat/news/ada.txt", TEXT)
    write("brat/news/ada.ann", "".join(f"{line}\n" for line in lines))
    write("brat/empty.txt", "Nothing here.\n")
    write("brat/empty.ann", "")
    write("brat/new.txt", "Nobody has opened this text.\n")


def write_conll() -> None:
    text = """-DOCSTART- -X- O
Ada -X- _ B-Person
Lovelace -X- _ I-Person
met -X- _ O
Charles -X- _ B-Person
Babbage -X- _ I-Person
. -X- _ O

London -X- _ B-City
\U0001f682 -X- _ O
"""
    write("labelstudio.conll", text)


def write(name: str, text: str) -> None:
    (HERE / name).write_text(text, encoding="utf-8", newline="")


if __name__ == "__main__":
    write_labelstudio()
    write_doccano()
    write_prodigy()
    write_brat()
    write_conll()

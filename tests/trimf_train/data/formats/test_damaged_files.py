"""Damaged files of every format: one line that begins with the file, or a result; never another error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from trimf.runtime.errors import BackendError, DataError
from trimf_train.data.readers import FORMATS, read_sentences

SAMPLES = Path(__file__).parents[1] / "samples"
JSON_SAMPLES = {
    "labelstudio": "labelstudio.json",
    "doccano": "doccano.jsonl",
    "prodigy": "prodigy.jsonl",
}
ODD: list[Any] = [None, True, -1, 0, 3.5, 10**30, "", "x", "\u0000", [], [[]], {}, {"start": "a"}, [1, 2, 3]]


def read(path: Path, format: str | None) -> str:
    """Read a file; return the error, or an empty string."""
    try:
        list(read_sentences(path, format))
    except DataError as error:
        message = str(error)
        assert message.startswith(str(path.with_suffix("") if format == "brat" else path)), message
        assert "\n" not in message
        assert len(message) < 600 + len(str(path))
        return message
    return ""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def damaged(records: list[Any]) -> Iterator[list[Any]]:
    for *path, key in places(records):
        for odd in [*ODD, "remove", "double"]:
            if "tokens" in path and (path[-1] != "tokens" or key > 1):
                continue  # all tokens are alike
            copy = deepcopy(records)
            parent = copy
            for step in path:
                parent = parent[step]
            if odd == "remove":
                del parent[key]
            elif odd == "double" and isinstance(parent, list):
                parent.append(parent[key])
            else:
                parent[key] = odd
            yield copy


@pytest.mark.slow
@pytest.mark.parametrize("format", JSON_SAMPLES)
def test_every_damaged_value(tmp_path: Path, format: str) -> None:
    text = (SAMPLES / JSON_SAMPLES[format]).read_text(encoding="utf-8")
    records = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.split("\n")[:-1]]
    if format == "labelstudio":
        records = records[:1]
        del records[0]["annotations"][0]["result"][1]
        records[0] = {name: records[0][name] for name in ("id", "data", "annotations", "predictions")}
    path = tmp_path / "x"
    messages = set()
    for copy in damaged(records):
        path.write_text("".join(json.dumps(record) + "\n" for record in copy), encoding="utf-8")
        messages.add(read(path, format))
    assert len(messages) > 20


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.*") if path.suffix != ".py"))
def test_every_cut(tmp_path: Path, name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    path = tmp_path / name
    for size in range(0, len(content), max(len(content) // 40, 1)):
        path.write_bytes(content[:size])
        try:
            read(path, None)
        except BackendError:  # pyarrow is not installed
            return


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"[]",
        b"{}",
        b"null",
        b"[null]",
        b"3\n",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xff",
        b"\x00" * 100,
        b"[" * 10_000,
        b'{"text": 1}',
        b'{"text": "\\ud83d"}',
        b'{"data": {}, "annotations": [{"result": [{"type": "labels", "value": 3}]}]}',
        b'{"text": "a", "spans": [{"start": 1e400, "end": 5}]}',
        b'{"text": "a", "spans": [{"start": ' + b"9" * 5000 + b', "end": 5}]}',
        b"x\x9c\x03\x00\x00\x00\x00\x01",
        b"PAR1PAR1",
        b"ARROW1\x00\x00",
        b"\xff\xff\xff\xff\x10\x00\x00\x00",
        b"T1\tA 0 1\tx\n",
        b"a B-A\nb\n",
    ],
)
def test_hostile_content(tmp_path: Path, format: str, content: bytes) -> None:
    for name in ("x", "x.ann", "x.txt", "x.spacy", "x.parquet"):
        path = tmp_path / name
        path.write_bytes(content)
        try:
            read(path, format)
        except BackendError:  # pyarrow is not installed
            continue


def test_files_of_one_format_named_another(tmp_path: Path) -> None:
    for format, name in {**JSON_SAMPLES, "conll": "labelstudio.conll"}.items():
        path = Path(shutil.copy(SAMPLES / name, tmp_path / "x"))
        for other in set(FORMATS) - {format}:
            message = read(path, other)
            assert message.endswith(f"; the content looks like the format {format}, not {other}"), message

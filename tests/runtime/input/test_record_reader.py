"""Records of plain text, JSON lines, JSON and folders; those that cannot be read; a round trip of the own output."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.cli import main
from trimf.runtime.errors import InputError
from trimf.runtime.input.record_reader import InputFormat, RecordReader

SENTENCE = "Jack Ruby lived in Dallas."


def read(path: Path, input_format: InputFormat = "auto", on_error: Any = "stop") -> list[Any]:
    return [(record.text, record.fields) for record in RecordReader(on_error).read(path, input_format)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "one\r\n\ntwo", [("one", {}), ("", {}), ("two", {})]),
        ("a.txt", "\ufeffone\n", [("one", {})]),
        ("a.txt", "", []),
        ("a.txt", '{"text": "a", "id": 7}\n\n{"id": 8, "text": "b"}\n', [("a", {"id": 7}), ("b", {"id": 8})]),
        ("a.txt", '[1] a footnote\n{"text": "a"}', [("[1] a footnote", {}), ('{"text": "a"}', {})]),
        ("a", '[\n{"text": "a"},\n{"text": "b"}\n]\n', [("a", {}), ("b", {})]),
        ("a", '[{"text": "a"}]', [("a", {})]),
        ("a.JSON", '{\n "text": "a",\n "x": [1]\n}', [("a", {"x": [1]})]),
        ("a.json", '{"text": "a"}\n{"text": "b"}', [("a", {}), ("b", {})]),
        (
            "a.ndjson",
            '\ufeff{"text": "a", "big": 123456789012345678901234567890}',
            [("a", {"big": 123456789012345678901234567890})],
        ),
        ("a.jsonl", "", []),
        ("a.json", "[]", []),
    ],
)
def test_name_and_content_decide(tmp_path: Path, name: str, content: str, expected: list[Any]) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert read(path) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"id": 3}\n', "line 2: the object has no field 'text'; its fields: 'id'"),
        ('{"text": "a"}\n[1]\n', "line 2: a JSON object with a field 'text' is expected, got an array"),
        ('{"text": null}\n', "line 1: the field 'text' must be a string, got null"),
        ('{"text": 3}\n', "line 1: the field 'text' must be a string, got a number"),
        ('{"text": "a"}\nprose\n', "line 2: not JSON"),
        ('{"text": "a"}\n{"text": "caf\udce9"}\n', "line 2: byte 0xE9 at position 27 is not UTF-8"),
        ('{"text": "\\ud800"}\n{"text": "b"}\n', "line 1: not JSON"),
    ],
)
def test_a_record_that_cannot_be_read(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=message.replace("'", ".")):
        read(path)
    skipping = RecordReader("skip")
    good = list(skipping.read(path))
    assert (skipping.bad_texts.count, len(good)) == (1, content.count("\n") - 1)
    assert message in skipping.bad_texts.first[0].reason
    replaced = list(RecordReader("replace").read(path))
    assert len(replaced) == content.count("\n")
    assert sum(bool(record.error or record.notice) for record in replaced) == 1


def test_a_folder_of_documents(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mail.txt").write_text("one\ntwo\n")
    (tmp_path / "a.jsonl").write_text('{"text": "x", "id": 1}\n')
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / "z").write_bytes(b"caf\xe9")
    os.mkfifo(tmp_path / "pipe")
    reader = RecordReader("skip")
    found = [(record.text, record.fields) for record in reader.read(tmp_path)]
    assert found == [("x", {"path": "a.jsonl", "id": 1}), ("one\ntwo\n", {"path": "b/mail.txt"})]
    assert reader.bad_texts.count == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        read(tmp_path / "empty")


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.integers()), max_size=6))
def test_json_lines_against_json(tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.mktemp("records") / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text, "n": n}) + "\n" for text, n in items), newline="\n")
    assert read(path) == [(text, {"n": n}) for text, n in items]


@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_extract_reads_what_it_writes(tmp_path: Path, format_: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, once, twice = tmp_path / "in.jsonl", tmp_path / f"once.{format_}", tmp_path / f"twice.{format_}"
    source.write_text(json.dumps({"id": 7, "text": SENTENCE, "entities": "gold"}) + "\n" + json.dumps({"text": ""}))
    for start, end in ((source, once), (once, twice)):
        assert main(["extract", "--input", str(start), "--format", format_, "--output", str(end)]) == 0
    assert once.read_text() == twice.read_text()
    assert "results replace the fields entities" in capsys.readouterr().err


def test_policies_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.json"
    source.write_bytes(b"Dallas\ncaf\xe9 in Dallas\nTexas\n")
    for policy, texts in (("skip", ["Dallas", "Texas"]), ("replace", ["Dallas", "caf\ufffd in Dallas", "Texas"])):
        options = ["--format", "json", "--output", str(output), "--on-error", policy]
        assert main(["extract", "--input", str(source), *options]) == 0
        assert [result["text"] for result in json.loads(output.read_text())] == texts
        assert "1 text could not be read" in (message := capsys.readouterr().err)
        assert "line 2" in message
    for format_ in ("json", "jsonl", "html", "text"):
        assert main(["extract", "--input", str(source), "--format", format_, "--output", str(output)]) == 2
        assert f"the one result before it is in {output}" in capsys.readouterr().err
        assert "Dallas" in output.read_text()
        assert format_ != "json" or len(json.loads(output.read_text())) == 1


def test_an_error_before_the_first_result_leaves_the_output(tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_bytes(b"caf\xe9\n")
    output.write_text("old")
    assert main(["extract", "--input", str(source), "--format", "jsonl", "--output", str(output)]) == 2
    assert output.read_text() == "old"

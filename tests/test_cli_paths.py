"""A path that is missing or of the wrong kind: the same exit code and one line in every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimf.cli import main

COMMANDS = [
    "extract --model MODEL text",
    "extract --input FILE_OR_FOLDER",
    "inspect MODEL",
    "verify MODEL",
    "verify default --data FILE",
    "compile MODEL --output new",
    "eval MODEL sentences.jsonl",
    "eval default FILE",
    "report MODEL sentences.jsonl --output new.html",
    "report default FILE --output new.html",
    "report default sentences.jsonl --compare MODEL --output new.html",
    "explain MODEL text",
    "export MODEL --output new",
    "export MODEL --output new --int8 --calibration-data sentences.jsonl",
    "calibrate MODEL sentences.jsonl --output new",
    "bench --model MODEL",
    "bench --data FILE",
    "bench compare FILE FILE",
    "prepare FILE new.jsonl",
    "train FILE",
    "experiment main --config FILE",
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["missing", "wrong"])
def test_every_command(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if command.split()[0] in ("export", "calibrate", "train", "experiment"):
        pytest.importorskip("torch")
    (tmp_path / "a_file").write_text("x")
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "sentences.jsonl").write_text(
        '{"tokens": ["a"], "heads": [0], "labels": ["ROOT"], "entities": [], "relations": []}\n'
    )
    wrong = {"MODEL": "a_file", "FILE": "a_folder", "FILE_OR_FOLDER": "a_folder"}
    words = [("no_such" if kind == "missing" else wrong[word]) if word in wrong else word for word in command.split()]
    monkeypatch.chdir(tmp_path)
    status = main(words)
    message = capsys.readouterr().err
    assert (status, message.count("\n")) == (2, 1), message
    assert "Traceback" not in message
    assert ("no_such" if kind == "missing" else "a_f") in message

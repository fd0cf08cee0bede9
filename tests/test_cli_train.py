"""``trimf train`` on the command line: what goes together, and what it prints."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from trimf.cli import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["conll04", "--data", "x.jsonl"], "either CONFIG (conll04) or --data, not both"),
        (["--dev", "x.jsonl"], "--dev goes with --data"),
        (["conll04", "--dev", "x.jsonl"], "--dev goes with --data"),
        (["conll04", "--output", "x"], "The output folder of CONFIG is its setting output"),
        (["conll04", "--write-config"], "--write-config goes with --data"),
        (["conll04", "--misaligned", "snap"], "--misaligned goes with --data"),
        (["--defaults", "--data", "x.jsonl"], "--defaults takes neither CONFIG nor --data"),
        ([], "pass --data with annotated data, or CONFIG"),
        (["--data", "x.jsonl", "--language", "de"], "--language de needs --parser"),
        (["--data", "no/such/file.jsonl"], "no/such/file.jsonl"),
        (["--data", "empty.jsonl"], "empty.jsonl: the file is empty"),
    ],
)
def test_wrong_combinations_are_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").touch()
    assert main(["train", *arguments]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1, message


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.json"
    records = [
        {
            "tokens": ["Ada", "lives", "in", f"Town{number}", "."],
            "entities": [{"type": "Person", "start": 0, "end": 1}, {"type": "Place", "start": 3, "end": 4}],
            "relations": [{"type": "lives in", "head": 0, "tail": 1}],
        }
        for number in range(20)
    ]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_the_configuration_is_printed_and_the_rest_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", str(data), "--write-config", "--set", "seed=5"]) == 0
    printed = capsys.readouterr()
    values = tomllib.loads(printed.out)
    assert (values["output"], values["seed"]) == ("run", 5)
    assert Path(values["data"]["dev"]).exists()
    assert "4 of 20 sentences (4 of 20 documents) are set aside as dev" in printed.err
    assert "settings from the data:" in printed.err


@pytest.mark.slow
def test_from_data_to_the_commands_that_come_next(
    data: Path,
    tmp_path: Path,
    encoders: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [f"model.encoder.name={encoders['bert']}", "train.stage1.epochs=2", "train.stage2.epochs=2"]
    options = [part for setting in settings for part in ("--set", setting)]
    assert main(["train", "--data", str(data), "--output", "my run", *options]) == 0
    said = capfd.readouterr().err
    assert "check train:" not in said
    assert "best epoch" in said
    assert "trimf eval 'my run/best' 'my run/data/dev-part.jsonl'" in said
    assert main(["eval", "my run/best", "my run/data/dev-part.jsonl", "--json"]) == 0
    assert main(["train", "--data", str(data), "--output", "my run", *options]) == 2
    assert "has a finished run of this configuration" in capfd.readouterr().err

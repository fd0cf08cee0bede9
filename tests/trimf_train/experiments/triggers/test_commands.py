"""``trimf experiment triggers`` on the command line: with a model, and with training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimf.cli import main
from trimf_train.config import Config
from trimf_train.config_reference import render_config
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import Sentence
from trimf_train.experiments.report import ExperimentReport
from trimf_train.experiments.triggers.model_study import ModelStudy
from trimf_train.experiments.triggers.word_weights import ATTENTION, CONTRIBUTION, FLOW, GRADIENT

pytest.importorskip("matplotlib", reason="needs matplotlib")


@pytest.fixture
def data(tmp_path: Path, longer_sentences: list[Sentence]) -> Path:
    path = tmp_path / "test.jsonl"
    path.write_bytes(b"".join(map(encode_line, longer_sentences)))
    return path


@pytest.fixture
def checkpoint(tiny_checkpoint: Any, tmp_path: Path) -> Path:
    tiny_checkpoint.save(tmp_path / "best")
    return tmp_path / "best"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["triggers", "--json"], "--json goes with --model"),
        (["main", "--deleted", "2"], "--deleted goes with --model"),
        (["triggers", "--gradients"], "--gradients goes with --model"),
        (["triggers", "--model", "default"], "--model needs --data FILE"),
        (["main", "--model", "default", "--data", "x.jsonl"], "main trains its models"),
        (
            ["triggers", "--model", "default", "--data", "x.jsonl", "--seeds", "2"],
            "either --model or --seeds, not both",
        ),
        (["triggers", "--model", "default", "--set", "train.lr=1"], "either --model or --set, not both"),
        (["triggers", "--model", "default", "--data", "no.jsonl"], "no.jsonl"),
        (["triggers", "--model", "no/model", "--data", "x.jsonl"], "model not found: no/model"),
        (["triggers", "--model", "default", "--data", "x.jsonl", "--deleted", "0"], "max_deleted must be >= 1, got 0"),
        (["triggers", "--model", "default", "--data", "x.jsonl", "--sentences", "0"], "sentences must be >= 1, got 0"),
        (["triggers", "--model", "default", "--data", "empty.jsonl"], "empty.jsonl"),
        (["triggers", "--data", "x.jsonl"], "x.jsonl is a file"),
    ],
)
def test_wrong_combinations_are_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.jsonl").write_text('{"tokens": ["a"], "entities": [], "relations": []}\n')
    Path("empty.jsonl").touch()
    assert main(["experiment", *arguments]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1, message


def test_a_checkpoint_is_studied_by_all_methods(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["experiment", "triggers", "--model", str(checkpoint), "--data", str(data), "--gradients"]
    assert main([*command, "--json", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    done = msgspec.json.decode(printed, type=ModelStudy)
    assert done == msgspec.json.decode((output / "triggers.json").read_bytes(), type=ModelStudy)
    assert [one.method for one in done.study.groups[0].methods] == [CONTRIBUTION, ATTENTION, FLOW, GRADIENT]
    assert done.study.groups[0].relations == sum(group.relations for group in done.study.groups[1:]) > 0
    assert done.study.left_out == {}
    assert (output / "triggers.svg").read_text().startswith("<?xml")
    written = (output / "triggers.md").read_text(encoding="utf-8")
    assert main(command) == 0
    shown = capsys.readouterr().out
    table = shown[shown.index("| word weights by") :]
    assert table.strip() in written


def test_results_are_the_same_each_time(checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["experiment", "triggers", "--model", str(checkpoint), "--data", str(data), "--json", "--deleted", "2"]
    studies = []
    for _ in range(2):
        assert main(command) == 0
        studies.append(json.loads(capsys.readouterr().out)["study"])
    assert studies[0] == studies[1]
    assert studies[0]["left_out"].keys() == {GRADIENT}
    assert len(studies[0]["groups"][0]["curves"][0]["fall"]) == 2


def test_a_bundle_is_studied_without_gradients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "two.json"
    texts = [
        "Lee Harvey Oswald was shot by Jack Ruby in Dallas .",
        "Tim Cook , a spokesman for Apple , was born in Mobile .",
        "Nothing at all .",
    ]
    data.write_text(json.dumps([{"tokens": text.split(), "entities": [], "relations": []} for text in texts]))
    assert main(["experiment", "triggers", "--model", "default", "--data", str(data), "--gradients", "--json"]) == 0
    done = msgspec.json.decode(capsys.readouterr().out, type=ModelStudy)
    assert done.study.left_out.keys() == {FLOW, GRADIENT}
    assert "--explain" in done.study.left_out[FLOW]
    assert done.environment["backend"] in ("cpu", "cuda")
    assert done.study.sentences == 3
    kills = {words.label: words for words in done.study.words}["Kill"]
    assert kills.exact[0][0] == "shot"


def test_sentences_without_relations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "none.json"
    data.write_text(json.dumps([{"tokens": ["Nothing", "."], "entities": [], "relations": []}]))
    command = ["experiment", "triggers", "--model", "default", "--data", str(data), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert "0 relations found in 0 of 1 sentences" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["triggers.json", "triggers.md"]
    done = msgspec.json.decode((tmp_path / "out" / "triggers.json").read_bytes(), type=ModelStudy)
    assert done.study.left_out.keys() == {FLOW, GRADIENT}


@pytest.mark.slow
def test_the_experiment_trains_and_studies(
    configure: Callable[..., Config], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(train={"stage1": {"epochs": 12}, "stage2": {"epochs": 8}, "lr": 1e-2})
    (tmp_path / "recipe.toml").write_text(render_config(config), encoding="utf-8")
    folder = tmp_path / "prepared"
    folder.mkdir()
    shutil.copy(tmp_path / "train.jsonl", folder / "train.jsonl")
    shutil.copy(data, folder / "test.jsonl")
    output = tmp_path / "experiments"
    command = ["experiment", "triggers", "--data", str(folder), "--config", str(tmp_path / "recipe.toml")]
    assert main([*command, "--seeds", "1", "--jobs", "1", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    report = msgspec.json.decode((output / "triggers.json").read_bytes(), type=ExperimentReport)
    assert report.triggers is not None
    assert report.triggers.sentences == 12
    assert [one.method for one in report.triggers.groups[0].methods] == [CONTRIBUTION, ATTENTION, FLOW, GRADIENT]
    assert "| words left out by |" in printed
    assert (output / "triggers.svg").is_file()

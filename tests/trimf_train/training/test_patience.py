"""A run ends early when dev no longer improves, and says how good it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.training_runs import die, epochs

from trimf_train.config import Config
from trimf_train.training import train as training
from trimf_train.training.run_outcome import describe_outcome
from trimf_train.training.train import train_model

pytestmark = pytest.mark.usefixtures("as_on_a_gpu")


@pytest.fixture
def falling_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate as usual, but let every epoch have a relation F1 that is lower than before."""
    evaluate = training.evaluate_pipeline

    def fall(*arguments: Any, **options: Any) -> Any:
        scores = evaluate(*arguments, **options)
        scores["relations"]["strict"]["micro"]["f1"] = next(falling)
        return scores

    falling = itertools.count(90.0, -1.0)
    monkeypatch.setattr(training, "evaluate_pipeline", fall)


def build(configure: Callable[..., Config], output: str, patience: int | None) -> Config:
    stages = {"stage1": {"epochs": 3}, "stage2": {"epochs": 8}}
    return configure(output, train={**stages, **({"patience": patience} if patience else {})})


@pytest.mark.usefixtures("falling_scores")
def test_the_last_stage_is_cut_short(configure: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    config = build(configure, "run", 2)
    best = train_model(config)
    assert best["epoch"] == 4, "the first epoch of the last stage scores best"
    assert [record["epoch"] for record in epochs(config)] == [1, 2, 3, 4, 5, 6]
    assert "stopped after epoch 6 of 11: 2 epochs in a row scored worse" in capsys.readouterr().err.replace("\n", " ")
    assert not (Path(config.output) / "state.pt").exists(), "a run that stops early is finished"


@pytest.mark.usefixtures("falling_scores")
def test_without_patience_every_epoch_is_trained(configure: Callable[..., Config]) -> None:
    config = build(configure, "run", None)
    train_model(config)
    assert len(epochs(config)) == 11


@pytest.mark.usefixtures("falling_scores")
def test_a_killed_run_stops_where_it_would_have(configure: Callable[..., Config]) -> None:
    config = build(configure, "killed", 2)
    die(config, "evaluate_pipeline", 6)
    assert train_model(config)["epoch"] == 4
    assert [record["epoch"] for record in epochs(config)] == [1, 2, 3, 4, 5, 6]


def test_the_outcome_names_scores_and_commands(configure: Callable[..., Config]) -> None:
    config = configure("a run")
    dev = {
        "entities": {"micro": {"f1": 87.123}},
        "relations": {"strict": {"micro": {"f1": 60.0}, "per_type": {"born in": {}}}},
    }
    head, title, *commands = describe_outcome({"epoch": 3, "dev": dev}, config)
    assert head == f"best epoch 3 of 4 in {config.output}/best: dev entity F1 87.12, relation F1 60.00"
    assert title == "next:"
    assert [command.split()[:2] for command in commands] == [["trimf", word] for word in ("eval", "export", "extract")]
    assert f"'{config.output}-bundle'" in commands[1], "a path with a space is quoted"


def test_the_outcome_without_relations_or_dev(configure: Callable[..., Config]) -> None:
    config = configure("run")
    dev = {"entities": {"micro": {"f1": 87.1}}, "relations": {"strict": {"micro": {"f1": 0.0}, "per_type": {}}}}
    assert describe_outcome({"epoch": 3, "dev": dev}, config)[0].endswith("dev entity F1 87.10")
    assert "no dev data" in describe_outcome({"epoch": 4}, config)[0]

"""Look at the files of a training run, and kill a run in the middle."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trimf_train.config import Config
from trimf_train.training import dataset as loading
from trimf_train.training import run_folder
from trimf_train.training import train as training
from trimf_train.training.train import train_model

#: Whatever draws random numbers, drawing them.
ROUGH = {"model": {"dropout": 0.3, "semantic": {"keep": 0.7}}}


class KilledError(Exception):
    """Raised in the middle of a run."""


def lines(config: Config) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(config.output) / "metrics.jsonl").read_text().splitlines()]


def steps(config: Config) -> list[dict[str, Any]]:
    return [line for line in lines(config) if line["type"] == "step"]


def epochs(config: Config) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines(config) if line["type"] == "epoch"]


def weights(config: Config) -> dict[str, torch.Tensor]:
    return load_file(Path(config.output) / "best" / "model.safetensors")


def same_weights(one: Config, other: Config) -> bool:
    mine, yours = weights(one), weights(other)
    return mine.keys() == yours.keys() and all(torch.equal(value, yours[name]) for name, value in mine.items())


def kill(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """Make a function of training raise when it is called for the ``count``-th time."""
    module = next(module for module in (loading, run_folder, training) if hasattr(module, name))
    original, calls = getattr(module, name), Counter[str]()

    def raising(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        if calls[name] == count:
            raise KilledError
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, raising)


def die(config: Config, name: str, count: int, **options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, name, count)
        with pytest.raises(KilledError):
            train_model(config, **options)
    assert not [path for path in Path(config.output).iterdir() if path.name.endswith(".tmp")]

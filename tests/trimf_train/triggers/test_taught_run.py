"""The sensor is taught at the end of a run, once, and a run that was killed in it goes on with what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trimf.runtime.bundle.manifest import EFFECTS_FILE
from trimf.runtime.pipeline import Pipeline
from trimf_train.config import Config
from trimf_train.model.checkpoint import load_checkpoint
from trimf_train.training.train import train_model
from trimf_train.triggers import taught_models
from trimf_train.triggers.taught_run import teach_run

Configure = Callable[..., Config]

#: Enough epochs for relations to be considered.
EPOCHS = {"stage1": {"epochs": 6}, "stage2": {"epochs": 4}, "lr": 1e-2}


class KilledError(Exception):
    """Raised in the middle of teaching."""


def configure_run(configure: Configure, many: Path, output: str = "run", **train: Any) -> Config:
    return configure(output, data={"train": [str(many)], "dev": str(many)}, train={**EPOCHS, **train})


@pytest.fixture
def finished(tiny_checkpoint: Any, tmp_path: Path) -> Path:
    """A run whose epochs are done, without its sensor."""
    tiny_checkpoint.save(tmp_path / "run" / "best")
    return tmp_path / "run"


@pytest.mark.slow
def test_a_run_ends_with_its_sensor(
    configure: Configure, many: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configure_run(configure, many)
    best = train_model(config)
    folder = Path(config.output)
    assert "trigger sensor: taught with" in capfd.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["best", "config.json", "metrics.jsonl"]
    checkpoint = load_checkpoint(folder / "best")
    assert checkpoint.effects is not None
    assert checkpoint.description.provenance["epoch"] == best["epoch"]
    without = configure_run(configure, many, "without", teach_triggers=False)
    train_model(without)
    assert load_checkpoint(Path(without.output) / "best").effects is None
    weights = [(Path(one.output) / "best" / "model.safetensors").read_bytes() for one in (config, without)]
    assert weights[0] == weights[1]
    # A taught checkpoint may be replaced like any other.
    train_model(config, restart=True)
    assert (folder / "best" / EFFECTS_FILE).exists()


@pytest.mark.slow
def test_a_run_that_was_killed_in_teaching_goes_on(configure: Configure, many: Path) -> None:
    config = configure_run(configure, many, stage1={"epochs": 1}, stage2={"epochs": 6})
    folder = Path(config.output)

    def die(*_: Any, **__: Any) -> None:
        assert (folder / "deletions.jsonl").exists()
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taught_models, "teach_sensor", die)
        with pytest.raises(KilledError):
            train_model(config)
    assert (folder / "best").exists()
    assert not (folder / "best" / EFFECTS_FILE).exists()
    epochs = (folder / "metrics.jsonl").read_bytes()
    assert train_model(config)["stage"] == 2
    assert (folder / "metrics.jsonl").read_bytes() == epochs
    assert sorted(path.name for path in folder.iterdir()) == ["best", "config.json", "metrics.jsonl"]
    assert (folder / "best" / EFFECTS_FILE).exists()


def test_what_was_measured_is_not_measured_again(configure: Configure, many: Path, finished: Path) -> None:
    config = configure_run(configure, many)
    original, calls = Pipeline.run_relations, [0]

    def count(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == limit:
            raise KilledError
        return original(*arguments)

    log: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "run_relations", count)
        limit = 15
        with pytest.raises(KilledError):
            teach_run(finished, config, torch.device("cpu"), log.append)
        kept = len((finished / "deletions.jsonl").read_text().splitlines())
        assert kept > 1
        assert not (finished / "best" / EFFECTS_FILE).exists()
        calls[0], limit = 0, -1
        teach_run(finished, config, torch.device("cpu"), log.append)
    assert log[-1].startswith("trigger sensor: taught with")
    assert not (finished / "deletions.jsonl").exists()
    assert load_checkpoint(finished / "best").effects is not None
    before = (finished / "best" / EFFECTS_FILE).read_bytes()
    log.clear()
    teach_run(finished, config, torch.device("cpu"), log.append)  # nothing is left to do
    assert log == []
    assert (finished / "best" / EFFECTS_FILE).read_bytes() == before


def test_too_few_relations_leave_the_model_as_it_is(configure: Configure, tiny_data: Path, finished: Path) -> None:
    config = configure("run", data={"train": [str(tiny_data)], "dev": str(tiny_data)})
    log: list[str] = []
    teach_run(finished, config, torch.device("cpu"), log.append)
    assert log[-1].startswith("trigger sensor: not taught: the model considers ")
    assert load_checkpoint(finished / "best").effects is None
    assert [path.name for path in finished.iterdir()] == ["best"]

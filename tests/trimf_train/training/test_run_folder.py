"""Runs that are killed, go on, and are refused because of what their folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from support.training_runs import ROUGH, die, epochs, same_weights, steps, weights

from trimf.runtime.errors import ConfigError, DataError, InputError
from trimf_train.config import Config
from trimf_train.training import train as training
from trimf_train.training.train import train_model

pytestmark = pytest.mark.usefixtures("as_on_a_gpu")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("collate_batch", 2),  # in the first epoch
        ("collate_batch", 7),  # at the first step of stage 2
        ("collate_batch", 12),  # at the last step
        ("evaluate_pipeline", 1),
        ("evaluate_pipeline", 3),
        ("atomic_path", 2),  # while the fresh state is saved
        ("atomic_path", 5),  # after the best epoch so far is, before the state of that epoch is
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    configure: Callable[..., Config], whole: tuple[Config, Any], name: str, count: int
) -> None:
    expected = whole[1]
    killed = configure("killed", **ROUGH)
    die(killed, name, count)
    assert train_model(killed) == {**expected, "seconds": pytest.approx(expected["seconds"], abs=60)}
    assert same_weights(whole[0], killed)
    assert steps(killed) == steps(whole[0])
    assert epochs(killed) == epochs(whole[0])
    assert not (Path(killed.output) / "state.pt").exists()


def test_a_run_killed_more_than_once(configure: Callable[..., Config], whole: tuple[Config, Any]) -> None:
    killed = configure("killed", **ROUGH)
    for count in (5, 5, 4):
        die(killed, "collate_batch", count)
    train_model(killed)
    assert same_weights(whole[0], killed)
    assert steps(killed) == steps(whole[0])


@pytest.mark.parametrize("only", ["stage1", "stage2"])
def test_a_best_epoch_alone_is_no_finished_run(configure: Callable[..., Config], only: str) -> None:
    left_out = {"stage1": "stage2", "stage2": "stage1"}[only]
    undisturbed, killed = (configure(name, **ROUGH, train={left_out: {"epochs": 0}}) for name in ("whole", "killed"))
    train_model(undisturbed)
    die(killed, "atomic_path", 3)
    assert (Path(killed.output) / "best").exists()
    train_model(killed)
    assert same_weights(undisturbed, killed)
    assert steps(killed) == steps(undisturbed)


@pytest.mark.parametrize(
    "options",
    [
        {"train": {"gradient_accumulation": 2}},
        {"model": {"memory": {"write": "sgd"}}},
        {"data": {"dev": None}},
        {"train": {"mine": True}},
        {"model": {"syntax": {"source": "encoder"}}, "train": {"syntax_stage": {"epochs": 1}}},
    ],
)
def test_a_killed_run_with_options(configure: Callable[..., Config], options: dict[str, Any]) -> None:
    undisturbed, killed = configure("whole", **options), configure("killed", **options)
    train_model(undisturbed)
    die(killed, "collate_batch", 5)
    train_model(killed)
    assert same_weights(undisturbed, killed)
    assert steps(killed) == steps(undisturbed)


def test_one_process_trains_in_a_folder(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("shared")
    original = training._train_epoch

    def learn(*given: Any) -> Any:
        with pytest.raises(InputError, match=r"shared: another process is writing it"):
            train_model(config, restart=True)
        assert (Path(config.output) / "state.pt").exists()
        return original(*given)

    monkeypatch.setattr(training, "_train_epoch", learn)
    train_model(config)
    assert len(epochs(config)) == 4
    assert sorted(path.name for path in Path(config.output).iterdir()) == ["best", "config.json", "metrics.jsonl"]


def test_another_configuration_in_the_same_folder(configure: Callable[..., Config]) -> None:
    config = configure(train={"stage1": {"epochs": 1}, "stage2": {"epochs": 0}})
    train_model(config)
    before = weights(config)
    other = msgspec.structs.replace(config, seed=1)
    with pytest.raises(ConfigError, match="another configuration; use --restart"):
        train_model(other)
    assert all(torch.equal(value, before[name]) for name, value in weights(config).items())
    train_model(other, restart=True)
    assert not torch.equal(weights(config)["entity_weight"], before["entity_weight"])


def test_a_run_from_before_a_setting_came_goes_on(configure: Callable[..., Config]) -> None:
    config = configure(train={"stage1": {"epochs": 1}, "stage2": {"epochs": 1}})
    train_model(config)
    path = Path(config.output) / "config.json"
    written = json.loads(path.read_text())
    del written["model"]["encoder"]["casing"], written["train"]["init"]
    path.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="finished run of this configuration"):
        train_model(config)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="another configuration"):
        train_model(config)


def test_a_run_from_before_the_mean_of_the_slots_goes_on_with_their_sum(configure: Callable[..., Config]) -> None:
    runs = {
        slots: configure(train={"stage1": {"epochs": 1}, "stage2": {"epochs": 0}}, model={"flow": {"slots": slots}})
        for slots in ("mean", "sum")
    }
    train_model(runs["sum"])
    path = Path(runs["sum"].output) / "config.json"
    written = json.loads(path.read_text())
    del written["model"]["flow"]["slots"]
    path.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="finished run of this configuration"):
        train_model(runs["sum"])
    with pytest.raises(ConfigError, match="another configuration"):
        train_model(msgspec.structs.replace(runs["mean"], output=runs["sum"].output))


def test_a_run_from_before_a_setting_was_removed_goes_on(configure: Callable[..., Config]) -> None:
    config = configure(train={"stage1": {"epochs": 1}, "stage2": {"epochs": 1}})
    train_model(config)
    path = Path(config.output) / "config.json"
    written = json.loads(path.read_text())
    written["train"] |= {"ema": 0.0, "label_smoothing": 0.0, "layer_decay": 1.0, "r_drop": 0.0}
    written["model"] |= {"scaled": False, "span": {**written["model"]["span"], "context": "none"}}
    path.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="finished run of this configuration"):
        train_model(config)
    written["train"]["ema"] = 0.9
    path.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="another configuration"):
        train_model(config)


def test_changed_data_are_refused(configure: Callable[..., Config]) -> None:
    config = configure("killed", **ROUGH)
    die(config, "collate_batch", 7)
    data = Path(config.data.train[0])
    before = data.read_bytes()
    data.write_bytes(b"".join(before.splitlines(keepends=True)[1:]))
    try:
        with pytest.raises(DataError, match=f"{data}: changed since the run in {config.output} began"):
            train_model(config)
    finally:
        data.write_bytes(before)
    train_model(config)


def test_a_restart_keeps_the_finished_run_until_the_new_one_is(configure: Callable[..., Config]) -> None:
    config = configure("killed", **ROUGH)
    train_model(config)
    folder, before = Path(config.output), weights(config)
    die(config, "atomic_path", 2, restart=True)
    assert sorted(path.name for path in (folder / "previous").iterdir()) == ["best", "config.json", "metrics.jsonl"]
    assert not (folder / "best").exists()
    train_model(config)  # goes on: the folder has nothing finished
    assert not (folder / "previous").exists()
    assert all(torch.equal(value, before[name]) for name, value in weights(config).items())


def test_files_of_others_are_not_replaced(configure: Callable[..., Config]) -> None:
    config = configure("others")
    folder = Path(config.output)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    for restart in (False, True):
        with pytest.raises(ConfigError, match=r"config\.json|another configuration"):
            train_model(config, restart=restart)
    assert (folder / "config.json").read_text() == '{"model_type": "bert"}'
    (folder / "config.json").unlink()
    (folder / "best").mkdir()
    (folder / "best" / "photo.jpg").touch()
    with pytest.raises(ConfigError, match="is not of a training run"):
        train_model(config, restart=True)
    assert (folder / "best" / "photo.jpg").exists()


def test_a_finished_run(configure: Callable[..., Config]) -> None:
    config = configure(train={"stage1": {"epochs": 1}, "stage2": {"epochs": 1}})
    train_model(config)
    first, steps_before = weights(config), steps(config)
    with pytest.raises(ConfigError, match="finished run of this configuration; use --restart"):
        train_model(config)
    train_model(config, restart=True)
    assert all(torch.equal(value, first[name]) for name, value in weights(config).items())
    assert steps(config) == steps_before


def test_a_restart_forgets_a_killed_run(configure: Callable[..., Config], whole: tuple[Config, Any]) -> None:
    killed = configure("killed", **ROUGH)
    die(killed, "collate_batch", 8)
    train_model(killed, restart=True)
    assert same_weights(whole[0], killed)
    assert steps(killed) == steps(whole[0])

"""The course of a training, from the files of a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trimf.runtime.errors import DataError, ModelPathError
from trimf_train.evaluation.report.charts import draw_learning_curve
from trimf_train.evaluation.report.learning_curve import find_checkpoint, is_run_folder, read_learning_curve


def dev(entity: float, relation: float) -> dict[str, Any]:
    return {"entities": {"micro": {"f1": entity}}, "relations": {"strict": {"micro": {"f1": relation}}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "trimf.json").write_text(json.dumps({"provenance": {"epoch": 2}}))
    records = [
        {"type": "step", "epoch": 1, "loss": 2.5, "lr": 0.1},
        {"type": "epoch", "epoch": 1, "stage": 1, "entity_loss": 0.5, "relation_loss": 0.25, "dev": dev(10, 5)},
        {"type": "epoch", "epoch": 2, "stage": 2, "entity_loss": 0.25, "relation_loss": 0.125, "dev": dev(20, 15)},
        {"type": "epoch", "epoch": 3, "stage": 2, "entity_loss": 0.25},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def test_epochs_and_the_best_of_them(folder: Path) -> None:
    assert is_run_folder(str(folder))
    assert find_checkpoint(str(folder)) == str(folder / "best")
    curve = read_learning_curve(str(folder))
    assert curve is not None
    assert curve.best == 2
    assert [(one.epoch, one.losses, one.entity_f1, one.relation_f1) for one in curve.epochs] == [
        (1, {"entity": 0.5, "relation": 0.25}, 10, 5),
        (2, {"entity": 0.25, "relation": 0.125}, 20, 15),
        (3, {"entity": 0.25}, None, None),
    ]
    loss, f1 = draw_learning_curve(curve)
    assert [line.name for line in loss.lines + f1.lines] == [
        "entity loss", "relation loss", "entity F1 on dev", "relation F1 on dev",
    ]  # fmt: skip
    assert [rule.name for rule in loss.rules] == ["best epoch"]


def test_one_epoch_is_a_dot(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text('{"type": "epoch", "epoch": 1, "entity_loss": 0}\n')
    curve = read_learning_curve(str(folder))
    assert curve is not None
    (loss,) = draw_learning_curve(curve)
    assert len(loss.dots) == 1


def test_what_is_no_run_folder(folder: Path, tmp_path: Path) -> None:
    assert find_checkpoint("default") == "default"
    assert find_checkpoint(str(folder / "best")) == str(folder / "best")
    assert not is_run_folder(str(folder / "best"))
    (folder / "best" / "trimf.json").unlink()
    with pytest.raises(ModelPathError, match="training run without"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("line", ["{", '{"type": "epoch"}', '{"type": "epoch", "epoch": "x"}', "[]", "\xff"])
def test_damaged_metrics(folder: Path, line: str) -> None:
    (folder / "metrics.jsonl").write_text(f'{{"type": "step"}}\n{line}\n', encoding="latin-1")
    with pytest.raises(DataError, match=r"metrics.jsonl: line 2: "):
        read_learning_curve(str(folder))


def test_no_metrics(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text("\n")
    assert read_learning_curve(str(folder)) is None
    (folder / "metrics.jsonl").unlink()
    assert read_learning_curve(str(folder)) is None

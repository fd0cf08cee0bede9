"""Read the course of a training from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trimf.runtime.errors import DataError, ModelPathError

from .schema import Epoch, LearningCurve


def find_checkpoint(model: str) -> str:
    """Return the folder of the model itself: ``best`` within a run folder of ``trimf train``, else what was given.

    Raises:
        ModelPathError: The run folder has no checkpoint yet.
    """
    folder = Path(model)
    if not is_run_folder(model):
        return model
    if not (folder / "best" / "trimf.json").is_file():
        raise ModelPathError(f"model not found: {folder} is a training run without {folder / 'best'}; let it finish")
    return str(folder / "best")


def is_run_folder(model: str) -> bool:
    """Return True if a path is the output folder of a training run."""
    folder = Path(model)
    is_model = any((folder / name).is_file() for name in ("trimf.json", "manifest.json"))
    return str(model) != "default" and not is_model and (folder / "config.json").is_file()


def read_learning_curve(folder: str) -> LearningCurve | None:
    """Read the epochs of a training run.

    Args:
        folder: A run folder.

    Returns:
        The course of the training; None if no epoch is recorded.

    Raises:
        DataError: ``metrics.jsonl`` is damaged.
    """
    path = Path(folder) / "metrics.jsonl"
    if not path.is_file():
        return None
    epochs = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = msgspec.json.decode(line, type=dict[str, Any]) if line.strip() else {}
            if record.get("type") == "epoch":
                epochs.append(_read_epoch(record))
        except (msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: line {number}: no record of a training run; restore the file") from error
    return LearningCurve(epochs, _find_best_epoch(Path(folder))) if epochs else None


def _read_epoch(record: dict[str, Any]) -> Epoch:
    dev = record.get("dev") or {}
    losses = {
        name.removesuffix("_loss"): value
        for name, value in record.items()
        if name.endswith("_loss") and isinstance(value, float | int)
    }
    entity_f1 = dev["entities"]["micro"]["f1"] if dev else None
    relation_f1 = dev["relations"]["strict"]["micro"]["f1"] if dev else None
    return msgspec.convert(
        {
            "epoch": record["epoch"],
            "stage": record.get("stage"),
            "losses": losses,
            "entity_f1": entity_f1,
            "relation_f1": relation_f1,
        },
        Epoch,
    )


def _find_best_epoch(folder: Path) -> int | None:
    """Return the epoch of the checkpoint, from its provenance."""
    try:
        described = msgspec.json.decode((folder / "best" / "trimf.json").read_bytes(), type=dict[str, Any])
        epoch = described["provenance"]["epoch"]
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return None
    return epoch if isinstance(epoch, int) else None

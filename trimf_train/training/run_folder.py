"""Write the output folder of a training run: metrics, best checkpoint, and the state to resume from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout

from trimf.runtime.bundle.atomic_io import atomic_path
from trimf.runtime.errors import ConfigError
from trimf_train.config import Config
from trimf_train.former_defaults import fill_former_defaults
from trimf_train.model import checkpoint as checkpoints
from trimf_train.removed_settings import drop_unused_settings


class RunFolder:
    """Output folder of a training run, written by the main process only.

    As a context manager, it locks the folder against other runs. If the block ends without an error, the run is
    finished and its state is deleted.

    Args:
        folder: The folder; it is created on entering the block.
        config: The run's configuration, written to ``config.json``.
        accelerator: Synchronises the processes of the run.
        restart: Discard the state and the metrics of an earlier run in the folder.

    Attributes:
        best_record: Record of the best epoch so far.
        finished_epochs: Number of finished epochs.

    Raises:
        ConfigError: The folder has a run of another configuration or a finished run, and ``restart`` is false; or, on
            entering the block, another process is training in it.
    """

    def __init__(self, folder: Path, config: Config, accelerator: Accelerator, restart: bool) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.best_record: dict[str, Any] = {}
        self.finished_epochs = 0
        self._pending_lines: list[str] = []
        self._config_json = msgspec.json.format(msgspec.json.encode(config), indent=2)
        self._state_path, self._metrics_path, self._config_path = (
            folder / name for name in ("state.pt", "metrics.jsonl", "config.json")
        )
        if self._config_path.exists() and not restart:
            if not _is_same_config(self._config_path.read_bytes(), config):
                raise ConfigError(
                    f"{folder} has a run of another configuration; use --restart to replace it, or set another output"
                )
            if not self._state_path.exists() and (folder / "best").exists():
                raise ConfigError(f"{folder} has a finished run of this configuration; use --restart to train again")
        self._fresh = restart or not self._state_path.exists()
        self._lock = FileLock(folder / ".lock", timeout=0)

    def __enter__(self) -> Self:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout:
                raise ConfigError(
                    f"{self.folder}: another process is training in this folder; set another output"
                ) from None
            if self._fresh:
                self._state_path.unlink(missing_ok=True)
                self._metrics_path.unlink(missing_ok=True)
            self._config_path.write_bytes(self._config_json)
        self.accelerator.wait_for_everyone()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.accelerator.is_main_process:
            if kind is None:  # a finished run needs no state
                self._state_path.unlink(missing_ok=True)
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)
        if kind is None:
            self.accelerator.wait_for_everyone()

    def resume(
        self,
        model: torch.nn.Module,
        optimizers: Sequence[Any],
        schedules: Sequence[Any],
    ) -> int:
        """Load the state of an interrupted run, or save the initial state of a new one.

        Args:
            model: The model; its weights are replaced by those of the state.
            optimizers: The optimisers, restored from the state.
            schedules: The learning-rate schedules, restored from the state.

        Returns:
            The number of finished epochs.
        """
        if self._fresh:
            if self.accelerator.is_main_process:
                self.save_state(model, optimizers, schedules)
            return 0
        state = torch.load(self._state_path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        for name, objects in (("optimizers", optimizers), ("schedules", schedules)):
            for restored, saved in zip(objects, state[name], strict=True):
                restored.load_state_dict(saved)
        self.finished_epochs, self.best_record = state["epoch"], json.loads(state["best"])
        if self.accelerator.is_main_process:
            self._truncate_metrics()
        return self.finished_epochs

    def _truncate_metrics(self) -> None:
        """Remove the lines of the epoch that was interrupted."""
        lines = self._metrics_path.read_text(encoding="utf-8").splitlines() if self._metrics_path.exists() else []
        with atomic_path(self._metrics_path) as new:
            new.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["epoch"] <= self.finished_epochs))

    def add_metrics(self, entry: dict[str, Any]) -> None:
        """Add an entry to the metrics; it is written to the file when the epoch is finished."""
        if self.accelerator.is_main_process:
            self._pending_lines.append(json.dumps(entry))

    def finish_epoch(self, record: dict[str, Any], checkpoint: checkpoints.Checkpoint, last_stage: bool) -> None:
        """Write the metrics of an epoch and, if it is the best so far, its checkpoint.

        Args:
            record: The epoch's record, with the scores in ``dev`` if there is a development set.
            checkpoint: The model after the epoch.
            last_stage: The epoch is in the last stage of the run; only those can be the best.
        """
        self.finished_epochs = record["epoch"]
        score = _dev_score(record)
        if last_stage and (not self.best_record or score >= _dev_score(self.best_record)):
            self.best_record = record
            description = checkpoint.description
            provenance = {**description.provenance, "epoch": record["epoch"], "dev": record.get("dev")}
            replaced = msgspec.structs.replace(description, stage=record["stage"], provenance=provenance)
            checkpoints.Checkpoint(checkpoint.model, replaced, checkpoint.tokenizer_json).save(self.folder / "best")
        self.add_metrics(record)
        with self._metrics_path.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{line}\n" for line in self._pending_lines))
            stream.flush()
            os.fsync(stream.fileno())
        self._pending_lines.clear()

    def save_state(
        self,
        model: torch.nn.Module,
        optimizers: Sequence[Any],
        schedules: Sequence[Any],
    ) -> None:
        """Save the state to resume from, atomically.

        Args:
            model: The model.
            optimizers: The optimisers.
            schedules: The learning-rate schedules.
        """
        state = {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "schedules": [schedule.state_dict() for schedule in schedules],
            "epoch": self.finished_epochs,
            "best": json.dumps(self.best_record),
        }
        with atomic_path(self._state_path) as new:
            torch.save(state, new)


def _is_same_config(content: bytes, config: Config) -> bool:
    """Check that a ``config.json`` equals ``config``.

    A setting that is newer than the file counts as set to what earlier versions used; a removed setting is ignored if
    it was not used.
    """
    try:
        values = msgspec.json.decode(content, type=dict[str, Any])
        drop_unused_settings(values)
        fill_former_defaults(values)
        return msgspec.convert(values, Config) == config
    except msgspec.DecodeError:
        return False


def _dev_score(record: dict[str, Any]) -> tuple[float, float]:
    """Return strict relation F1 and entity F1 on dev; without dev data all are equal, so that the last epoch wins."""
    dev = record.get("dev")
    if not dev:
        return (0.0, 0.0)
    return dev["relations"]["strict"]["micro"]["f1"], dev["entities"]["micro"]["f1"]

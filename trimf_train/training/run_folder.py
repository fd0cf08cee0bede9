"""Write the output folder of a training run: metrics, best checkpoint, and the state to resume from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import torch
from accelerate import Accelerator

from trimf.runtime.errors import BundleError, ConfigError, DataError
from trimf.runtime.files.atomic import atomic_path
from trimf.runtime.files.folder_kinds import CHECKPOINT, find_obstacle
from trimf.runtime.files.locks import lock_output
from trimf.runtime.files.write_errors import report_write_errors
from trimf_train.config import Config
from trimf_train.former_defaults import fill_former_defaults
from trimf_train.model import checkpoint as checkpoints
from trimf_train.removed_settings import drop_unused_settings


class RunFolder:
    """Output folder of a training run, written by the main process only.

    As a context manager, it locks the folder against other runs. If the block ends without an error, the run is
    finished and its state is deleted. A run that ``restart`` discards stays in ``previous/`` until then.

    Args:
        folder: The folder; it is created on entering the block.
        config: The run's configuration, written to ``config.json``.
        accelerator: Synchronises the processes of the run.
        restart: Discard the run in the folder.
        inputs: SHA-256 hash of each file that the run learns from; a run resumes only with the same files.

    Attributes:
        best_record: Record of the best epoch so far.
        finished_epochs: Number of finished epochs.

    Raises:
        ConfigError: The folder has a run of another configuration or a finished run, and ``restart`` is false, or files
            that are not of a training run.
        InputError: On entering the block, another process is training in the folder, or it cannot be written.
    """

    def __init__(
        self, folder: Path, config: Config, accelerator: Accelerator, restart: bool, inputs: Mapping[str, str]
    ) -> None:
        self.folder, self.accelerator, self.inputs = folder, accelerator, dict(inputs)
        self.best_record: dict[str, Any] = {}
        self.finished_epochs = 0
        self._pending_lines: list[str] = []
        self._config_json = msgspec.json.format(msgspec.json.encode(config), indent=2)
        self._state_path, self._metrics_path, self._config_path = (
            folder / name for name in ("state.pt", "metrics.jsonl", "config.json")
        )
        if restart or not self._config_path.exists():
            self._check_foreign_files()
        else:
            if not _is_same_config(self._config_path.read_bytes(), config):
                raise ConfigError(
                    f"{folder} has a run of another configuration; use --restart to replace it, or set another output"
                )
            if self._is_finished():
                raise ConfigError(f"{folder} has a finished run of this configuration; use --restart to train again")
        self._restart = restart
        self._fresh = restart or not self._state_path.exists()
        self._lock = ExitStack()

    def __enter__(self) -> Self:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with report_write_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock.enter_context(lock_output(self.folder, self.folder / ".lock"))
                try:
                    self._begin()
                except BaseException:
                    self._lock.close()
                    raise
        self.accelerator.wait_for_everyone()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.accelerator.is_main_process:
            with self._lock:
                if kind is None:  # a finished run needs no state
                    self._state_path.unlink(missing_ok=True)
                    shutil.rmtree(self._previous, ignore_errors=True)
        if kind is None:
            self.accelerator.wait_for_everyone()

    @property
    def _previous(self) -> Path:
        """Folder that keeps the finished run that a restart discards."""
        return self.folder / "previous"

    def _is_finished(self) -> bool:
        """Return True if the folder has a finished run."""
        return (self.folder / "best").exists() and not self._state_path.exists()

    def _check_foreign_files(self) -> None:
        """Refuse a folder whose files would be replaced although no run of TriMF wrote them."""
        for path in (self._state_path, self._metrics_path, self._config_path, self.folder / "best"):
            if path.exists() and not _is_config(self._config_path):
                raise ConfigError(f"{path} is not of a training run of TriMF and would be replaced; set another output")
        best = self.folder / "best"
        if best.exists() and (obstacle := find_obstacle(best, CHECKPOINT)):
            raise ConfigError(f"{best} {obstacle}, and would be replaced; set another output")

    def _begin(self) -> None:
        """Put the run of before aside and write the configuration of this one."""
        if self._restart and self._is_finished():
            shutil.rmtree(self._previous, ignore_errors=True)
            self._previous.mkdir()
            # The checkpoint first: without it the folder has no finished run, whenever this process is killed.
            for path in (self.folder / "best", self._metrics_path, self._config_path):
                if path.exists():
                    path.replace(self._previous / path.name)
        elif self._fresh and (self.folder / "best").exists():
            shutil.rmtree(self.folder / "best")
        if self._fresh:
            self._state_path.unlink(missing_ok=True)
            self._metrics_path.unlink(missing_ok=True)
        with atomic_path(self._config_path) as new:
            new.write_bytes(self._config_json)

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

        Raises:
            DataError: A file that the run learns from is not the one that it began with.
            BundleError: The state is damaged.
        """
        if self._fresh:
            if self.accelerator.is_main_process:
                self.save_state(model, optimizers, schedules)
            return 0
        state = self._load_state()
        model.load_state_dict(state["model"])
        for name, objects in (("optimizers", optimizers), ("schedules", schedules)):
            for restored, saved in zip(objects, state[name], strict=True):
                restored.load_state_dict(saved)
        self.finished_epochs, self.best_record = state["epoch"], json.loads(state["best"])
        if self.accelerator.is_main_process:
            self._truncate_metrics()
        return self.finished_epochs

    def _load_state(self) -> dict[str, Any]:
        """Read the state and check that the run goes on with the files that it began with."""
        try:
            state: dict[str, Any] = torch.load(self._state_path, map_location="cpu", weights_only=True)
        except Exception as error:  # PyTorch reports a damaged archive by several types of error
            raise BundleError(f"{self._state_path}: damaged; use --restart to train again") from error
        began = json.loads(state.get("inputs", "null"))
        if began is None:  # a state of a version that did not record them
            return state
        for path in sorted(began.keys() | self.inputs.keys()):
            if began.get(path) != self.inputs.get(path):
                raise DataError(
                    f"{path}: changed since the run in {self.folder} began; restore it to resume, or use --restart"
                )
        return state

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
        with report_write_errors(self._metrics_path), self._metrics_path.open("a", encoding="utf-8") as stream:
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
            "inputs": json.dumps(self.inputs),
        }
        with atomic_path(self._state_path) as new:
            torch.save(state, new)


def _is_config(path: Path) -> bool:
    """Return True if a file is the configuration of a training run."""
    try:
        values = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return {"data", "model", "train", "output"} <= values.keys()


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
    """Return strict relation F1 and entity F1 on dev; without dev data all are equal, so that the last epoch wins.

    A model without relation types has a relation F1 of 0 in every epoch, so that entity F1 decides.
    """
    dev = record.get("dev")
    if not dev:
        return (0.0, 0.0)
    return dev["relations"]["strict"]["micro"]["f1"], dev["entities"]["micro"]["f1"]

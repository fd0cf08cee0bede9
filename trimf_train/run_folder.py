"""The output folder of one training run: metrics, best checkpoint, and the state that a killed run goes on from."""

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

from trimf.runtime.errors import ConfigError
from trimf.runtime.files import atomic_path
from trimf_train import checkpoint as checkpoints
from trimf_train.config import Config


class RunFolder:
    """The folder, which only the main process writes. It is a context: within it no other run trains in the folder, and
    a run that leaves it without an error is finished.

    Raises:
        ConfigError: it holds a run of another configuration, or a finished one, and ``restart`` is false; or another
            process is training in it.
    """

    def __init__(self, folder: Path, config: Config, accelerator: Accelerator, restart: bool) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.best: dict[str, Any] = {}
        self.epoch = 0
        self._lines: list[str] = []
        self._config = msgspec.json.format(msgspec.json.encode(config), indent=2)
        self._state, self._metrics, self._resolved = (
            folder / name for name in ("state.pt", "metrics.jsonl", "config.json")
        )
        if self._resolved.exists() and not restart:
            if not _same(self._resolved.read_bytes(), config):
                raise ConfigError(f"{folder} holds a run of another configuration; use --restart or another output")
            if not self._state.exists() and (folder / "best").exists():
                raise ConfigError(f"{folder} holds a finished run of this configuration; --restart trains it again")
        self._fresh = restart or not self._state.exists()
        self._lock = FileLock(folder / ".lock", timeout=0)

    def __enter__(self) -> Self:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout:
                raise ConfigError(f"{self.folder}: another process is training in it") from None
            if self._fresh:
                self._state.unlink(missing_ok=True)
                self._metrics.unlink(missing_ok=True)
            self._resolved.write_bytes(self._config)
        self.accelerator.wait_for_everyone()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.accelerator.is_main_process:
            if kind is None:  # a finished run needs no state
                self._state.unlink(missing_ok=True)
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)
        if kind is None:
            self.accelerator.wait_for_everyone()

    def resume(
        self,
        model: torch.nn.Module,
        average: torch.nn.Module | None,
        optimizers: Sequence[Any],
        schedules: Sequence[Any],
    ) -> int:
        """Load the state of a killed run, or store that of a fresh one; returns the number of epochs already done.

        ``average`` is that of the model's weights, where one is kept.
        """
        if self._fresh:
            if self.accelerator.is_main_process:
                self.save(model, average, optimizers, schedules)
            return 0
        state = torch.load(self._state, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        if average is not None:
            average.load_state_dict(state["average"])
        for name, objects in (("optimizers", optimizers), ("schedules", schedules)):
            for one, saved in zip(objects, state[name], strict=True):
                one.load_state_dict(saved)
        self.epoch, self.best = state["epoch"], json.loads(state["best"])
        if self.accelerator.is_main_process:
            self._keep_metrics()
        return self.epoch

    def _keep_metrics(self) -> None:
        lines = self._metrics.read_text(encoding="utf-8").splitlines() if self._metrics.exists() else []
        with atomic_path(self._metrics) as new:
            new.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["epoch"] <= self.epoch))

    def record(self, entry: dict[str, Any]) -> None:
        """Keep one line for the metrics file."""
        if self.accelerator.is_main_process:
            self._lines.append(json.dumps(entry))

    def finish_epoch(self, record: dict[str, Any], checkpoint: checkpoints.Checkpoint, last_stage: bool) -> None:
        """Write the epoch's lines and, where it is the best so far, the checkpoint."""
        self.epoch = record["epoch"]
        score = _score(record)
        if last_stage and (not self.best or score >= _score(self.best)):
            self.best = record
            description = checkpoint.description
            provenance = {**description.provenance, "epoch": record["epoch"], "dev": record.get("dev")}
            replaced = msgspec.structs.replace(description, stage=record["stage"], provenance=provenance)
            checkpoints.Checkpoint(checkpoint.model, replaced, checkpoint.tokenizer_json).save(self.folder / "best")
        self.record(record)
        with self._metrics.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{line}\n" for line in self._lines))
            stream.flush()
            os.fsync(stream.fileno())
        self._lines.clear()

    def save(
        self,
        model: torch.nn.Module,
        average: torch.nn.Module | None,
        optimizers: Sequence[Any],
        schedules: Sequence[Any],
    ) -> None:
        """Store what a killed run needs to go on, atomically."""
        state = {
            "model": model.state_dict(),
            "average": None if average is None else average.state_dict(),
            "optimizers": [one.state_dict() for one in optimizers],
            "schedules": [one.state_dict() for one in schedules],
            "epoch": self.epoch,
            "best": json.dumps(self.best),
        }
        with atomic_path(self._state) as new:
            torch.save(state, new)


def _same(content: bytes, config: Config) -> bool:
    """Whether a ``config.json``, which may be older than some settings, says the same as ``config``."""
    try:
        return msgspec.json.decode(content, type=Config) == config
    except msgspec.DecodeError:
        return False


def _score(record: dict[str, Any]) -> tuple[float, float]:
    """Relation strict F1 on dev, then entity F1; without dev data every epoch beats the one before."""
    dev = record.get("dev")
    if not dev:
        return (0.0, 0.0)
    return dev["relations"]["strict"]["micro"]["f1"], dev["entities"]["micro"]["f1"]

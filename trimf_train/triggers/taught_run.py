"""Teach the trigger sensor of a run's best checkpoint, as the last step of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from trimf.runtime.errors import DataError
from trimf_train.config import Config
from trimf_train.model.checkpoint import load_checkpoint
from trimf_train.triggers.taught_models import describe_sensor, teach_checkpoint


def teach_run(folder: Path, config: Config, device: torch.device, log: Callable[[str], None]) -> None:
    """Teach the sensor with the run's own data, and write it into the best checkpoint.

    Nothing is taught to a model without relation types, and where too few relations are found to learn from; the sensor
    then shows what its attention contributes. A run that is stopped goes on with what was measured.

    Args:
        folder: Folder of the run.
        config: Configuration of the run.
        device: Device that runs the model.
        log: Called with a line of text at each step.
    """
    best, cache = folder / "best", folder / "deletions.jsonl"
    checkpoint = load_checkpoint(best)
    if checkpoint.effects is not None or not checkpoint.description.labels.has_relations:
        return
    data, dev = [Path(name) for name in config.data.train], config.data.dev
    try:
        taught = teach_checkpoint(
            best,
            data,
            Path(dev) if dev else None,
            best,
            cache=cache,
            seed=config.seed,
            device=str(device),
            overwrite=True,
            log=log,
        )
    except DataError as error:
        log(f"trigger sensor: not taught: {error}")
    else:
        log(describe_sensor(taught))
    cache.unlink(missing_ok=True)

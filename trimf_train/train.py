"""Two-stage training (paper 3.7, 4.4): read data, build the model, and for each epoch learn, evaluate, save.

Runs on one process or, under ``accelerate launch``, on several: a global batch has ``train.batch_size`` sentences per
process, every loss is normalised by counts over the global batch, and what a sentence draws (negatives) depends on the
seed, the epoch and the sentence alone, so P processes learn what one process with a P times larger batch learns.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trimf.runtime.errors import ConfigError
from trimf_train import checkpoint as checkpoints
from trimf_train import inference, losses
from trimf_train.compiler import missing_compiler
from trimf_train.config import Config, StageConfig
from trimf_train.evaluate import evaluate
from trimf_train.loading import Mixture, batches, global_batches
from trimf_train.mining import mined
from trimf_train.optimizer import freeze, optimizers, schedules
from trimf_train.preparation import begin
from trimf_train.progress import Progress
from trimf_train.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class _Session:
    """What every epoch needs.

    ``average`` is that of the model's weights, where one is kept; ``per_epoch`` counts the batches of one, by stage.
    """

    config: Config
    accelerator: Accelerator
    model: nn.Module
    average: AveragedModel | None
    rates: Sequence[Any]
    folder: RunFolder
    progress: Progress
    per_epoch: dict[int, int]


def train(config: Config, *, restart: bool = False, command: str = "", compiled: bool = False) -> dict[str, Any]:
    """Train as configured into ``config.output`` and return the best epoch's record (empty on all but one process).

    The folder gets ``config.json`` (resolved), ``metrics.jsonl`` (one line a step and an epoch), ``best/`` (checkpoint
    of the best relation strict F1 on dev, in the last stage that has epochs; without dev data, the last epoch) and,
    while unfinished, ``state.pt``: a killed run goes on after its last whole epoch. ``restart`` begins anew.
    ``command`` is recorded as what started the run; ``compiled`` runs the encoder through ``torch.compile``.

    Raises:
        ConfigError: a value does not fit this machine, or the folder holds a run of another configuration.
        DataError: the data cannot be used.
        BundleError: ``train.init`` or one of ``train.teachers`` is no checkpoint.
    """
    accelerator = _accelerator(config)
    if compiled and (reason := missing_compiler(accelerator.device.type)):
        raise ConfigError(f"--compile: torch.compile does not work here: {reason}")
    torch.manual_seed(config.seed)
    checkpoint, mixture, dev, about, knows = begin(config, accelerator.device, command)
    model = checkpoint.model
    average, shown = None, checkpoint
    if config.train.ema:
        follow = get_ema_multi_avg_fn(config.train.ema)
        average = AveragedModel(model, device=accelerator.device, multi_avg_fn=follow)
        shown = checkpoints.Checkpoint(average.module, checkpoint.description, checkpoint.tokenizer_json)
    if compiled:
        model.encoder.compile(dynamic=True)
    counts = {stage: len(global_batches(mixture, config, accelerator.num_processes, stage, 0)) for stage in (0, 1, 2)}

    stages = [number for number, stage in _stages(config) for _ in range(stage.epochs)]
    steps = [math.ceil(counts[stage] / config.train.gradient_accumulation) for stage in stages]
    chosen = optimizers(model, config)
    alone = stages.count(0)
    rates = schedules(chosen, [sum(steps[:alone]), sum(steps[alone:])], config.train.warmup)
    done = [counts[stage] for stage in stages]
    with (
        RunFolder(Path(config.output), config, accelerator, restart) as folder,
        Progress(accelerator.is_main_process, sum(done)) as progress,
    ):
        first = folder.resume(model, average, chosen, rates)
        progress.skip(sum(done[:first]))
        for line in about:
            progress.say(line)
        session = _Session(config, accelerator, model, average, rates, folder, progress, counts)
        current = -1
        for epoch in range(first, len(stages)):
            stage = stages[epoch]
            if stage != current:
                freeze(model, stage, dict(_stages(config))[stage].freeze_encoder)
                accelerator.free_memory()
                wrapped = accelerator.prepare(model)
                prepared = [accelerator.prepare(optimizer) for optimizer in chosen]
                current = stage
            given = mixture
            if config.train.mine and (before := stages[epoch - 1] if epoch else knows):
                given = mined(model, before, mixture, config.decode.overlap)
            record = _learn(session, given, epoch, stage, wrapped, prepared)
            if accelerator.is_main_process:
                if dev and stage:
                    record["dev"] = evaluate(inference.pipeline(shown, stage), checkpoint.description.labels, dev)
                folder.finish_epoch(record, shown, last_stage=stage == stages[-1])
                folder.save(model, average, chosen, rates)
                progress.epoch(record)
            accelerator.wait_for_everyone()
    return folder.best


def _learn(
    session: _Session, mixture: Mixture, epoch: int, stage: int, wrapped: Any, prepared: Sequence[Any]
) -> dict[str, Any]:
    """One epoch; returns its record. Gradients that are still accumulating at its end are used in its last batch."""
    config, accelerator = session.config, session.accelerator
    wrapped.train()
    torch.manual_seed(_seed(config.seed, epoch, accelerator.process_index))
    started = time.monotonic()
    per_epoch = session.per_epoch[stage]
    total: dict[str, float] = {}
    sentences = 0
    learnt: _Learnt | None = None
    weights = losses.weights(config.train)
    readings = 2 if config.train.r_drop and stage else 1
    pinned = accelerator.device.type == "cuda"
    mine = batches(mixture, config, accelerator.num_processes, accelerator.process_index, stage, epoch, pinned)
    for place, pair in enumerate(mine, 1):
        sentences += len(pair[0].input_ids) // readings
        count = losses.counts(*pair)
        inputs, targets = (
            type(part)(*(value.to(accelerator.device, non_blocking=True) for value in part)) for part in pair
        )
        updates = place % config.train.gradient_accumulation == 0 or place == per_epoch
        accelerator.sync_gradients = updates
        with nullcontext() if updates else accelerator.no_sync(wrapped):
            lost = losses.losses(wrapped(inputs, stage), inputs, targets, count, accelerator, config.train)
            accelerator.backward(sum(weights[name] * loss for name, loss in lost.items()))
            if updates:
                accelerator.clip_grad_norm_(session.model.parameters(), config.train.clip)
            for optimizer in prepared:
                optimizer.step()
                optimizer.zero_grad()
        if updates and session.average is not None:
            session.average.update_parameters(session.model)
        found = accelerator.reduce(torch.stack([loss.detach() for loss in lost.values()]), "mean")
        # What a batch lost is read when the next one is under way, so that a GPU never waits for its reader.
        if learnt is not None:
            _note(session, epoch, learnt, total)
        learnt = _Learnt(list(lost), found, session.rates[0].get_last_lr()[-1])
        if updates:
            for schedule in session.rates:
                schedule.step()
    if learnt is not None:
        _note(session, epoch, learnt, total)
    return {
        "type": "epoch",
        "epoch": epoch + 1,
        "stage": stage,
        **{f"{name}_loss": value / per_epoch for name, value in total.items()},
        "sentences": sentences,
        "seconds": round(time.monotonic() - started, 2),
    }


class _Learnt(NamedTuple):
    """The losses of one batch, on the device, and the learning rate it was learnt with."""

    names: list[str]
    losses: Tensor
    rate: float


def _note(session: _Session, epoch: int, learnt: _Learnt, total: dict[str, float]) -> None:
    """Record a batch, and add its losses to the ``total`` of its epoch."""
    found = learnt.losses.cpu()
    if not torch.isfinite(found).all():
        raise ConfigError(f"loss is {found.tolist()} in epoch {epoch + 1}; lower train.lr or use fp32")
    for name, value in zip(learnt.names, found.tolist(), strict=True):
        total[name] = total.get(name, 0.0) + value
    loss = float(found.sum())
    session.folder.record({"type": "step", "epoch": epoch + 1, "loss": round(loss, 6), "lr": learnt.rate})
    session.progress.step(loss, learnt.rate)


def _stages(config: Config) -> list[tuple[int, StageConfig]]:
    return [(0, config.train.syntax_stage), (1, config.train.stage1), (2, config.train.stage2)]


def _accelerator(config: Config) -> Accelerator:
    precision = {"fp32": "no"}.get(config.train.precision, config.train.precision)
    if precision == "fp16" and config.model.memory.write == "sgd":
        raise ConfigError("train.precision = 'fp16' scales gradients for one optimiser; use bf16 or fp32 with 'sgd'")
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("train.precision = 'fp16' needs a CUDA device, and there is none here; use bf16 or fp32")
    accelerator = Accelerator(
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.train.gradient_accumulation, sync_with_dataloader=False
        ),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != accelerator.num_processes:
        raise ConfigError(
            f"launched as {launched} processes, but {accelerator.num_processes} joined; "
            "on CPUs, set ACCELERATE_USE_CPU=true"
        )
    return accelerator


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])

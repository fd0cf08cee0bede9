"""Train a model in two stages (paper, sections 3.7 and 4.4): each epoch is trained, evaluated and saved.

Training runs on one process or, under ``accelerate launch``, on several. A global batch has ``train.batch_size``
sentences per process, each loss is normalised by counts over the global batch, and the negatives of a sentence depend
only on the seed, the epoch and the sentence. P processes therefore train the same model as one process with a batch
that is P times larger.
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

from trimf.runtime.errors import ConfigError
from trimf_train.config import Config, StageConfig
from trimf_train.evaluation.evaluate import evaluate_pipeline
from trimf_train.model import torch_backend as inference
from trimf_train.model.trimf import TrainingBatch
from trimf_train.training import losses
from trimf_train.training.compile_check import find_compile_problem
from trimf_train.training.dataset import TrainingExamples, iterate_batches, plan_global_batches
from trimf_train.training.hard_negatives import mine_hard_negatives
from trimf_train.training.optimizer import build_optimizers, build_schedules, freeze_parameters
from trimf_train.training.progress import TrainingProgress
from trimf_train.training.run_folder import RunFolder
from trimf_train.training.run_setup import set_up_run
from trimf_train.training.sampling import Targets
from trimf_train.triggers.taught_run import teach_run


@dataclass(frozen=True, slots=True)
class _TrainingSession:
    """Objects that all epochs of a run share.

    ``rates`` are the learning-rate schedules; ``per_epoch`` is the number of batches per epoch in each stage.
    """

    config: Config
    accelerator: Accelerator
    model: nn.Module
    rates: Sequence[Any]
    folder: RunFolder
    progress: TrainingProgress
    per_epoch: dict[int, int]


def train_model(
    config: Config, *, restart: bool = False, command: str = "", compile_encoder: bool = False
) -> dict[str, Any]:
    """Train a model and write it to the folder ``config.output``.

    The folder gets ``config.json`` (the configuration with all defaults), ``metrics.jsonl`` (one line per step and per
    epoch) and ``best/``, the checkpoint with the best strict relation F1 on dev (of a model without relation types,
    entity F1) among the epochs of the last stage that has any, or of the last epoch if there is no dev data. With
    ``train.patience``, the run ends early when so many epochs have scored worse. An unfinished run also has
    ``state.pt``; it resumes after its last complete epoch.

    Args:
        config: The run's configuration.
        restart: Start again, even if the folder has an earlier run.
        command: Command line that started the run, recorded in the checkpoint.
        compile_encoder: Run the encoder through ``torch.compile``.

    Returns:
        The record of the best epoch; empty on all processes except the main one.

    Raises:
        ConfigError: A value does not fit this machine, or the folder has a run of another configuration.
        DataError: The data cannot be used.
        BundleError: ``train.init`` or one of ``train.teachers`` is not a checkpoint.
    """
    accelerator = _build_accelerator(config)
    if compile_encoder and (reason := find_compile_problem(accelerator.device.type)):
        raise ConfigError(f"--compile: torch.compile does not work on this machine: {reason}")
    torch.manual_seed(config.seed)
    checkpoint, mixture, dev, log_lines, init_stage, inputs = set_up_run(config, accelerator.device, command)
    model = checkpoint.model
    if compile_encoder:
        model.encoder.compile(dynamic=True)
    counts = {
        stage: len(plan_global_batches(mixture, config, accelerator.num_processes, stage, 0)) for stage in (0, 1, 2)
    }

    stages = [stage for stage, settings in _list_stages(config) for _ in range(settings.epochs)]
    steps = [math.ceil(counts[stage] / config.train.gradient_accumulation) for stage in stages]
    base_optimizers = build_optimizers(model, config)
    parser_epochs = stages.count(0)
    rates = build_schedules(
        base_optimizers, [sum(steps[:parser_epochs]), sum(steps[parser_epochs:])], config.train.warmup
    )
    batch_counts = [counts[stage] for stage in stages]
    with (
        RunFolder(Path(config.output), config, accelerator, restart, inputs) as folder,
        TrainingProgress(accelerator.is_main_process, sum(batch_counts)) as progress,
    ):
        first = folder.resume(model, base_optimizers, rates)
        progress.skip_batches(sum(batch_counts[:first]))
        for line in log_lines:
            progress.print_line(line)
        session = _TrainingSession(config, accelerator, model, rates, folder, progress, counts)
        current = -1
        for epoch in range(first, len(stages)):
            if _has_converged(config, accelerator, folder):
                progress.print_line(
                    f"stopped after epoch {epoch} of {len(stages)}: {config.train.patience} epochs in a row "
                    "scored worse than the best on dev (train.patience)"
                )
                break
            stage = stages[epoch]
            if stage != current:
                freeze_parameters(model, stage, dict(_list_stages(config))[stage].freeze_encoder)
                accelerator.free_memory()
                wrapped = accelerator.prepare(model)
                prepared = [accelerator.prepare(optimizer) for optimizer in base_optimizers]
                current = stage
            examples = mixture
            if config.train.mine and (previous := stages[epoch - 1] if epoch else init_stage):
                examples = mine_hard_negatives(model, previous, mixture, config.decode.overlap)
            record = _train_epoch(session, examples, epoch, stage, wrapped, prepared)
            if accelerator.is_main_process:
                if dev and stage:
                    record["dev"] = evaluate_pipeline(
                        inference.build_pipeline(checkpoint, stage), checkpoint.description.labels, dev
                    )
                folder.finish_epoch(record, checkpoint, last_stage=stage == stages[-1])
                folder.save_state(model, base_optimizers, rates)
                progress.finish_epoch(record)
            accelerator.wait_for_everyone()
        if config.train.teach_triggers and accelerator.is_main_process:
            teach_run(folder.folder, config, accelerator.device, progress.print_line)
        accelerator.wait_for_everyone()
    return folder.best_record


def _train_epoch(
    session: _TrainingSession, mixture: TrainingExamples, epoch: int, stage: int, wrapped: Any, prepared: Sequence[Any]
) -> dict[str, Any]:
    """Train one epoch and return its record; the last batch also applies gradients that are still accumulating."""
    config, accelerator = session.config, session.accelerator
    wrapped.train()
    torch.manual_seed(_derive_seed(config.seed, epoch, accelerator.process_index))
    started = time.monotonic()
    per_epoch = session.per_epoch[stage]
    total: dict[str, float] = {}
    sentences = 0
    pending: _BatchLosses | None = None
    weights = losses.loss_weights(config.train)
    pinned = accelerator.device.type == "cuda"
    process_batches = iterate_batches(
        mixture, config, accelerator.num_processes, accelerator.process_index, stage, epoch, pinned
    )
    for batch_number, batch in enumerate(process_batches, 1):
        sentences += len(batch[0].input_ids)
        count = losses.count_loss_terms(*batch)
        inputs, targets = _move_batch(*batch, accelerator.device)
        updates = batch_number % config.train.gradient_accumulation == 0 or batch_number == per_epoch
        accelerator.sync_gradients = updates
        with nullcontext() if updates else accelerator.no_sync(wrapped):
            batch_losses = losses.compute_losses(
                wrapped(inputs, stage), inputs, targets, count, accelerator, config.train
            )
            accelerator.backward(sum(weights[name] * loss for name, loss in batch_losses.items()))
            if updates:
                accelerator.clip_grad_norm_(session.model.parameters(), config.train.clip)
            for optimizer in prepared:
                optimizer.step()
                optimizer.zero_grad()
        reduced = accelerator.reduce(torch.stack([loss.detach() for loss in batch_losses.values()]), "mean")
        # The losses of a batch are copied to the host while the GPU works on the next batch, so that it never waits.
        if pending is not None:
            _record_batch(session, epoch, pending, total)
        pending = _BatchLosses(list(batch_losses), reduced, session.rates[0].get_last_lr()[-1])
        if updates:
            for schedule in session.rates:
                schedule.step()
    if pending is not None:
        _record_batch(session, epoch, pending, total)
    return {
        "type": "epoch",
        "epoch": epoch + 1,
        "stage": stage,
        **{f"{name}_loss": value / per_epoch for name, value in total.items()},
        "sentences": sentences,
        "seconds": round(time.monotonic() - started, 2),
    }


def _has_converged(config: Config, accelerator: Accelerator, folder: RunFolder) -> bool:
    """Return True, on all processes, if the best epoch is ``train.patience`` epochs ago.

    Only epochs of the last stage can be the best, so no earlier stage is cut short.
    """
    if config.train.patience is None:
        return False
    best = folder.best_record.get("epoch")
    if accelerator.is_main_process and best is not None and folder.finished_epochs - best >= config.train.patience:
        accelerator.set_trigger()
    return bool(accelerator.check_trigger())


def _move_batch(inputs: TrainingBatch, targets: Targets, device: torch.device) -> tuple[TrainingBatch, Targets]:
    """Copy a batch to a device; copies from pinned memory to a GPU are asynchronous."""
    return TrainingBatch(*(value.to(device, non_blocking=True) for value in inputs)), Targets(
        *(value.to(device, non_blocking=True) for value in targets)
    )


class _BatchLosses(NamedTuple):
    """Losses of one batch, on the device, and its learning rate."""

    names: list[str]
    losses: Tensor
    rate: float


def _record_batch(session: _TrainingSession, epoch: int, batch: _BatchLosses, total: dict[str, float]) -> None:
    """Record the losses of a batch and add them to the ``total`` of its epoch."""
    values = batch.losses.cpu()
    if not torch.isfinite(values).all():
        named = ", ".join(f"{name} {value:.4g}" for name, value in zip(batch.names, values.tolist(), strict=True))
        raise ConfigError(
            f"loss is not finite in epoch {epoch + 1} ({named}); lower train.lr, or use train.precision = 'fp32'"
        )
    for name, value in zip(batch.names, values.tolist(), strict=True):
        total[name] = total.get(name, 0.0) + value
    loss = float(values.sum())
    session.folder.add_metrics({"type": "step", "epoch": epoch + 1, "loss": round(loss, 6), "lr": batch.rate})
    session.progress.finish_batch(loss, batch.rate)


def _list_stages(config: Config) -> list[tuple[int, StageConfig]]:
    """Return the number and the settings of each stage, in training order."""
    return [(0, config.train.syntax_stage), (1, config.train.stage1), (2, config.train.stage2)]


def _build_accelerator(config: Config) -> Accelerator:
    """Build the accelerator, after checking that this machine supports the precision and the number of processes."""
    precision = {"fp32": "no"}.get(config.train.precision, config.train.precision)
    if precision == "fp16" and config.model.memory.write == "sgd":
        raise ConfigError(
            "train.precision = 'fp16' supports only one optimiser; with model.memory.write = 'sgd' use bf16 or fp32"
        )
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("train.precision = 'fp16' needs a CUDA device, and none is available; use bf16 or fp32")
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
            f"launched with {launched} processes, but only {accelerator.num_processes} joined; "
            "to train on CPUs, set ACCELERATE_USE_CPU=true"
        )
    return accelerator


def _derive_seed(*values: int) -> int:
    """Return a seed that depends on all values."""
    return int(np.random.SeedSequence(values).generate_state(1)[0])

"""Two-stage training (paper 3.7, 4.4): read data, build the model, and for each epoch learn, evaluate, save.

Runs on one process or, under ``accelerate launch``, on several: a global batch has ``train.batch_size`` sentences per
process, every loss is normalised by counts over the global batch, and what a sentence draws (negatives) depends on the
seed, the epoch and the sentence alone, so P processes learn what one process with a P times larger batch learns.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from torch import Tensor
from torch.nn import functional

from trimf.runtime import features
from trimf.runtime.errors import ConfigError, DataError
from trimf.runtime.files import atomic_path
from trimf.runtime.manifest import ParserNote
from trimf_train import checkpoint as checkpoints
from trimf_train import inference, labels
from trimf_train.config import Config, StageConfig
from trimf_train.data.prepare import source_of
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.evaluate import evaluate
from trimf_train.optimizer import freeze, optimizers, schedules
from trimf_train.progress import Progress
from trimf_train.sampling import Example, Targets, collate, example

#: Global batches whose sentences are sorted by length together, so that a batch pads little.
BUCKET = 16


def train(config: Config, *, restart: bool = False, command: str = "") -> dict[str, Any]:
    """Train as configured into ``config.output`` and return the best epoch's record.

    The folder gets ``config.json`` (resolved), ``metrics.jsonl`` (one line a step and an epoch), ``best/`` (checkpoint
    of the best relation strict F1 on dev, in the last stage that has epochs; without dev data, the last epoch) and,
    while unfinished, ``state.pt``: a killed run goes on after its last whole epoch. ``restart`` begins anew.
    ``command`` is recorded as what started the run.

    Raises:
        ConfigError: a value does not fit this machine, or the folder holds a run of another configuration.
        DataError: the data cannot be used.
    """
    accelerator = _accelerator(config)
    torch.manual_seed(config.seed)
    sentences = [sentence for path in config.data.train for sentence in _prepared(path)]
    dev = list(_prepared(config.data.dev)) if config.data.dev else []
    names = labels.collect(sentences, config.data.symmetric)
    provenance = {
        "command": command,
        "seed": config.seed,
        "train": _fingerprints(config.data.train),
        "config": msgspec.to_builtins(config),
    }
    checkpoint = checkpoints.create(names, config.model, config.decode, _parser(config), provenance)
    model = checkpoint.model
    examples, skipped = _examples(sentences, checkpoint)

    output = Path(config.output)
    run = _Run(output, config, accelerator, restart)
    stages = [number for number, stage in _stages(config) for _ in range(stage.epochs)]
    per_epoch = len(_batches(examples, config, accelerator.num_processes, 0))
    steps = math.ceil(per_epoch / config.train.gradient_accumulation)
    chosen = optimizers(model, config)
    rates = schedules(chosen, steps * len(stages), config.train.warmup)
    first = run.resume(model, chosen, rates)

    with Progress(accelerator.is_main_process, len(stages) * per_epoch, first * per_epoch) as progress:
        progress.say(
            f"{len(examples)} training sentences, {len(dev)} dev sentences, {len(names.entities)} entity types, "
            f"{len(names.relations)} relation types, {sum(p.numel() for p in model.parameters()):,} parameters"
        )
        if skipped:
            progress.say(f"{skipped} training sentences are longer than one window of the encoder and are left out")
        current = 0
        for epoch in range(first, len(stages)):
            stage = stages[epoch]
            if stage != current:
                freeze(model, stage, dict(_stages(config))[stage].freeze_encoder)
                accelerator.free_memory()
                wrapped = accelerator.prepare(model)
                prepared = [accelerator.prepare(optimizer) for optimizer in chosen]
                current = stage
            wrapped.train()
            torch.manual_seed(_seed(config.seed, epoch, accelerator.process_index))
            started = time.monotonic()
            total = torch.zeros(2)
            for place, (inputs, targets) in enumerate(_epoch(examples, config, accelerator, epoch), 1):
                updates = place % config.train.gradient_accumulation == 0 or place == per_epoch
                accelerator.sync_gradients = updates
                with nullcontext() if updates else accelerator.no_sync(wrapped):
                    entity, relation = _losses(*wrapped(inputs, stage), targets, accelerator)
                    loss = entity + config.train.relation_weight * relation
                    accelerator.backward(loss)
                    if updates:
                        accelerator.clip_grad_norm_(model.parameters(), config.train.clip)
                    for optimizer in prepared:
                        optimizer.step()
                        optimizer.zero_grad()
                both = accelerator.reduce(torch.stack([entity.detach(), relation.detach()]), "mean").cpu()
                if not torch.isfinite(both).all():
                    raise ConfigError(f"loss is {both.tolist()} in epoch {epoch + 1}; lower train.lr or use fp32")
                total += both
                rate = rates[0].get_last_lr()[-1]
                run.record({"type": "step", "epoch": epoch + 1, "loss": round(float(both.sum()), 6), "lr": rate})
                if updates:
                    for schedule in rates:
                        schedule.step()
                progress.step(float(both.sum()), rate)
            record = {
                "type": "epoch",
                "epoch": epoch + 1,
                "stage": stage,
                "entity_loss": float(total[0]) / per_epoch,
                "relation_loss": float(total[1]) / per_epoch,
                "seconds": round(time.monotonic() - started, 2),
            }
            if accelerator.is_main_process:
                if dev:
                    record["dev"] = evaluate(inference.pipeline(checkpoint, stage), names, dev)
                run.finish_epoch(record, checkpoint, last_stage=stage == stages[-1])
                run.save(model, chosen, rates)
                progress.epoch(record)
            accelerator.wait_for_everyone()
    run.close()
    return run.best


def _stages(config: Config) -> list[tuple[int, StageConfig]]:
    return [(1, config.train.stage1), (2, config.train.stage2)]


def _accelerator(config: Config) -> Accelerator:
    precision = {"fp32": "no"}.get(config.train.precision, config.train.precision)
    if precision == "fp16" and config.model.memory.write == "sgd":
        raise ConfigError("train.precision = 'fp16' scales gradients for one optimiser; use bf16 or fp32 with 'sgd'")
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("train.precision = 'fp16' needs a CUDA device, and there is none here; use bf16 or fp32")
    return Accelerator(
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.train.gradient_accumulation, sync_with_dataloader=False
        ),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def _prepared(path: str) -> Iterator[Sentence]:
    for sentence in read_sentences(path):
        if sentence.heads is None:
            raise DataError(
                f"{path}: sentence {sentence.id!r} has no dependency parse; run `trimf prepare` on it first"
            )
        yield sentence


def _parser(config: Config) -> ParserNote:
    noted = source_of(config.data.train[0])
    if config.data.parser is None and noted is None:
        raise ConfigError(f"{config.data.train[0]}: nothing beside it says which parser made it; set data.parser")
    name = config.data.parser or (noted.parser if noted else "")
    return ParserNote(name=name, version=noted.parser_version if noted and noted.parser == name else "")


def _fingerprints(paths: Sequence[str]) -> dict[str, str]:
    return {Path(path).name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def _examples(sentences: list[Sentence], checkpoint: checkpoints.Checkpoint) -> tuple[list[Example], int]:
    settings = checkpoint.description.settings
    tokenizer = inference.open_tokenizer(checkpoint.tokenizer_json)
    encoded = tokenizer.encode([sentence.tokens for sentence in sentences])
    examples = []
    for sentence, subwords in zip(sentences, encoded, strict=True):
        if len(subwords.ids) > settings.max_subwords or len(subwords.first) > settings.max_words:
            continue
        heads, numbers = features.arcs(sentence.heads or [], sentence.labels or [], settings.dependencies)
        item = features.Item(subwords, heads, numbers)
        width = checkpoint.description.model.span.max_width
        examples.append(example(sentence, item, checkpoint.description.labels, width))
    if not examples:
        raise DataError(
            f"none of the {len(sentences)} training sentences fits the encoder's {settings.max_subwords} subwords"
        )
    return examples, len(sentences) - len(examples)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _batches(examples: Sequence[Example], config: Config, processes: int, epoch: int) -> list[list[int]]:
    """Global batches of one epoch: shuffled, sorted by length within a bucket, and the batches shuffled again."""
    generator = np.random.default_rng([config.seed, epoch])
    size = config.train.batch_size * processes
    shuffled = generator.permutation(len(examples)).tolist()
    batches = []
    for start in range(0, len(shuffled), BUCKET * size):
        bucket = sorted(
            shuffled[start : start + BUCKET * size], key=lambda place: len(examples[place].item.subwords.ids)
        )
        batches += [bucket[place : place + size] for place in range(0, len(bucket), size)]
    if len(batches) > 1 and len(batches[-1]) < processes:
        batches[-2] += batches.pop()
    return [batches[place] for place in generator.permutation(len(batches))]


def _epoch(
    examples: Sequence[Example], config: Config, accelerator: Accelerator, epoch: int
) -> Iterator[tuple[Any, Targets]]:
    for batch in _batches(examples, config, accelerator.num_processes, epoch):
        mine = batch[accelerator.process_index :: accelerator.num_processes]
        generators = [np.random.default_rng([config.seed, epoch, place]) for place in mine]
        inputs, targets = collate(
            [examples[place] for place in mine], generators, config.train.negative_spans, config.train.negative_pairs
        )
        device = accelerator.device
        yield type(inputs)(*(value.to(device) for value in inputs)), Targets(*(value.to(device) for value in targets))


def _losses(entity: Tensor, relation: Tensor, targets: Targets, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """Cross-entropy over spans and binary cross-entropy over pairs and types, means over the *global* batch.

    Scaled by the number of processes, because gradients are averaged over processes.
    """
    counts = torch.tensor([len(entity), relation.numel()], device=entity.device, dtype=torch.float32)
    counts = accelerator.reduce(counts, "sum").clamp(min=1) / accelerator.num_processes
    of_spans = functional.cross_entropy(entity, targets.types, reduction="sum") / counts[0]
    of_pairs = functional.binary_cross_entropy_with_logits(relation, targets.relations, reduction="sum") / counts[1]
    return of_spans, of_pairs


class _Run:
    """The output folder of one training run; only the main process writes."""

    def __init__(self, folder: Path, config: Config, accelerator: Accelerator, restart: bool) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.best: dict[str, Any] = {}
        self.epoch = 0
        self._lines: list[str] = []
        self._config = msgspec.json.format(msgspec.json.encode(config), indent=2)
        self._state, metrics, resolved = folder / "state.pt", folder / "metrics.jsonl", folder / "config.json"
        if resolved.exists() and not restart:
            if resolved.read_bytes() != self._config:
                raise ConfigError(f"{folder} holds a run of another configuration; use --restart or another output")
            if not self._state.exists() and (folder / "best").exists():
                raise ConfigError(f"{folder} holds a finished run of this configuration; --restart trains it again")
        self._fresh = restart or not self._state.exists()
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            if self._fresh:
                self._state.unlink(missing_ok=True)
                metrics.unlink(missing_ok=True)
            resolved.write_bytes(self._config)
        accelerator.wait_for_everyone()

    def resume(self, model: torch.nn.Module, optimizers: Sequence[Any], schedules: Sequence[Any]) -> int:
        """Load the state of a killed run, or store that of a fresh one; returns the number of epochs already done."""
        if self._fresh:
            if self.accelerator.is_main_process:
                self.save(model, optimizers, schedules)
            return 0
        state = torch.load(self._state, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        for name, objects in (("optimizers", optimizers), ("schedules", schedules)):
            for one, saved in zip(objects, state[name], strict=True):
                one.load_state_dict(saved)
        self.epoch, self.best = state["epoch"], json.loads(state["best"])
        if self.accelerator.is_main_process:
            self._keep_metrics()
        return self.epoch

    def _keep_metrics(self) -> None:
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        with atomic_path(path) as new:
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
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{line}\n" for line in self._lines))
            stream.flush()
            os.fsync(stream.fileno())
        self._lines.clear()

    def save(self, model: torch.nn.Module, optimizers: Sequence[Any], schedules: Sequence[Any]) -> None:
        """Store what a killed run needs to go on, atomically."""
        state = {
            "model": model.state_dict(),
            "optimizers": [one.state_dict() for one in optimizers],
            "schedules": [one.state_dict() for one in schedules],
            "epoch": self.epoch,
            "best": json.dumps(self.best),
        }
        with atomic_path(self._state) as new:
            torch.save(state, new)

    def close(self) -> None:
        """A finished run needs no state."""
        if self.accelerator.is_main_process:
            self._state.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()


def _score(record: dict[str, Any]) -> tuple[float, float]:
    """Relation strict F1 on dev, then entity F1; without dev data every epoch beats the one before."""
    dev = record.get("dev")
    if not dev:
        return (0.0, 0.0)
    return dev["relations"]["strict"]["micro"]["f1"], dev["entities"]["micro"]["f1"]

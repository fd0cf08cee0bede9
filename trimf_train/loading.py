"""Training data from prepared files to padded batches, the same on any number of processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from trimf.runtime import features
from trimf.runtime.errors import ConfigError, DataError
from trimf_train import inference
from trimf_train.checkpoint import Checkpoint
from trimf_train.config import Config
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.model.trimf import Inputs
from trimf_train.sampling import Example, Soft, Targets, collate, example, twice, unannotated

#: Batches that are made while others are learnt.
AHEAD = 4

#: Global batches whose sentences are sorted by length together, so that a batch pads little.
BUCKET = 16


class TrainingSet(NamedTuple):
    """Sentences as numbers; ``skipped`` did not fit one window, ``unknown`` words were read as the unknown token."""

    examples: list[Example]
    skipped: int
    unknown: int


def read_prepared(path: str) -> Iterator[Sentence]:
    """The sentences of a prepared file.

    Raises:
        DataError: the file cannot be used, or a sentence has no dependency parse.
    """
    for sentence in read_sentences(path):
        if sentence.heads is None:
            raise DataError(
                f"{path}: sentence {sentence.id!r} has no dependency parse; run `trimf prepare` on it first"
            )
        yield sentence


def read_items(sentences: Sequence[Sentence], checkpoint: Checkpoint) -> list[features.Item | None]:
    """Sentences as the checkpoint's model reads them, with the arcs they have; None for one longer than a window."""
    settings = checkpoint.description.settings
    items: list[features.Item | None] = []
    encoded = inference.open_tokenizer(checkpoint).encode([sentence.tokens for sentence in sentences])
    for sentence, subwords in zip(sentences, encoded, strict=True):
        if len(subwords.ids) > settings.max_subwords or len(subwords.first) > settings.max_words:
            items.append(None)
            continue
        arcs = features.arcs(sentence.heads or [], sentence.labels or [], settings.dependencies)
        items.append(features.Item(subwords, *arcs))
    return items


def training_set(
    sentences: Sequence[Sentence],
    checkpoint: Checkpoint,
    annotated: bool = True,
    soft: Sequence[Soft | None] | None = None,
) -> TrainingSet:
    """Turn sentences into examples for the checkpoint's model; those longer than one window are left out and counted.

    Where they are not ``annotated``, there is nothing to classify in them, and they have a parse alone. ``soft`` is
    what teachers say of each.

    Raises:
        DataError: none is left.
    """
    description = checkpoint.description
    labels, width = description.labels, description.model.span.max_width
    examples = []
    items = read_items(sentences, checkpoint)
    for sentence, item, said in zip(sentences, items, soft or [None] * len(sentences), strict=True):
        if item is None:
            continue
        made = example(sentence, item, labels, width) if annotated else unannotated(item, len(labels.relations))
        examples.append(made._replace(soft=said))
    if not examples:
        raise DataError(
            f"none of the {len(sentences)} training sentences fits the encoder's {description.settings.max_subwords} "
            "subwords"
        )
    unknown = sum(len(one.item.subwords.unknown) for one in examples)
    return TrainingSet(examples, len(sentences) - len(examples), unknown)


class Mixture(NamedTuple):
    """The examples to learn from: ``annotated`` ones first, then those that have a parse alone."""

    examples: list[Example]
    annotated: int

    def of(self, config: Config, stage: int, epoch: int) -> list[int]:
        """Which of them an epoch has: all in stage 0; else, of those with a parse alone, some that it draws."""
        extra = len(self.examples) - self.annotated
        wanted = extra if stage == 0 else min(extra, round(config.train.extra_share * self.annotated))
        if wanted == extra:
            return list(range(len(self.examples)))
        generator = np.random.default_rng([config.seed, epoch, len(self.examples)])
        drawn = generator.choice(extra, wanted, replace=False) + self.annotated
        return [*range(self.annotated), *drawn.tolist()]


def global_batches(mixture: Mixture, config: Config, processes: int, stage: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch's batches: shuffled, sorted by length within a bucket, and the batches shuffled again.

    Raises:
        ConfigError: there are fewer sentences than processes.
    """
    examples, chosen = mixture.examples, mixture.of(config, stage, epoch)
    if len(chosen) < processes:
        raise ConfigError(f"{len(chosen)} training sentences, but {processes} processes need at least one each")
    generator = np.random.default_rng([config.seed, epoch])
    size = config.train.batch_size * processes
    shuffled = [chosen[place] for place in generator.permutation(len(chosen)).tolist()]
    batches = []
    for start in range(0, len(shuffled), BUCKET * size):
        bucket = sorted(
            shuffled[start : start + BUCKET * size], key=lambda place: len(examples[place].item.subwords.ids)
        )
        batches += [bucket[place : place + size] for place in range(0, len(bucket), size)]
    if len(batches) > 1 and len(batches[-1]) < processes:
        batches[-2] += batches.pop()
    return [batches[place] for place in generator.permutation(len(batches))]


def batches(
    mixture: Mixture, config: Config, processes: int, process: int, stage: int, epoch: int, pinned: bool = False
) -> Iterator[tuple[Inputs, Targets]]:
    """This process's part of every global batch; each sentence draws its negatives from a seed of its own.

    A thread makes :data:`AHEAD` of them while others are learnt, ``pinned`` in memory that a GPU can copy from. With
    ``train.r_drop`` each has its sentences twice.
    """

    def make(batch: list[int]) -> tuple[Inputs, Targets]:
        mine = batch[process::processes]
        generators = [np.random.default_rng([config.seed, epoch, place]) for place in mine]
        inputs, targets = collate(
            [mixture.examples[place] for place in mine],
            generators,
            config.train.negative_spans,
            config.train.negative_pairs,
        )
        if config.train.r_drop and stage:
            inputs, targets = twice(inputs, targets)
        if not pinned:
            return inputs, targets
        return Inputs(*(value.pin_memory() for value in inputs)), Targets(*(value.pin_memory() for value in targets))

    coming = iter(global_batches(mixture, config, processes, stage, epoch))
    with ThreadPoolExecutor(1, "trimf-batches") as pool:
        waiting = deque(pool.submit(make, batch) for _, batch in zip(range(AHEAD), coming, strict=False))
        while waiting:
            ready = waiting.popleft().result()
            waiting.extend(pool.submit(make, batch) for _, batch in zip(range(1), coming, strict=False))
            yield ready

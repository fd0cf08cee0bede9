"""Read prepared files and build the padded batches of each epoch, the same on any number of processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trimf.runtime.errors import ConfigError, DataError
from trimf.runtime.text import batch_arrays as features
from trimf_train.config import Config
from trimf_train.data.readers import find_format, read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.model.trimf import TrainingBatch
from trimf_train.training.sampling import (
    Example,
    SoftTargets,
    Targets,
    build_example,
    build_parse_only_example,
    collate_batch,
)

#: Number of batches that a background thread prepares ahead of training.
PREFETCH_BATCHES = 4

#: Number of global batches whose sentences are sorted by length together, so that a batch has little padding.
BUCKET_BATCHES = 16


class TrainingSet(NamedTuple):
    """Encoded training sentences.

    ``skipped`` counts the sentences that do not fit one window and are left out; ``unknown_words`` counts the words
    that are read as the unknown token.
    """

    examples: list[Example]
    skipped: int
    unknown_words: int


def check_words(path: str | Path) -> None:
    """Refuse a file of running text, which only ``trimf prepare`` turns into the words of a model.

    Raises:
        DataError: The file counts characters, or is in no supported format.
    """
    if find_format(path).read_documents is not None:
        raise DataError(
            f"{path}: running text with character offsets must become words first; run `trimf prepare` on it, with the "
            "--language of the model"
        )


def read_prepared(path: str) -> Iterator[Sentence]:
    """Read the sentences of a prepared file.

    Args:
        path: A file that ``trimf prepare`` wrote.

    Yields:
        The sentences, each with a dependency parse.

    Raises:
        DataError: The file cannot be used, or a sentence has no dependency parse.
    """
    check_words(path)
    for sentence in read_sentences(path):
        if sentence.heads is None:
            raise DataError(
                f"{path}: sentence {sentence.id!r} has no dependency parse; run `trimf prepare` on it first"
            )
        yield sentence


def encode_sentences(sentences: Sequence[Sentence], checkpoint: Checkpoint) -> list[features.EncodedSentence | None]:
    """Encode sentences for the model of a checkpoint.

    Args:
        sentences: Sentences; the arcs of those without a parse are empty.
        checkpoint: The checkpoint, which provides tokenizer, limits and dependency labels.

    Returns:
        For each sentence its subwords and arcs, or None if it is longer than one window.
    """
    settings = checkpoint.description.pipeline_settings
    items: list[features.EncodedSentence | None] = []
    encoded = inference.load_tokenizer(checkpoint).encode([sentence.tokens for sentence in sentences])
    for sentence, subwords in zip(sentences, encoded, strict=True):
        if len(subwords.ids) > settings.max_subwords or len(subwords.first_positions) > settings.max_words:
            items.append(None)
            continue
        arcs = features.encode_arcs(sentence.heads or [], sentence.labels or [], settings.dependency_label_to_id)
        items.append(features.EncodedSentence(subwords, *arcs))
    return items


def build_training_set(
    sentences: Sequence[Sentence],
    checkpoint: Checkpoint,
    annotated: bool = True,
    soft_targets: Sequence[SoftTargets | None] | None = None,
) -> TrainingSet:
    """Build training examples for the model of a checkpoint; sentences longer than one window are left out.

    Args:
        sentences: Sentences with a parse.
        checkpoint: The checkpoint whose model will be trained.
        annotated: Use the entities and relations of the sentences; otherwise the sentences are parse-only and nothing
            is classified in them.
        soft_targets: Teacher probabilities of each sentence; default: no teachers.

    Returns:
        The examples, and counts of skipped sentences and unknown words.

    Raises:
        DataError: No sentence fits one window.
    """
    description = checkpoint.description
    labels, width = description.labels, description.model.span.max_width
    examples = []
    items = encode_sentences(sentences, checkpoint)
    for sentence, item, targets in zip(sentences, items, soft_targets or [None] * len(sentences), strict=True):
        if item is None:
            continue
        encoded = (
            build_example(sentence, item, labels, width)
            if annotated
            else build_parse_only_example(item, len(labels.relation_types))
        )
        examples.append(encoded._replace(soft_targets=targets))
    if not examples:
        settings = description.pipeline_settings
        raise DataError(
            f"none of the {len(sentences)} training sentences fits one window of {settings.max_subwords} subwords and "
            f"{settings.max_words} words; use shorter sentences, or raise model.encoder.max_subwords and max_words"
        )
    unknown = sum(len(encoded.item.subwords.unknown_words) for encoded in examples)
    return TrainingSet(examples, len(sentences) - len(examples), unknown)


class TrainingExamples(NamedTuple):
    """Training examples: the first ``annotated`` ones have entities and relations, the rest are parse-only."""

    examples: list[Example]
    annotated: int

    def select_indices(self, config: Config, stage: int, epoch: int) -> list[int]:
        """Select the examples of an epoch: all in stage 0, otherwise the annotated ones and a random parse-only share.

        Args:
            config: The run's configuration; ``train.extra_share`` sets the parse-only share.
            stage: Training stage, 0 to 2.
            epoch: Index of the epoch, which seeds the random choice together with ``config.seed``.

        Returns:
            Indices of the selected examples.
        """
        extra = len(self.examples) - self.annotated
        count = extra if stage == 0 else min(extra, round(config.train.extra_share * self.annotated))
        if count == extra:
            return list(range(len(self.examples)))
        generator = np.random.default_rng([config.seed, epoch, len(self.examples)])
        drawn = generator.choice(extra, count, replace=False) + self.annotated
        return [*range(self.annotated), *drawn.tolist()]


def plan_global_batches(
    mixture: TrainingExamples, config: Config, processes: int, stage: int, epoch: int
) -> list[list[int]]:
    """Divide an epoch into global batches, each for all processes together.

    The sentences are shuffled, sorted by length within buckets of ``BUCKET_BATCHES`` batches, and the batches shuffled.

    Args:
        mixture: The training examples.
        config: The run's configuration.
        processes: Number of processes; a global batch has ``train.batch_size`` sentences for each.
        stage: Training stage, 0 to 2.
        epoch: Index of the epoch.

    Returns:
        Indices of the examples of each batch.

    Raises:
        ConfigError: There are fewer sentences than processes.
    """
    examples, selected = mixture.examples, mixture.select_indices(config, stage, epoch)
    if len(selected) < processes:
        raise ConfigError(
            f"the number of processes must be <= {len(selected)}, the number of training sentences, got {processes}"
        )
    generator = np.random.default_rng([config.seed, epoch])
    size = config.train.batch_size * processes
    shuffled = [selected[index] for index in generator.permutation(len(selected)).tolist()]
    batches = []
    for start in range(0, len(shuffled), BUCKET_BATCHES * size):
        bucket = sorted(
            shuffled[start : start + BUCKET_BATCHES * size], key=lambda index: len(examples[index].item.subwords.ids)
        )
        batches += [bucket[first : first + size] for first in range(0, len(bucket), size)]
    if len(batches) > 1 and len(batches[-1]) < processes:
        batches[-2] += batches.pop()
    return [batches[index] for index in generator.permutation(len(batches))]


def iterate_batches(
    mixture: TrainingExamples,
    config: Config,
    processes: int,
    process: int,
    stage: int,
    epoch: int,
    pinned: bool = False,
) -> Iterator[tuple[TrainingBatch, Targets]]:
    """Build the batches of one process in an epoch: its part of every global batch.

    A background thread prepares ``PREFETCH_BATCHES`` batches. The negatives of a sentence depend on the seed, the epoch
    and the index of the sentence, not on the batch.

    Args:
        mixture: The training examples.
        config: The run's configuration.
        processes: Number of processes.
        process: Index of this process.
        stage: Training stage, 0 to 2.
        epoch: Index of the epoch.
        pinned: Put the batches into pinned memory, from which a GPU can copy asynchronously.

    Yields:
        Inputs and targets of each batch, on the CPU.

    Raises:
        ConfigError: There are fewer sentences than processes.
    """

    def build_batch(batch: list[int]) -> tuple[TrainingBatch, Targets]:
        indices = batch[process::processes]
        generators = [np.random.default_rng([config.seed, epoch, index]) for index in indices]
        inputs, targets = collate_batch(
            [mixture.examples[index] for index in indices],
            generators,
            config.train.negative_spans,
            config.train.negative_pairs,
        )
        if not pinned:
            return inputs, targets
        return TrainingBatch(*(value.pin_memory() for value in inputs)), Targets(
            *(value.pin_memory() for value in targets)
        )

    remaining = iter(plan_global_batches(mixture, config, processes, stage, epoch))
    with ThreadPoolExecutor(1, "trimf-batches") as pool:
        pending = deque(
            pool.submit(build_batch, batch) for _, batch in zip(range(PREFETCH_BATCHES), remaining, strict=False)
        )
        while pending:
            ready = pending.popleft().result()
            pending.extend(pool.submit(build_batch, batch) for _, batch in zip(range(1), remaining, strict=False))
            yield ready

"""Compute teacher probabilities of training sentences for knowledge distillation (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.errors import ConfigError
from trimf_train.data.sentence import Sentence
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.model.torch_backend import wrap_subgraphs
from trimf_train.training.batched_inference import run_in_batches
from trimf_train.training.dataset import encode_sentences
from trimf_train.training.sampling import SoftTargets, build_example, prepend_row_index


def check_teacher(teacher: Checkpoint, name: str, labels: Labels, max_width: int) -> None:
    """Check that a teacher has the student's entity and relation types and classifies spans that are long enough.

    Args:
        teacher: The teacher.
        name: Name of the teacher in error messages.
        labels: Labels of the student.
        max_width: Longest span of the student, in words.

    Raises:
        ConfigError: The types differ, or the longest span of the teacher is shorter.
    """
    teacher_labels = teacher.description.labels
    kinds = (
        ("entity", labels.entity_types, teacher_labels.entity_types),
        ("relation", labels.relation_types, teacher_labels.relation_types),
    )
    for kind, expected, actual in kinds:
        if actual != expected:
            raise ConfigError(
                f"train.teachers: {name} has the {kind} types {', '.join(actual) or 'none'}, but the data "
                f"{', '.join(expected) or 'none'}"
            )
    width = teacher.description.model.span.max_width
    if width < max_width:
        raise ConfigError(f"train.teachers: {name} supports only model.span.max_width <= {width}, got {max_width}")


def compute_soft_targets(
    teachers: Sequence[Checkpoint], sentences: Sequence[Sentence], max_width: int, device: torch.device
) -> list[SoftTargets | None]:
    """Compute the mean of the teachers' probabilities for each sentence.

    Args:
        teachers: The teachers; each is moved to ``device``.
        sentences: Annotated sentences with a parse.
        max_width: Longest span of the student, in words.
        device: Device that runs the teachers.

    Returns:
        The probabilities of each sentence, in half precision on the CPU, or None for a sentence that is longer than one
        window of a teacher.
    """
    total: list[SoftTargets | None] = []
    for index, teacher in enumerate(teachers):
        predicted = _predict_soft_targets(teacher, sentences, max_width, device)
        total = [_add_targets(*pair) for pair in zip(total, predicted, strict=True)] if index else predicted
    count = len(teachers)
    return [
        targets and SoftTargets((targets.types / count).half(), (targets.relations / count).half()) for targets in total
    ]


def _add_targets(left: SoftTargets | None, right: SoftTargets | None) -> SoftTargets | None:
    """Add the probabilities of two teachers; None where either has none."""
    return left and right and SoftTargets(left.types + right.types, left.relations + right.relations)


def _predict_soft_targets(
    teacher: Checkpoint, sentences: Sequence[Sentence], max_width: int, device: torch.device
) -> list[SoftTargets | None]:
    """Run a teacher on the sentences that fit one of its windows."""
    model, description = teacher.model.to(device), teacher.description
    targets: list[SoftTargets | None] = [None] * len(sentences)
    fitting = [(index, item) for index, item in enumerate(encode_sentences(sentences, teacher)) if item is not None]
    examples = [build_example(sentences[index], item, description.labels, max_width) for index, item in fitting]
    relations = wrap_subgraphs(model, description.stage).get("relations")
    for indices, arrays in run_in_batches(model, description.stage, [item for _, item in fitting]):
        batch = [examples[index] for index in indices]
        counts = np.array([len(entry.entities) for entry in batch])
        starts = np.cumsum(counts) - counts
        spans = np.concatenate([prepend_row_index(row, entry.entities) for row, entry in enumerate(batch)])
        pairs = np.concatenate([entry.pairs + start for entry, start in zip(batch, starts, strict=True)])
        logits = torch.zeros(len(pairs), 0)
        if relations is not None:
            logits = torch.from_numpy(relations.run({**arrays, "spans": spans, "pairs": pairs})["relation_logits"])
        pair_probabilities = logits.sigmoid().split([len(entry.pairs) for entry in batch])
        span_probabilities = torch.from_numpy(arrays["entity_logits"][:, :, :max_width]).softmax(-1)
        for row, (index, entry) in enumerate(zip(indices, batch, strict=True)):
            targets[fitting[index][0]] = SoftTargets(
                span_probabilities[row, : entry.item.word_count], pair_probabilities[row]
            )
    return targets

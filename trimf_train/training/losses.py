"""Compute the training losses of spans, pairs and arcs (paper, section 3.6).

All losses are means over the *global* batch, that of all processes together. They are scaled by the number of
processes, because gradients are averaged over the processes.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from trimf_train.config import TrainConfig
from trimf_train.model.trimf import TrainingBatch, TrainingOutputs
from trimf_train.training.sampling import Targets

#: Target of a word whose head or dependency label is not trained; cross-entropy ignores it.
IGNORE_INDEX = -100


def count_loss_terms(inputs: TrainingBatch, targets: Targets) -> dict[str, list[int]]:
    """Count the terms of each loss in a batch.

    Args:
        inputs: Inputs of the batch, on the CPU: counting on a GPU would make the host wait for it.
        targets: Targets of the batch, on the CPU.

    Returns:
        For each loss the number of terms of its parts: spans; pairs times relation types; words and labelled arcs.
    """
    spans, pairs = len(targets.types), targets.relations.numel()
    return {
        "entity": [spans],
        "relation": [pairs],
        "syntax": [int(inputs.word_mask.sum()), int((inputs.labels > 0).sum())],
    }


def compute_losses(
    logits: TrainingOutputs,
    inputs: TrainingBatch,
    targets: Targets,
    count: dict[str, list[int]],
    accelerator: Accelerator,
    config: TrainConfig,
) -> dict[str, Tensor]:
    """Compute the losses of a batch.

    The losses are cross-entropy over spans (``entity``), binary cross-entropy over pairs and relation types
    (``relation``) and, with an in-model parser, cross-entropy over heads plus cross-entropy over dependency labels
    (``syntax``). Roots and arcs with unknown labels have no label to train.

    Args:
        logits: Output of the model for the batch.
        inputs: Inputs of the batch, on the device.
        targets: Targets of the batch, on the device.
        count: Result of ``count_loss_terms`` for the batch.
        accelerator: Sums the counts over the processes.
        config: Options of the losses.

    Returns:
        The losses by name; those that the stage or the model does not have are missing.
    """
    sums: dict[str, list[Tensor]] = {}
    if logits.entity_logits is not None:
        types, relations = _blend_targets(targets, config.distillation)
        sums["entity"] = [functional.cross_entropy(logits.entity_logits, types, reduction="sum")]
        if logits.relation_logits is not None:
            sums["relation"] = [
                functional.binary_cross_entropy_with_logits(logits.relation_logits, relations, reduction="sum")
            ]
    if logits.arc_scores is not None and logits.arc_label_scores is not None:
        # Ignored words keep their rows and are marked by their targets: selecting the other rows would make the host
        # wait for the GPU to count them.
        heads = torch.where(inputs.word_mask, inputs.heads, IGNORE_INDEX)
        labels = torch.where(inputs.labels > 0, inputs.labels - 1, IGNORE_INDEX)
        sums["syntax"] = [
            functional.cross_entropy(scores.flatten(0, 1), gold.flatten(), reduction="sum", ignore_index=IGNORE_INDEX)
            for scores, gold in ((logits.arc_scores, heads), (logits.arc_label_scores, labels))
        ]
    local_counts = torch.tensor([terms for name in sums for terms in count[name]], dtype=torch.float32)
    local_counts = local_counts.to(inputs.word_mask.device, non_blocking=True)
    divisors = iter(accelerator.reduce(local_counts, "sum").clamp(min=1) / accelerator.num_processes)
    return {name: torch.stack([total / next(divisors) for total in parts]).sum() for name, parts in sums.items()}


def _blend_targets(targets: Targets, share: float) -> tuple[Tensor, Tensor]:
    """Mix ``share`` of the teachers' probabilities, if any, into gold (Hinton et al. 2015, at temperature 1)."""
    if not targets.soft_types.shape[1]:
        return targets.types, targets.relations
    gold = functional.one_hot(targets.types, targets.soft_types.shape[1])
    return torch.lerp(gold.float(), targets.soft_types, share), torch.lerp(
        targets.relations, targets.soft_relations, share
    )


def loss_weights(config: TrainConfig) -> dict[str, float]:
    """Return the weight of each loss in the total loss."""
    return {"entity": 1.0, "relation": config.relation_weight, "syntax": config.syntax_weight}

"""What training minimises (paper 3.6): one loss each for spans, pairs and arcs, and what keeps a model from being sure.

All are means over the *global* batch, scaled by the number of processes, because gradients are averaged over those.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from trimf_train.config import TrainConfig
from trimf_train.model.trimf import Inputs, Logits
from trimf_train.sampling import Targets

#: The target of a word whose head, or whose arc's label, is not to be learnt.
LEFT_OUT = -100


def counts(inputs: Inputs, targets: Targets) -> dict[str, list[int]]:
    """Over how many each loss of a batch is a mean: spans, pairs times types; words, and arcs with a label.

    Of tensors on the CPU: to count on a GPU would make it wait.
    """
    spans, pairs = len(targets.types), targets.relations.numel()
    return {
        "entity": [spans],
        "relation": [pairs],
        "syntax": [int(inputs.word_mask.sum()), int((inputs.labels > 0).sum())],
        "agreement": [spans // 2, pairs // 2],
    }


def losses(
    logits: Logits,
    inputs: Inputs,
    targets: Targets,
    count: dict[str, list[int]],
    accelerator: Accelerator,
    config: TrainConfig,
) -> dict[str, Tensor]:
    """Cross-entropy over spans, binary cross-entropy over pairs and types, and for a parser the cross-entropy over
    heads plus that over the labels of arcs (of roots and unknown labels none).

    Of a batch that is there :func:`~trimf_train.sampling.twice` also ``agreement`` (R-Drop, Liang et al. 2021): half
    the divergences of the two readings of each span, and of each pair and type, from one another.
    """
    sums: dict[str, list[Tensor]] = {}
    if logits.entities is not None and logits.relations is not None:
        smooth = config.label_smoothing
        types, relations = _truth(targets, config.distillation)
        relations = relations * (1 - smooth) + smooth / 2
        sums["entity"] = [functional.cross_entropy(logits.entities, types, reduction="sum", label_smoothing=smooth)]
        sums["relation"] = [functional.binary_cross_entropy_with_logits(logits.relations, relations, reduction="sum")]
        if config.r_drop:
            sums["agreement"] = [_divergence(logits.entities), _divergence(_two_classes(logits.relations))]
    if logits.arcs is not None and logits.arc_labels is not None:
        # What is left out is told by its target: to pick out the rest would make a GPU wait for their number.
        heads = torch.where(inputs.word_mask, inputs.heads, LEFT_OUT)
        labels = torch.where(inputs.labels > 0, inputs.labels - 1, LEFT_OUT)
        sums["syntax"] = [
            functional.cross_entropy(scores.flatten(0, 1), gold.flatten(), reduction="sum", ignore_index=LEFT_OUT)
            for scores, gold in ((logits.arcs, heads), (logits.arc_labels, labels))
        ]
    every = torch.tensor([number for name in sums for number in count[name]], dtype=torch.float32)
    every = every.to(inputs.word_mask.device, non_blocking=True)
    means = iter(accelerator.reduce(every, "sum").clamp(min=1) / accelerator.num_processes)
    return {name: torch.stack([total / next(means) for total in parts]).sum() for name, parts in sums.items()}


def _truth(targets: Targets, share: float) -> tuple[Tensor, Tensor]:
    """Gold, of which teachers, where there are any, have their ``share`` (Hinton et al. 2015, at temperature 1)."""
    if not targets.soft_types.shape[1]:
        return targets.types, targets.relations
    gold = functional.one_hot(targets.types, targets.soft_types.shape[1])
    return torch.lerp(gold.float(), targets.soft_types, share), torch.lerp(
        targets.relations, targets.soft_relations, share
    )


def weights(config: TrainConfig) -> dict[str, float]:
    """What each loss counts in their sum."""
    return {
        "entity": 1.0,
        "relation": config.relation_weight,
        "syntax": config.syntax_weight,
        "agreement": config.r_drop,
    }


def _divergence(logits: Tensor) -> Tensor:
    """Half the sum of both Kullback-Leibler divergences between the halves ``[n,k]`` of ``[2n,k]``."""
    one, other = logits.log_softmax(-1).chunk(2)
    return ((one.exp() - other.exp()) * (one - other)).sum() / 2


def _two_classes(logits: Tensor) -> Tensor:
    """Logits of yes ``[...]`` as logits of yes and no ``[...,2]``."""
    return torch.stack([logits, torch.zeros_like(logits)], -1)

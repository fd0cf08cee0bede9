"""Optimisers and the learning-rate schedule (paper 3.2 memory write, 4.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from trimf_train.config import Config
from trimf_train.model.trimf import TriMF

#: Where a weight's name says in which layer of an encoder it lies.
_LAYER = re.compile(r"^encoder\..*\blayers?\.(\d+)\.")


def optimizers(model: TriMF, config: Config) -> list[torch.optim.Optimizer]:
    """AdamW over the model, and plain gradient descent over the memory where ``memory.write`` is ``sgd`` (5)(6).

    Biases and normalisation weights do not decay; neither does memory. The encoder's last layer learns at ``train.lr``,
    every other at ``train.layer_decay`` times the rate of the one above it, and so do the embeddings, below the first.
    """
    train = config.train
    by_sgd = config.model.memory.write == "sgd"
    head_lr = train.lr if train.head_lr is None else train.head_lr
    layers = {name: _layer(name) for name, _ in model.named_parameters()}
    depth = 1 + max(layers.values())
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if by_sgd and name.startswith("memory."):
            continue
        decays = parameter.ndim > 1 and not name.startswith("memory.")
        pretrained = name.startswith("encoder.") and not name.endswith(".casing")
        rate = train.lr * train.layer_decay ** (depth - 1 - layers[name]) if pretrained else head_lr
        groups.setdefault((rate, decays), []).append(parameter)
    adam = torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "weight_decay": train.weight_decay * decays}
            for (rate, decays), parameters in groups.items()
        ],
        fused=True,
    )
    if not by_sgd:
        return [adam]
    return [adam, torch.optim.SGD(model.memory.parameters(), lr=config.model.memory.sgd_lr)]


def _layer(name: str) -> int:
    """The number of the encoder's layer that a weight lies in, -1 below the first."""
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def schedules(
    optimizers: Iterable[torch.optim.Optimizer], parts: Sequence[int], warmup: float
) -> list[torch.optim.lr_scheduler.LambdaLR]:
    """Linear warm-up over a share of the steps, then linear decay to zero, in each part of so many steps anew."""

    def factor(step: int) -> float:
        for steps in parts[:-1]:
            if step < steps:
                return _factor(step, steps, warmup)
            step -= steps
        return _factor(step, parts[-1], warmup)

    return [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]


def _factor(step: int, steps: int, warmup: float) -> float:
    rising = max(1, round(steps * warmup))
    return (step + 1) / rising if step < rising else max(0.0, (steps - step) / max(1, steps - rising))


def freeze(model: TriMF, stage: int, freeze_encoder: bool) -> None:
    """Parameters that a stage does not learn get no gradient.

    In stage 1 these are the flows and the trigger sensor (3.7), in stage 0 all but the encoder and its parser.
    """
    for name, parameter in model.named_parameters():
        later = name.startswith(("subword_flow.", "word_flow.", "trigger."))
        learns = name.startswith(("encoder.", "parser.")) if stage == 0 else stage == 2 or not later
        parameter.requires_grad_(learns and not (freeze_encoder and name.startswith("encoder.")))
        if not parameter.requires_grad:
            parameter.grad = None

"""Build the optimisers and the learning-rate schedules (paper, section 4.4; memory write: section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from trimf_train.config import Config
from trimf_train.model.trimf import TriMF


def build_optimizers(model: TriMF, config: Config) -> list[torch.optim.Optimizer]:
    """Build AdamW for the model and, with ``memory.write = "sgd"``, plain gradient descent for the memory.

    Gradient descent on the memory is equations (5) and (6). Biases, normalisation weights and memory have no weight
    decay. The pretrained encoder has the learning rate ``train.lr``, all other parameters ``train.head_lr``.

    Args:
        model: The model to train.
        config: The run's configuration.

    Returns:
        AdamW first, then the optimiser of the memory if it is separate.
    """
    train = config.train
    by_sgd = config.model.memory.write == "sgd"
    head_lr = train.lr if train.head_lr is None else train.head_lr
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if by_sgd and name.startswith("memory."):
            continue
        decays = parameter.ndim > 1 and not name.startswith("memory.")
        pretrained = name.startswith("encoder.") and not name.endswith(".casing")
        rate = train.lr if pretrained else head_lr
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


def build_schedules(
    optimizers: Iterable[torch.optim.Optimizer], parts: Sequence[int], warmup: float
) -> list[torch.optim.lr_scheduler.LambdaLR]:
    """Build schedules with linear warm-up and linear decay to zero, restarted in each part of the training.

    Args:
        optimizers: The optimisers.
        parts: Number of steps of each part.
        warmup: Share of a part's steps in which the rate rises.

    Returns:
        One schedule per optimiser.
    """

    def rate_factor(step: int) -> float:
        for steps in parts[:-1]:
            if step < steps:
                return _warmup_decay_factor(step, steps, warmup)
            step -= steps
        return _warmup_decay_factor(step, parts[-1], warmup)

    return [torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor) for optimizer in optimizers]


def _warmup_decay_factor(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate of a step as a share of the peak rate."""
    rising = max(1, round(steps * warmup))
    return (step + 1) / rising if step < rising else max(0.0, (steps - step) / max(1, steps - rising))


def freeze_parameters(model: TriMF, stage: int, freeze_encoder: bool) -> None:
    """Disable the gradients of parameters that a stage does not train, and enable all others.

    Stage 0 trains the encoder and the in-model parser only; stage 1 trains all but the memory flows and the trigger
    sensor (paper, section 3.7); stage 2 trains everything.

    Args:
        model: The model; its ``requires_grad`` flags change, and gradients of frozen parameters are dropped.
        stage: Training stage, 0 to 2.
        freeze_encoder: Keep the encoder frozen in this stage.
    """
    for name, parameter in model.named_parameters():
        second_stage = name.startswith(("subword_flow.", "word_flow.", "trigger."))
        trained = name.startswith(("encoder.", "parser.")) if stage == 0 else stage == 2 or not second_stage
        parameter.requires_grad_(trained and not (freeze_encoder and name.startswith("encoder.")))
        if not parameter.requires_grad:
            parameter.grad = None

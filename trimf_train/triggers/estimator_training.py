"""Train an effect estimator on sentences from which words were left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trimf.runtime.triggers.effect_estimator import EffectEstimator
from trimf_train.triggers.deletion_examples import DeletionExample
from trimf_train.triggers.estimator_module import EffectBatch, EffectModule, build_batch

#: Relations per batch, passes over all relations, and the most steps that they may take together.
BATCH_SIZE, EPOCHS, MAX_STEPS = 32, 10, 4000

#: Peak learning rate of AdamW, its weight decay, and the share of the steps in which the rate rises.
PEAK_RATE, WEIGHT_DECAY, WARMUP = 1e-3, 0.01, 0.1

#: Weight of the loss on the size of the effects, beside that on which word has the largest.
SIZE_WEIGHT = 0.2

#: Effect in logits of the place for "no word": a relation none of whose words has more rests on its names.
NO_WORD_EFFECT = 0.2

#: Sharpness of the distribution over words and "no word" that effects give.
SHARPNESS = 3.0

#: Median logit of the relations that a calibrated model finds.
CALIBRATED_LOGIT = 1.4

#: Effects beyond these, in logits, count as these for the loss on the size.
SIZE_RANGE = (-3.0, 6.0)


def train_estimator(examples: Sequence[DeletionExample], types: int, seed: int = 0) -> EffectEstimator:
    """Train an estimator.

    The loss has two parts. One is the cross-entropy between the distributions over words and "no word" that the
    measured and the estimated effects give, as a softmax like that of the trigger sensor (paper, equation (24)) with a
    place more. The other is the smooth L1 distance of their sizes.

    Args:
        examples: Sentences with at least one relation.
        types: Number of relation types of the model.
        seed: Seed of the initial weights, of the order and of dropout.

    Returns:
        The estimator.
    """
    members = [(example, index) for example in examples for index in range(len(example.relations))]
    unit = measure_logit_unit(examples)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = EffectModule(examples[0].nodes.shape[1], types)
        optimizer = torch.optim.AdamW(module.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
        steps = min(MAX_STEPS, EPOCHS * math.ceil(len(members) / BATCH_SIZE))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=WARMUP)
        module.train()
        for batch, _ in zip(_iterate_batches(members, generator), range(steps), strict=False):
            loss = compute_effect_loss(module(batch), batch._replace(effects=batch.effects / unit))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return EffectEstimator(module.eval().to_weights()).rescale(unit)


def measure_logit_unit(examples: Sequence[DeletionExample]) -> float:
    """Return by how much the logits of a model are larger than those of a calibrated one.

    Models that were trained for many epochs have far larger logits than their errors justify, and the constants of the
    loss are in calibrated logits.

    Args:
        examples: Sentences with at least one relation.

    Returns:
        The median logit of the relations that are found divided by ``CALIBRATED_LOGIT``, at least 1.
    """
    logits = [relation.logit for example in examples for relation in example.relations if relation.found]
    return max(1.0, float(np.median(logits)) / CALIBRATED_LOGIT) if logits else 1.0


def compute_effect_loss(estimated: Tensor, batch: EffectBatch) -> Tensor:
    """Compute the loss of estimated effects, the sum of that of words and that of phrases.

    Args:
        estimated: The effects, ``[F, 2, N]``.
        batch: The relations with the measured effects.

    Returns:
        The loss, a scalar.
    """
    no_word = estimated.new_full((len(estimated), 2, 1), NO_WORD_EFFECT)
    hidden = ~batch.candidates.unsqueeze(1)
    target = torch.cat([batch.effects.masked_fill(hidden, -1e4), no_word], 2) * SHARPNESS
    score = torch.cat([estimated.masked_fill(hidden, -1e4), no_word], 2) * SHARPNESS
    which = -(target.softmax(2) * score.log_softmax(2)).sum(2).mean(0).sum()
    measured = batch.measured.unsqueeze(1).expand_as(estimated)
    sizes = batch.effects[measured].clamp(*SIZE_RANGE)
    return which + 2 * SIZE_WEIGHT * functional.smooth_l1_loss(estimated[measured], sizes)


def _iterate_batches(
    members: Sequence[tuple[DeletionExample, int]], generator: torch.Generator
) -> Iterator[EffectBatch]:
    """Yield batches without end, in a new order in each pass."""
    while True:
        for indices in torch.randperm(len(members), generator=generator).split(BATCH_SIZE):
            yield build_batch([members[index] for index in indices.tolist()])

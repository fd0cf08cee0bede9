"""The losses against loops, and what keeps a model from being too sure."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf_train.config import ModelConfig, SpanConfig, TrainConfig
from trimf_train.model.trimf import TrainingBatch, TrainingOutputs
from trimf_train.training import losses
from trimf_train.training.sampling import Targets

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=3)


def gold(logits: TrainingOutputs, seed: int) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    assert logits.entity_logits is not None
    assert logits.relation_logits is not None
    types = torch.randint(logits.entity_logits.shape[1], (len(logits.entity_logits),), generator=generator)
    relations = (torch.rand(logits.relation_logits.shape, generator=generator) < 0.3).float()
    return Targets(types, relations, torch.zeros(len(types), 0), torch.zeros(len(relations), 0))


def read(build_model: Any, build_inputs: Any, lengths: list[int], seed: int) -> tuple[Any, TrainingBatch, Targets]:
    model = build_model(ModelConfig(span=SpanConfig(max_width=3)), seed=seed)
    inputs = build_inputs(lengths, seed=seed)
    return model, inputs, gold(model(inputs, 2), seed)


def found(logits: TrainingOutputs, inputs: TrainingBatch, targets: Targets, **options: Any) -> dict[str, float]:
    count = losses.count_loss_terms(inputs, targets)
    lost = losses.compute_losses(logits, inputs, targets, count, Accelerator(), TrainConfig(**options))
    return {name: float(value) for name, value in lost.items()}


@settings(max_examples=20, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 999))
def test_gold_targets(build_model: Any, build_inputs: Any, lengths: list[int], seed: int) -> None:
    model, inputs, targets = read(build_model, build_inputs, lengths, seed)
    with torch.no_grad():
        logits = model(inputs, 2)
    entity = relation = 0.0
    for scores, label in zip(logits.entity_logits.log_softmax(-1).tolist(), targets.types.tolist(), strict=True):
        entity -= scores[label]
    for scores, truths in zip(logits.relation_logits.tolist(), targets.relations.tolist(), strict=True):
        for score, truth in zip(scores, truths, strict=True):
            relation += truth * math.log1p(math.exp(-score)) + (1 - truth) * math.log1p(math.exp(score))
    lost = found(logits, inputs, targets)
    assert lost.keys() == {"entity", "relation"}
    assert lost["entity"] == pytest.approx(entity / len(targets.types), rel=1e-4)
    assert lost["relation"] == pytest.approx(relation / max(1, targets.relations.numel()), rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_what_teachers_say_has_its_share(
    build_model: Any, build_inputs: Any, lengths: list[int], seed: int, share: float
) -> None:
    model, inputs, targets = read(build_model, build_inputs, lengths, seed)
    with torch.no_grad():
        logits = model(inputs, 2)
    generator = torch.Generator().manual_seed(seed)
    said = Targets(
        targets.types,
        targets.relations,
        torch.rand(logits.entity_logits.shape, generator=generator).softmax(-1),
        torch.rand(logits.relation_logits.shape, generator=generator),
    )
    entity = relation = 0.0
    for scores, label, soft in zip(
        logits.entity_logits.log_softmax(-1).tolist(), said.types.tolist(), said.soft_types.tolist(), strict=True
    ):
        for place, (score, probability) in enumerate(zip(scores, soft, strict=True)):
            mixed = (1 - share) * (place == label) + share * probability
            entity -= mixed * score
    for score, truth, probability in zip(
        logits.relation_logits.flatten().tolist(),
        said.relations.flatten().tolist(),
        said.soft_relations.flatten().tolist(),
        strict=True,
    ):
        mixed = (1 - share) * truth + share * probability
        relation += mixed * math.log1p(math.exp(-score)) + (1 - mixed) * math.log1p(math.exp(score))
    lost = found(logits, inputs, said, distillation=share)
    assert lost["entity"] == pytest.approx(entity / len(said.types), rel=1e-4)
    assert lost["relation"] == pytest.approx(relation / max(1, said.relations.numel()), rel=1e-4)

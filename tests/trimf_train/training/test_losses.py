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
from trimf_train.training.sampling import Targets, repeat_batch

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=3)


def gold(logits: TrainingOutputs, seed: int) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    assert logits.entities is not None
    assert logits.relations is not None
    types = torch.randint(logits.entities.shape[1], (len(logits.entities),), generator=generator)
    relations = (torch.rand(logits.relations.shape, generator=generator) < 0.3).float()
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
@given(lengths=LENGTHS, seed=st.integers(0, 999), smooth=st.sampled_from([0.0, 0.1, 0.5]))
def test_smoothed_targets(build_model: Any, build_inputs: Any, lengths: list[int], seed: int, smooth: float) -> None:
    model, inputs, targets = read(build_model, build_inputs, lengths, seed)
    with torch.no_grad():
        logits = model(inputs, 2)
    entity = relation = 0.0
    for scores, label in zip(logits.entities.log_softmax(-1).tolist(), targets.types.tolist(), strict=True):
        entity -= (1 - smooth) * scores[label] + smooth * sum(scores) / len(scores)
    for scores, truths in zip(logits.relations.tolist(), targets.relations.tolist(), strict=True):
        for score, truth in zip(scores, truths, strict=True):
            share = truth * (1 - smooth) + smooth / 2
            relation += share * math.log1p(math.exp(-score)) + (1 - share) * math.log1p(math.exp(score))
    lost = found(logits, inputs, targets, label_smoothing=smooth)
    assert lost.keys() == {"entity", "relation"}
    assert lost["entity"] == pytest.approx(entity / len(targets.types), rel=1e-4)
    assert lost["relation"] == pytest.approx(relation / max(1, targets.relations.numel()), rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    lengths=LENGTHS,
    seed=st.integers(0, 999),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    smooth=st.sampled_from([0.0, 0.1]),
)
def test_what_teachers_say_has_its_share(
    build_model: Any, build_inputs: Any, lengths: list[int], seed: int, share: float, smooth: float
) -> None:
    model, inputs, targets = read(build_model, build_inputs, lengths, seed)
    with torch.no_grad():
        logits = model(inputs, 2)
    generator = torch.Generator().manual_seed(seed)
    said = Targets(
        targets.types,
        targets.relations,
        torch.rand(logits.entities.shape, generator=generator).softmax(-1),
        torch.rand(logits.relations.shape, generator=generator),
    )
    entity = relation = 0.0
    for scores, label, soft in zip(
        logits.entities.log_softmax(-1).tolist(), said.types.tolist(), said.soft_types.tolist(), strict=True
    ):
        for place, (score, probability) in enumerate(zip(scores, soft, strict=True)):
            mixed = (1 - share) * (place == label) + share * probability
            entity -= ((1 - smooth) * mixed + smooth / len(scores)) * score
    for score, truth, probability in zip(
        logits.relations.flatten().tolist(),
        said.relations.flatten().tolist(),
        said.soft_relations.flatten().tolist(),
        strict=True,
    ):
        mixed = ((1 - share) * truth + share * probability) * (1 - smooth) + smooth / 2
        relation += mixed * math.log1p(math.exp(-score)) + (1 - mixed) * math.log1p(math.exp(score))
    lost = found(logits, inputs, said, distillation=share, label_smoothing=smooth)
    assert lost["entity"] == pytest.approx(entity / len(said.types), rel=1e-4)
    assert lost["relation"] == pytest.approx(relation / max(1, said.relations.numel()), rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 999))
def test_a_batch_twice_is_two_readings(build_model: Any, build_inputs: Any, lengths: list[int], seed: int) -> None:
    model, inputs, targets = read(build_model, build_inputs, lengths, seed)
    doubled, both = repeat_batch(inputs, targets)
    with torch.no_grad():
        once, again = model(inputs, 2), model(doubled, 2)
        for one, two in ((once.entities, again.entities), (once.relations, again.relations)):
            torch.testing.assert_close(two, torch.cat([one, one]), atol=1e-5, rtol=1e-4)
        plain, of_two = found(once, inputs, targets), found(again, doubled, both, r_drop=1.0)
        assert of_two["entity"] == pytest.approx(plain["entity"], rel=1e-4)
        assert of_two["relation"] == pytest.approx(plain["relation"], rel=1e-4)
        assert of_two["agreement"] == pytest.approx(0, abs=1e-6)

        rough = model.train()(doubled, 2)
    lost = found(rough, doubled, both, r_drop=1.0)
    entity, relation = (part.softmax(-1).chunk(2) for part in (rough.entities, yes_or_no(rough.relations)))
    expected = []
    for one, other in (entity, relation):
        total = sum(
            float(p * (p / q).log() + q * (q / p).log()) for p, q in zip(one.ravel(), other.ravel(), strict=True)
        )
        expected.append(total / 2 / max(1, one.numel() // one.shape[-1]))
    assert lost["agreement"] == pytest.approx(sum(expected), rel=1e-3, abs=1e-6)


def yes_or_no(logits: torch.Tensor) -> torch.Tensor:
    return torch.stack([logits, torch.zeros_like(logits)], -1)

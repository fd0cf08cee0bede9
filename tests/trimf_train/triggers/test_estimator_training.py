"""The estimator in PyTorch and in numpy are one; it learns what is there to learn; its floor is the best one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.triggers.effect_estimator import EffectEstimator, EffectWeights
from trimf.runtime.triggers.trigger_scores import DEFAULT_TRIGGER_FLOOR
from trimf_train.triggers import teaching
from trimf_train.triggers.deletion_examples import DeletionExample, RelationEffects
from trimf_train.triggers.estimator_module import EffectModule, build_batch
from trimf_train.triggers.estimator_training import compute_effect_loss, measure_logit_unit, train_estimator
from trimf_train.triggers.teaching import choose_floor, count_agreement

from .conftest import TYPES, WIDTH

Make = Callable[..., DeletionExample]
Planted = Callable[..., list[DeletionExample]]


def draw_examples(count: int = 12) -> list[DeletionExample]:
    """Sentences of 2 to 14 words with up to four spans that may touch and overlap, and a relation of every pair."""
    random, examples = np.random.default_rng(3), []
    for number in range(count):
        length = int(random.integers(2, 15))
        starts = random.integers(0, length, size=4)
        spans = [EntitySpan(int(start), min(int(start) + 1 + number % 3, length), 0, 0.9) for start in starts]
        relations = [
            RelationEffects(
                RelationSpan(head, tail, int(random.integers(TYPES)), 0.7, np.zeros(length, np.float32)),
                0.8,
                True,
                random.standard_normal(length).astype(np.float32),
                random.standard_normal(length).astype(np.float32),
            )
            for head in range(4)
            for tail in range(4)
            if head != tail
        ]
        nodes = random.standard_normal((length, WIDTH)).astype(np.float32)
        if number % 2:
            nodes = nodes.round()  # equal maxima
        mask = np.ones(length, np.bool_)
        decoded = DecodedSentence(spans, [])
        examples.append(DeletionExample(number, ["x"] * length, decoded, mask, nodes, relations))
    return examples


def test_the_module_computes_what_the_runtime_does(random_weights: EffectWeights) -> None:
    module = EffectModule(WIDTH, TYPES, features=7).eval()
    with torch.no_grad():
        for name, value in random_weights._asdict().items():
            getattr(module, name).copy_(torch.from_numpy(value))
    assert all(np.array_equal(one, other) for one, other in zip(module.to_weights(), random_weights, strict=True))
    estimator = EffectEstimator(random_weights)
    examples = draw_examples()
    members = [(example, index) for example in examples for index in range(len(example.relations))]
    with torch.no_grad():
        estimated = module(build_batch(members)).numpy()
    for row, (example, index) in zip(estimated, members, strict=True):
        spans, length = example.decoded.entities, len(example.words)
        ((relation,),) = estimator.estimate(
            example.nodes[None], [spans], [[example.relations[index].relation]], [length]
        )
        outside = np.ones(length, np.bool_)
        for span in spans:
            outside[span.start : span.end] = False
        for effects, expected in zip((relation.trigger_weights, relation.phrase_weights), row, strict=True):
            assert effects is not None
            np.testing.assert_allclose(effects[outside], expected[:length][outside], rtol=1e-4, atol=1e-4)


def test_the_loss_is_smallest_for_what_was_measured(planted: Planted) -> None:
    batch = build_batch([(example, 0) for example in planted(8, 1)])
    best = compute_effect_loss(batch.effects, batch)
    for change in (0.5 * batch.effects, batch.effects + 0.3, -batch.effects, torch.zeros_like(batch.effects)):
        assert compute_effect_loss(change, batch) > best
    elsewhere = torch.where(batch.candidates.unsqueeze(1), batch.effects, 77.0)
    assert torch.equal(compute_effect_loss(elsewhere, batch), best)


def test_a_planted_effect_is_learnt(planted: Planted) -> None:
    effects = train_estimator(planted(300, 1), TYPES)
    others = planted(100, 2)
    right, judged = count_agreement(effects, others)
    assert judged == 50
    assert right >= 45
    floor = choose_floor(effects, others)
    for example in others:
        spans, relation = example.decoded.entities, example.relations[0].relation
        (found,) = effects.estimate(example.nodes[None], [spans], [[relation]], [len(example.words)])
        assert found[0].trigger_weights[[0, -1]].tolist() == [0, 0]
    assert 0.01 <= floor <= 0.2


def test_the_seed_decides(planted: Planted) -> None:
    examples = planted(60, 1)
    state = torch.random.get_rng_state()
    one, other, third = (train_estimator(examples, TYPES, seed).to_bytes() for seed in (4, 4, 5))
    assert one == other
    assert one != third
    assert torch.equal(torch.random.get_rng_state(), state)


def test_logits_that_are_too_large_count_as_calibrated(make_example: Make) -> None:
    nodes = np.zeros((3, WIDTH))
    sure = make_example(nodes, [0.0], score=0.999)
    assert measure_logit_unit([sure]) == pytest.approx(sure.relations[0].logit / 1.4)
    assert measure_logit_unit([make_example(nodes, [0.0], score=0.6)]) == 1
    assert measure_logit_unit([make_example(nodes, [0.0], score=0.999, found=False)]) == 1


@pytest.fixture
def first_dimension() -> EffectEstimator:
    """An estimator that says that a word's effect is its first dimension."""
    zeros = EffectWeights(*map(np.zeros_like, EffectModule(WIDTH, TYPES).to_weights()))
    direct = zeros.direct.copy()
    direct[:, 0] = 1
    return EffectEstimator(zeros._replace(direct=direct, scale=np.array([[0, 0], [1, 1], [0, 0]], np.float32)))


def nodes_with(*effects: float) -> np.ndarray:
    """A sentence whose words between the ends have these estimated effects."""
    nodes = np.zeros((len(effects) + 2, WIDTH))
    nodes[1:-1, 0] = effects
    return nodes


def test_agreement_counts_found_relations_with_a_word_that_matters(
    make_example: Make, first_dimension: EffectEstimator
) -> None:
    examples = [
        make_example(nodes_with(2, 1), [3, 0]),  # right
        make_example(nodes_with(1, 2), [3, 0]),  # wrong
        make_example(nodes_with(1, 2), [0.01, 0]),  # no word matters
        make_example(nodes_with(2, 1), [3, 0], found=False),  # only considered
        make_example(nodes_with(), []),  # no word at all
    ]
    assert count_agreement(first_dimension, examples) == (1, 2)
    assert count_agreement(first_dimension, []) == (0, 0)


def test_the_floor_tells_best_what_rests_on_words(make_example: Make, first_dimension: EffectEstimator) -> None:
    # At a probability of a half, an effect of 0.4 costs ten points and one of 0.5 twelve.
    mattering = [make_example(nodes_with(0.5), [3], score=0.5), make_example(nodes_with(0.6), [3], score=0.5)]
    others = [make_example(nodes_with(0.4), [0], score=0.5), make_example(nodes_with(-1), [-1], score=0.5)]
    floor = choose_floor(first_dimension, [*mattering, *others])
    assert 0.099 < floor < 0.123
    assert floor == round(floor, 2)
    for same in (mattering, others, []):
        assert choose_floor(first_dimension, same) == DEFAULT_TRIGGER_FLOOR
    assert min(teaching.FLOORS) > 0

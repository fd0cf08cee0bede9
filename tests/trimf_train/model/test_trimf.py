"""The trigger sensor and the whole model against its equations, with every option."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.bundle.labels import Labels
from trimf_train.config import ModelConfig
from trimf_train.model.memory import Memory
from trimf_train.model.trigger import TriggerSensor
from trimf_train.model.trimf import TrainingBatch, TriMF

SEEDS = st.integers(0, 10_000)
SWITCHES = st.fixed_dictionaries({"entity": st.booleans(), "relation": st.booleans()})
CONFIGS = st.fixed_dictionaries(
    {
        "flow": st.fixed_dictionaries(
            {
                "residual": st.sampled_from(["add", "mean", "none"]),
                "slots": st.sampled_from(["mean", "sum"]),
                "subword": SWITCHES,
                "word": SWITCHES,
            }
        ),
        "syntax": st.fixed_dictionaries({"inverse": st.booleans(), "bases": st.integers(0, 2)}),
        "span": st.fixed_dictionaries(
            {
                "max_width": st.integers(1, 4),
                "width_dim": st.integers(1, 3),
            }
        ),
        "fusion": st.sampled_from(["weighted", "mean", "sum", "max", "syntactic", "semantic", "none"]),
        "context": st.sampled_from(["sum", "concat"]),
        "trigger": st.booleans(),
    }
)
OPTIONS = [
    {},
    {"flow": {"residual": "none"}},
    {"flow": {"residual": "none", "slots": "sum"}},
    {"flow": {"residual": "add", "subword": {"entity": False}, "word": {"relation": False}}},
    {"syntax": {"inverse": True, "bases": 2}, "fusion": "max"},
    {"context": "concat"},
    {"trigger": False, "fusion": "semantic"},
]


def configured(values: dict[str, Any], max_width: int = 3) -> ModelConfig:
    return msgspec.convert({**values, "span": {"max_width": max_width, **values.get("span", {})}}, ModelConfig)


def close(found: torch.Tensor, expected: list[list[float]]) -> None:
    other = torch.tensor(expected, dtype=torch.float64).reshape(found.shape)
    torch.testing.assert_close(found.detach().double(), other, atol=1e-4, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, lengths=st.lists(st.integers(1, 5), min_size=0, max_size=4), slots=st.integers(1, 3))
def test_trigger_sensor(equations: Any, seed: int, lengths: list[int], slots: int) -> None:
    torch.manual_seed(seed)
    memory, sensor = Memory(1, slots, 4), TriggerSensor(4, True)
    with torch.no_grad():
        memory.relation.normal_()
    count, size = len(lengths), max(lengths, default=0) + 1
    heads, tails, words = torch.randn(count, 4), torch.randn(count, 4), torch.randn(count, size, 4)
    mask = torch.arange(size) < torch.tensor(lengths).reshape(-1, 1)
    context, weights = sensor(heads, tails, words, mask, memory)
    assert context.shape == (count, 4)
    assert weights.shape == (count, size)
    for row, length in enumerate(lengths):
        vector, shares = equations.trigger(
            heads[row].double(),
            tails[row].double(),
            list(words[row, :length].double()),
            sensor.weight.detach().double(),
            memory.relation.detach().double(),
        )
        torch.testing.assert_close(context[row].detach().double(), vector, atol=1e-5, rtol=1e-4)
        assert weights[row].tolist() == pytest.approx([*shares, *[0.0] * (size - length)], abs=1e-5)


def test_a_pair_in_a_sentence_of_padding_has_no_trigger() -> None:
    memory, sensor = Memory(1, 2, 4), TriggerSensor(4, True)
    context, weights = sensor(
        torch.randn(1, 4), torch.randn(1, 4), torch.randn(1, 3, 4), torch.zeros(1, 3, dtype=torch.bool), memory
    )
    assert not context.any()
    assert not weights.any()


@settings(max_examples=120, deadline=None)
@given(
    seed=SEEDS,
    values=CONFIGS,
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    stage=st.sampled_from([1, 2]),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
)
def test_the_whole_model(
    equations: Any,
    build_model: Any,
    build_inputs: Any,
    seed: int,
    values: dict[str, Any],
    lengths: list[int],
    stage: int,
    sizes: tuple[int, int, int],
) -> None:
    config = msgspec.convert(values, ModelConfig)
    entities, relations, dependencies = sizes
    model = build_model(config, 5, entities, relations, dependencies, seed)
    inputs = build_inputs(lengths, seed, dependencies, config.span.max_width)
    expected = equations.model(model, inputs, stage)
    entity, relation, *_ = model(inputs, stage)
    assert entity.shape == (len(inputs.spans), entities + 1)
    assert relation.shape == (len(inputs.pairs), relations)
    close(entity, expected[0])
    close(relation, expected[1])


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("stage", [1, 2])
def test_serving_computes_what_training_does(
    equations: Any, build_model: Any, build_inputs: Any, options: dict[str, Any], stage: int
) -> None:
    """The steps one by one give the same logits for every span of the grid and the same trigger weights."""
    model, inputs = build_model(configured(options)), build_inputs([4, 1, 3])
    entity, relation, *_ = model(inputs, stage)
    words, cls = model.pool_to_words(
        model.encode_subwords(inputs.input_ids, inputs.attention_mask)[0],
        inputs.attention_mask,
        inputs.pieces,
        stage,
    )
    nodes = model.fuse_graphs(words, cls, inputs.word_mask, inputs.heads, inputs.labels)
    grid = model.entity_logits(nodes)
    assert grid.shape == (3, 4, 3, 3)
    sentence, first, last = inputs.spans.unbind(-1)
    torch.testing.assert_close(grid[sentence, first, last - first], entity, atol=1e-5, rtol=1e-5)
    logits, weights = model.relation_logits(nodes, inputs.word_mask, inputs.entities, inputs.pairs, stage)
    torch.testing.assert_close(logits, relation, atol=1e-5, rtol=1e-5)
    shares = equations.model(model, inputs, stage)[2]
    for row, expected in zip(weights, shares, strict=True):
        assert row.tolist() == pytest.approx([*expected, *[0.0] * (4 - len(expected))], abs=1e-5)
        sensed = stage == 2 and model.trigger is not None
        assert row.sum().item() == pytest.approx(float(sensed), abs=1e-5)


def rows(inputs: TrainingBatch, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which spans and which pairs are of one sentence."""
    return inputs.spans[:, 0] == row, inputs.entities[inputs.pairs[:, 0], 0] == row


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("stage", [1, 2])
def test_a_sentence_does_not_depend_on_its_batch(
    build_model: Any, build_inputs: Any, options: dict[str, Any], stage: int
) -> None:
    model = build_model(configured(options))
    together = build_inputs([2, 5, 1])
    entity, relation, *_ = model(together, stage)
    for row, length in enumerate([2, 5, 1]):
        spans, pairs = rows(together, row)
        # The generator of a sentence depends on its place, so the sentence alone stands in that place.
        single = alone(together, row, length)
        one, two, *_ = model(single, stage)
        torch.testing.assert_close(one, entity[spans], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(two, relation[pairs], atol=1e-5, rtol=1e-5)


def alone(inputs: TrainingBatch, row: int, length: int) -> TrainingBatch:
    """One sentence of a batch as a batch of its own, without its padding."""
    tokens = int(inputs.attention_mask[row].sum())
    spans, pairs = rows(inputs, row)
    mine = (inputs.entities[:, 0] == row).nonzero()[:, 0]
    offset = int(mine[0])
    return TrainingBatch(
        inputs.input_ids[row : row + 1, :tokens],
        inputs.attention_mask[row : row + 1, :tokens],
        inputs.pieces[row : row + 1, :length],
        inputs.word_mask[row : row + 1, :length],
        inputs.heads[row : row + 1, :length],
        inputs.labels[row : row + 1, :length],
        inputs.spans[spans] * torch.tensor([0, 1, 1]),
        inputs.entities[mine] * torch.tensor([0, 1, 1]),
        inputs.pairs[pairs] - offset,
    )


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("stage", [1, 2])
def test_padding_changes_nothing(build_model: Any, build_inputs: Any, options: dict[str, Any], stage: int) -> None:
    model = build_model(configured(options))
    entity, relation, *_ = model(build_inputs([3, 2]), stage)
    for noise in (0, 49):
        padded = build_inputs([3, 2], words=7, noise=noise)
        assert padded.word_mask.shape == (2, 7)
        one, two, *_ = model(padded, stage)
        torch.testing.assert_close(one, entity, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(two, relation, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_row_of_padding_is_finite_and_so_is_its_gradient(
    build_model: Any, build_inputs: Any, options: dict[str, Any]
) -> None:
    model, inputs = build_model(configured(options)), build_inputs([3])
    blank = [torch.cat([value, torch.zeros_like(value)]) for value in inputs[:6]]
    entity, relation, *_ = model(TrainingBatch(*blank, *inputs[6:]), 2)
    torch.testing.assert_close(entity, model(inputs, 2)[0], atol=1e-5, rtol=1e-5)
    (entity.square().sum() + relation.square().sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_stage_one_touches_neither_flow_nor_trigger(build_model: Any, build_inputs: Any) -> None:
    model, inputs = build_model(configured({})), build_inputs([3, 2])
    before = model(inputs, 1)
    (before[0].sum() + before[1].sum()).backward()
    later = [p for name, p in model.named_parameters() if name.startswith(("subword_flow", "word_flow", "trigger"))]
    assert len(later) == 5
    assert all(parameter.grad is None for parameter in later)
    with torch.no_grad():
        for parameter in later:
            parameter.normal_()
    after = model(inputs, 1)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])
    assert not torch.equal(model(inputs, 2)[0], before[0])


@pytest.mark.parametrize("context", ["sum", "concat"])
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=SEEDS)
def test_what_the_words_add_is_what_the_sensor_adds(
    build_model: Any, build_inputs: Any, context: str, lengths: list[int], seed: int
) -> None:
    model, inputs = build_model(configured({"context": context}), seed=seed), build_inputs(lengths, seed=seed)
    nodes = torch.randn(*inputs.word_mask.shape, model.width)
    given = (nodes, inputs.word_mask, inputs.entities, inputs.pairs)
    with torch.no_grad():
        whole, weights = model.relation_logits(*given)
        without, _ = model.relation_logits(*given, stage=1)
        of_pair = inputs.entities[inputs.pairs[:, 0], 0]
        added = weights.unsqueeze(-1) * model.trigger_word_logits(nodes)[of_pair]
        torch.testing.assert_close(without + added.sum(1), whole, atol=1e-4, rtol=1e-4)
        assert not model.trigger_word_logits(nodes, stage=1).any()


def test_no_pairs_and_no_spans(build_model: Any, build_inputs: Any) -> None:
    model, inputs = build_model(configured({})), build_inputs([2])
    nothing = inputs._replace(
        spans=inputs.spans[:0], entities=torch.zeros(0, 3, dtype=torch.long), pairs=torch.zeros(0, 2, dtype=torch.long)
    )
    for stage in (1, 2):
        entity, relation, *_ = model(nothing, stage)
        assert entity.shape == (0, 3)
        assert relation.shape == (0, 3)
        (entity.sum() + relation.sum()).backward()


def test_an_entity_longer_than_the_widest_span_takes_the_last_width(
    equations: Any, build_model: Any, build_inputs: Any
) -> None:
    model, inputs = build_model(configured({}, max_width=2)), build_inputs([6], max_width=2)
    long = inputs._replace(entities=torch.tensor([[0, 0, 3], [0, 5, 5]]), pairs=torch.tensor([[0, 1], [1, 0]]))
    close(model(long, 2)[1], equations.model(model, long, 2)[1])


def test_overlapping_and_equal_entities_have_no_words_between(
    equations: Any, build_model: Any, build_inputs: Any
) -> None:
    model, inputs = build_model(configured({"trigger": False})), build_inputs([5])
    spans = [[0, 0, 4], [0, 2, 2], [0, 1, 3], [0, 2, 4], [0, 2, 2], [0, 0, 0]]
    pairs = [[i, j] for i in range(6) for j in range(6) if i != j]
    inputs = inputs._replace(entities=torch.tensor(spans), pairs=torch.tensor(pairs))
    close(model(inputs, 2)[1], equations.model(model, inputs, 2)[1])


@pytest.mark.parametrize(
    ("options", "pair", "span"),
    [
        ({}, 2354, 793),
        ({"context": "concat"}, 3122, 793),
        ({"trigger": False}, 2354, 793),
    ],
)
def test_sizes_at_768(options: dict[str, Any], pair: int, span: int) -> None:
    config = msgspec.convert(options, ModelConfig)
    with torch.device("meta"):
        model = TriMF(torch.nn.Identity(), 768, Labels(("a",) * 4, ("b",) * 5, ("c",)), config)
    assert model.span_size == 793
    assert model.pair_size == pair
    assert model.entity_weight.shape == (span, 768)
    assert model.relation_weight.shape == (pair, 768)
    assert model.memory.entity.shape == (5, 768)
    assert model.memory.relation.shape == (5, 768)
    assert model.span_width.weight.shape == (10, 25)


def test_dropout_stands_before_both_classifiers(build_model: Any, build_inputs: Any) -> None:
    model, inputs = build_model(configured({"dropout": 0.5})), build_inputs([3])
    assert all(torch.equal(one, two) for one, two in zip(model(inputs, 2)[:2], model(inputs, 2)[:2], strict=True))
    model.train()
    seen: list[torch.Tensor] = []
    model.dropout.register_forward_hook(lambda _, __, output: seen.append(output))
    model(inputs, 2)
    assert [vectors.shape[-1] for vectors in seen] == [model.span_size, model.pair_size]
    assert all((vectors == 0).any() for vectors in seen)

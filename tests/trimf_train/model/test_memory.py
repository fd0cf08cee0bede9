"""Reads of the memories, their flow into tokens, and the step that writes them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from trimf_train.config import Config, FlowConfig, FlowSwitches, ModelConfig, SyntaxConfig
from trimf_train.model.flow import MemoryFlow
from trimf_train.model.memory import Memory, inverse_read_weights, masked_softmax, new_bilinear_weight, read_memory
from trimf_train.model.trigger import TriggerSensor
from trimf_train.training.optimizer import build_optimizers, build_schedules, freeze_parameters

SEEDS = st.integers(0, 10_000)


def strong_memory(entities: int, relations: int, width: int) -> Memory:
    memory = Memory(entities, relations, width)
    with torch.no_grad():
        memory.entity.normal_()
        memory.relation.normal_()
    return memory


def test_slots_are_drawn_small_and_none_is_the_first_entity_slot() -> None:
    torch.manual_seed(0)
    memory = Memory(40, 50, 100)
    assert memory.entity.shape == (41, 100)
    assert memory.relation.shape == (50, 100)
    assert memory.entity.std().item() == pytest.approx(0.02, rel=0.05)
    assert memory.relation.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(memory.flow_slots("entity", True), memory.entity[1:])
    assert torch.equal(memory.flow_slots("relation", True), memory.relation)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, states=st.integers(0, 4), slots=st.integers(1, 4), width=st.integers(1, 5), other=st.integers(1, 5))
def test_normal_read(equations: Any, seed: int, states: int, slots: int, width: int, other: int) -> None:
    torch.manual_seed(seed)
    vectors, weight, memory = torch.randn(states, width), torch.randn(width, other), torch.randn(slots, other)
    read = read_memory(vectors, weight, memory)
    assert read.shape == (states, other)
    for vector, result in zip(vectors.double(), read, strict=True):
        expected = equations.read(vector, weight.double(), memory.double())
        torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    slots=st.integers(1, 4),
    pad=st.booleans(),
    combine=st.sampled_from(["mean", "sum"]),
)
def test_inverse_weights(equations: Any, seed: int, lengths: list[int], slots: int, pad: bool, combine: str) -> None:
    torch.manual_seed(seed)
    size = max(1, *lengths) + pad
    states, weight, memory = torch.randn(len(lengths), size, 4), torch.randn(4, 4), torch.randn(slots, 4)
    mask = torch.arange(size) < torch.tensor(lengths).unsqueeze(1)
    total = slots if combine == "sum" else 1
    weights = inverse_read_weights(states, weight, memory, mask, mean=combine == "mean")
    for row, length in enumerate(lengths):
        expected = equations.inverse(list(states[row, :length].double()), weight.double(), memory.double(), combine)
        assert weights[row].tolist() == pytest.approx([*expected, *[0.0] * (size - length)], abs=1e-5)
        assert weights[row].sum().item() == pytest.approx(total if length else 0, abs=1e-5)


def test_the_none_slot_does_not_flow() -> None:
    torch.manual_seed(0)
    memory = strong_memory(2, 2, 4)
    flow = MemoryFlow(4, FlowSwitches(), FlowConfig(), True)
    states, mask = torch.randn(1, 3, 4), torch.ones(1, 3, dtype=torch.bool)
    before = flow(states, mask, memory)
    before.square().sum().backward()
    assert not memory.entity.grad[0].any()
    assert memory.entity.grad[1:].abs().sum() > 0
    with torch.no_grad():
        memory.entity[0] = 100.0
    assert torch.equal(flow(states, mask, memory), before)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    entity=st.booleans(),
    relation=st.booleans(),
    config=st.builds(
        FlowConfig, residual=st.sampled_from(["add", "mean", "none"]), slots=st.sampled_from(["mean", "sum"])
    ),
)
def test_flow(equations: Any, seed: int, lengths: list[int], entity: bool, relation: bool, config: FlowConfig) -> None:
    torch.manual_seed(seed)
    size = max(lengths) + 1
    memory = strong_memory(2, 3, 4)
    flow = MemoryFlow(4, FlowSwitches(entity=entity, relation=relation), config, True)
    assert set(flow.weights) == {name for name, on in (("entity", entity), ("relation", relation)) if on}
    states = torch.randn(len(lengths), size, 4)
    mask = torch.arange(size) < torch.tensor(lengths).unsqueeze(1)
    result = flow(states, mask, memory)
    assert result.isfinite().all()
    memories = [
        (weight.detach().double(), memory.flow_slots(name, True).detach().double())
        for name, weight in flow.weights.items()
    ]
    for row, length in enumerate(lengths):
        expected = equations.flow(list(states[row, :length].double()), memories, config)
        for place, vector in enumerate(expected):
            torch.testing.assert_close(result[row, place].detach().double(), vector, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("residual", ["add", "mean", "none"])
@pytest.mark.parametrize("words", [1, 2, 300])
def test_the_size_of_the_states_does_not_depend_on_the_number_of_types(residual: str, words: int) -> None:
    torch.manual_seed(0)
    states, mask = torch.randn(1, words, 4), torch.ones(1, words, dtype=torch.bool)
    for slots in (1, 40, 2000):
        flow = MemoryFlow(4, FlowSwitches(), FlowConfig(residual=residual), True)
        factors = flow.scale_factors(flow.attention_weights(states, mask, strong_memory(slots, slots, 4)))
        assert isinstance(factors, torch.Tensor)
        most = {"add": 3.0, "mean": 1.0, "none": 1.0}[residual]
        assert factors.max().item() <= most + 1e-4
        if words == 1:
            assert factors.item() == pytest.approx(most, abs=1e-4)


def test_a_memory_without_slots_does_not_flow() -> None:
    flow = MemoryFlow(4, FlowSwitches(), FlowConfig(residual="add"), True)
    states, mask = torch.randn(1, 2, 4), torch.ones(1, 2, dtype=torch.bool)
    torch.testing.assert_close(flow(states, mask, Memory(0, 0, 4)), states)


def test_padding_does_not_flow() -> None:
    torch.manual_seed(0)
    memory, flow = strong_memory(2, 2, 4), MemoryFlow(4, FlowSwitches(), FlowConfig(residual="none"), True)
    states = torch.randn(2, 5, 4)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    other = states.clone()
    other[1, 2:] = 1e4
    assert torch.equal(flow(states, mask, memory)[1, :2], flow(other, mask, memory)[1, :2])
    alone = flow(states[1:, :2], mask[1:, :2], memory)
    torch.testing.assert_close(alone[0], flow(states, mask, memory)[1, :2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_softmax_of_nothing_is_zeros(dtype: torch.dtype) -> None:
    scores = torch.tensor([[3.0, 1.0], [60000.0, -60000.0]], dtype=dtype)
    assert masked_softmax(scores, torch.zeros(2, 2, dtype=torch.bool)).tolist() == [[0, 0], [0, 0]]
    half = masked_softmax(scores, torch.tensor([[True, False], [False, True]]))
    assert half[0].tolist() == [1, 0]
    assert half.isfinite().all()


@pytest.mark.parametrize("gradient", [True, False])
def test_gradient_through_a_flow_can_be_cut(gradient: bool) -> None:
    torch.manual_seed(0)
    memory, flow = strong_memory(2, 2, 4), MemoryFlow(4, FlowSwitches(), FlowConfig(), gradient)
    states = torch.randn(2, 3, 4, requires_grad=True)
    flow(states, torch.ones(2, 3, dtype=torch.bool), memory).square().sum().backward()
    assert states.grad is not None
    assert all(weight.grad.abs().sum() > 0 for weight in flow.weights.values())
    if gradient:
        assert memory.relation.grad.abs().sum() > 0
        assert memory.entity.grad.abs().sum() > 0
    else:
        assert memory.relation.grad is None
        assert memory.entity.grad is None


@pytest.mark.parametrize("gradient", [True, False])
def test_gradient_through_the_trigger_sensor_can_be_cut(gradient: bool) -> None:
    torch.manual_seed(0)
    memory, sensor = strong_memory(2, 2, 4), TriggerSensor(4, gradient)
    words = torch.randn(3, 5, 4)
    context, _ = sensor(torch.randn(3, 4), torch.randn(3, 4), words, torch.ones(3, 5, dtype=torch.bool), memory)
    context.square().sum().backward()
    assert sensor.weight.grad.abs().sum() > 0
    assert memory.entity.grad is None
    assert (memory.relation.grad is not None) == gradient
    if gradient:
        assert memory.relation.grad.abs().sum() > 0


@pytest.mark.parametrize("path", ["subword_flow", "word_flow", "trigger"])
def test_each_path_of_gradient_has_a_switch_of_its_own(build_model: Any, build_inputs: Any, path: str) -> None:
    """With one path open, memory learns exactly what it learns with all open less what the others alone bring."""
    inputs = build_inputs([3, 4])

    def grown(**switches: bool) -> torch.Tensor:
        config = msgspec.convert({"memory": {"gradient": switches}}, ModelConfig)
        model = build_model(config)
        entity, relation, *_ = model(inputs, 2)
        (entity.square().sum() + relation.square().sum()).backward()
        return model.memory.relation.grad

    names = ("subword_flow", "word_flow", "trigger")
    nothing = grown(**dict.fromkeys(names, False))
    only = grown(**{name: name == path for name in names})
    without = grown(**{name: name != path for name in names})
    everything = grown(**dict.fromkeys(names, True))
    assert (only - nothing).abs().max() > 1e-6
    torch.testing.assert_close(everything - without, only - nothing, atol=1e-4, rtol=1e-3)


def config_with(**tables: Any) -> Config:
    values = {"data": {"train": ["x"]}, "output": "y", **tables}
    return msgspec.convert(values, Config)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_write_is_one_step_of_gradient_descent(build_model: Any, build_inputs: Any, stage: int) -> None:
    """(5)-(8): slot -= lr * sum over samples of (E W) dL/dlogit."""
    cut = {"subword_flow": False, "word_flow": False, "trigger": False}
    memory = {"write": "sgd", "sgd_lr": 0.3, "gradient": cut}
    config = config_with(model={"memory": memory, "span": {"max_width": 3}, "dropout": 0})
    model, inputs = build_model(config.model), build_inputs([3, 4])
    chosen = build_optimizers(model, config)
    assert len(chosen) == 2
    held = {id(parameter) for group in chosen[0].param_groups for parameter in group["params"]}
    assert not held & {id(slot) for slot in model.memory.parameters()}

    seen: dict[str, torch.Tensor] = {}
    weights = {"entity": model.entity_weight, "relation": model.relation_weight}
    sizes = {"entity": model.span_size, "relation": model.pair_size}
    model.dropout.register_forward_hook(
        lambda _, __, output: seen.__setitem__(
            next(name for name, size in sizes.items() if size == output.shape[-1]), output.detach()
        )
    )
    entity, relation, *_ = model(inputs, stage)
    types = torch.randint(0, entity.shape[1], (len(entity),))
    targets = (torch.rand(relation.shape) < 0.3).float()
    loss = functional.cross_entropy(entity, types) + functional.binary_cross_entropy_with_logits(relation, targets)
    loss.backward()
    before = {"entity": model.memory.entity.detach().clone(), "relation": model.memory.relation.detach().clone()}
    chosen[1].step()
    change = {
        "entity": (torch.softmax(entity, -1) - functional.one_hot(types, entity.shape[1])) / len(entity),
        "relation": (torch.sigmoid(relation) - targets) / relation.numel(),
    }
    for name, slots in before.items():
        expected = slots.clone()
        for vector, slope in zip(seen[name], change[name].detach(), strict=True):
            for slot in range(len(slots)):
                expected[slot] -= 0.3 * slope[slot] * (vector @ weights[name].detach())
        assert not torch.equal(expected, slots)
        torch.testing.assert_close(getattr(model.memory, name).detach(), expected, atol=1e-5, rtol=1e-4)


def test_adam_holds_every_parameter_once_in_its_group(build_model: Any) -> None:
    config = config_with(train={"lr": 1e-5, "head_lr": 1e-3, "weight_decay": 0.1}, model={"memory": {"write": "adam"}})
    model = build_model(config.model)
    (adam,) = build_optimizers(model, config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in adam.param_groups:
        for parameter in group["params"]:
            name = names.pop(id(parameter))
            found[name] = group["lr"], group["weight_decay"]
    assert not names
    assert found["encoder.table.weight"] == (1e-5, 0.1)
    assert found["entity_weight"] == (1e-3, 0.1)
    assert found["memory.entity"] == found["memory.relation"] == (1e-3, 0.0)


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0.1), (10, 0.5), (5, 0.0), (1, 1.0), (3, 1.0)])
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(steps: int, warmup: float) -> None:
    parameter = new_bilinear_weight(2, 2)
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    (schedule,) = build_schedules([optimizer], [steps], warmup)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(2.0)
    assert peak <= max(1, round(steps * warmup))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0
    assert warmup == 1 or schedule.get_last_lr()[0] == 0


def test_every_part_has_a_rise_and_a_fall_of_its_own() -> None:
    parameter = new_bilinear_weight(2, 2)
    alone, after = (torch.optim.SGD([parameter], lr=2.0) for _ in range(2))
    rates = []
    for optimizer, parts in ((alone, [0, 10]), (after, [4, 10])):
        (schedule,) = build_schedules([optimizer], parts, 0.2)
        rates.append([])
        for _ in range(sum(parts)):
            rates[-1].append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
    assert rates[1][4:] == rates[0]
    assert rates[1][:4] == pytest.approx([2.0, 2.0, 4 / 3, 2 / 3])


@pytest.mark.parametrize("frozen", [False, True])
def test_the_first_of_three_stages_learns_to_parse_alone(build_model: Any, frozen: bool) -> None:
    model = build_model(ModelConfig(syntax=SyntaxConfig(source="encoder")))
    freeze_parameters(model, 0, frozen)
    learning = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == ({"parser"} if frozen else {"encoder", "parser"})


@pytest.mark.parametrize(("stage", "frozen"), [(1, False), (1, True), (2, False), (2, True)])
def test_what_a_stage_learns(build_model: Any, stage: int, frozen: bool) -> None:
    model = build_model(ModelConfig())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    freeze_parameters(model, stage, frozen)
    for name, parameter in model.named_parameters():
        still = (stage == 1 and name.split(".")[0] in ("subword_flow", "word_flow", "trigger")) or (
            frozen and name.startswith("encoder.")
        )
        assert parameter.requires_grad == (not still)
        assert (parameter.grad is None) == still


def test_the_pretrained_encoder_has_a_rate_of_its_own(create: Any) -> None:
    config = config_with(train={"lr": 1e-4, "head_lr": 1e-3})
    model = create(encoder={"casing": True}).model
    (adam,) = build_optimizers(model, config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(one)]: group["lr"] for group in adam.param_groups for one in group["params"]}
    assert rates["encoder.encoder.layer.1.output.dense.weight"] == 1e-4
    assert rates["encoder.encoder.layer.0.output.dense.bias"] == 1e-4
    assert rates["encoder.embeddings.word_embeddings.weight"] == 1e-4
    assert rates["encoder.embeddings.LayerNorm.weight"] == 1e-4
    assert rates["encoder.embeddings.word_embeddings.casing"] == rates["entity_weight"] == 1e-3

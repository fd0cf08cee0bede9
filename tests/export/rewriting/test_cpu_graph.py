"""Graphs rewritten for CPUs: what they compute, and what they are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from support.encoders import FAMILIES

from trimf.export import quantize as quantizing
from trimf.export.half_precision import count_matmuls_by_dtype
from trimf.export.onnx_conversion import convert_to_onnx, create_example_inputs
from trimf.export.quantize import quantize_matmuls
from trimf.export.rewriting.cpu_graph import rewrite_for_cpu
from trimf.export.rewriting.graph_editor import infer_tensors
from trimf.export.subgraphs import build_subgraphs
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.onnx_cpu import SLOW_FUSIONS, OnnxCpuBackend
from trimf.runtime.engine.onnxruntime_library import onnxruntime

LAYERS = 2

Graphs = Callable[[str], tuple[onnx.ModelProto, onnx.ModelProto]]


@pytest.fixture(scope="module")
def calibration(sentence_arrays: Any, chain: Any, traced: Any) -> Callable[[str], dict[str, list[Any]]]:
    def build(family: str) -> dict[str, list[Any]]:
        calls = [chain(traced(family), sentence_arrays(1, 3 + 4 * place, 30, seed=place))[1] for place in range(6)]
        return {name: [one[name] for one in calls] for name in SUBGRAPHS}

    return build


@pytest.fixture(scope="module")
def graphs(traced: Any, parsing_traced: Any, calibration: Any) -> Graphs:
    """The int8 encoder of a family, or that of a model with a parser, before and after it is rewritten."""
    made: dict[str, tuple[onnx.ModelProto, onnx.ModelProto]] = {}

    def build(name: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        if name not in made:
            family = "bert" if name == "parser" else name
            exact = (parsing_traced if name == "parser" else traced(family))["encoder"]
            quantized, _ = quantize_matmuls(exact, calibration(family)["encoder"], precision="int8", data="x")
            made[name] = quantized, rewrite_for_cpu(quantized)
        return made[name]

    return build


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


every_encoder = pytest.mark.parametrize("name", [*FAMILIES, "parser"])


@every_encoder
def test_every_layer_is_a_few_nodes(graphs: Graphs, name: str) -> None:
    before, after = graphs(name)
    onnx.checker.check_model(after)
    found = operators(after)
    assert not found.keys() & {"Erf", "SkipLayerNormalization", "DequantizeLinear"}
    assert found["MultiHeadAttention"] == found["Gelu"] == LAYERS
    assert found["MatMulIntegerToFloat"] == count_matmuls_by_dtype(before).int8
    products = {node.output[0] for node in after.graph.node if node.op_type == "MatMulIntegerToFloat"}
    constants = {tensor.name for tensor in after.graph.initializer}
    for node in after.graph.node:
        if node.op_type == "Add":  # that of a residual only
            assert not (products & set(node.input) and constants & set(node.input)), node.name
    # A layer quantizes once for queries, keys and values, and no factor is left before the product after attention.
    attended = {node.output[0] for node in after.graph.node if node.op_type == "MultiHeadAttention"}
    assert attended <= {node.input[0] for node in after.graph.node if node.op_type == "QuantizeLinear"}
    assert found["QuantizeLinear"] == operators(before)["QuantizeLinear"]
    assert len(after.graph.node) < 0.6 * len(before.graph.node)


@every_encoder
def test_inputs_outputs_and_products_keep_their_names(graphs: Graphs, name: str) -> None:
    before, after = graphs(name)
    for part in ("input", "output"):
        assert list(getattr(before.graph, part)) == list(getattr(after.graph, part))
    quantized = {
        node.name
        for node in before.graph.node
        if node.op_type == "MatMul" and all("DequantizeLinear" in given for given in node.input)
    }
    assert quantized == {node.name for node in after.graph.node if node.op_type == "MatMulIntegerToFloat"}
    names = [name for node in after.graph.node for name in node.output]
    names += [tensor.name for tensor in (*after.graph.initializer, *after.graph.input)]
    assert len(set(names)) == len(names)
    known = infer_tensors(after)
    assert all(name in known for node in after.graph.node for name in node.output if node.domain)
    assert count_matmuls_by_dtype(after) == count_matmuls_by_dtype(before)


@every_encoder
def test_the_input_stays_as_it_was_and_the_result_is_the_same_each_time(graphs: Graphs, name: str) -> None:
    before, after = graphs(name)
    content = before.SerializeToString(deterministic=True)
    again = rewrite_for_cpu(before)
    assert before.SerializeToString(deterministic=True) == content
    assert again.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)
    assert rewrite_for_cpu(after).SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)


shapes = st.tuples(
    st.integers(1, 4), st.sampled_from([1, 2, 3, 7, 16, 31, 38]), st.integers(1, 9), st.integers(0, 2**20)
)


def build_arrays(shape: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
    """Sentences of any length up to a number of subwords; some rows are all padding."""
    batch, subwords, words, seed = shape
    random = np.random.default_rng(seed)
    lengths = random.integers(0, subwords + 1, (batch, 1))
    mask = (np.arange(subwords) < lengths).astype(np.int64)
    ids = np.where(mask == 1, random.integers(5, 30, (batch, subwords)), 1)
    pieces = random.integers(0, np.maximum(lengths, 1)[:, :, None], (batch, words, 2))
    return {"input_ids": ids, "attention_mask": mask, "pieces": pieces}


def distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(left.astype(np.float64) - right) / max(1e-9, np.linalg.norm(right)))


@every_encoder
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes)
def test_it_computes_the_same_but_for_rounding(
    graphs: Graphs, run: Any, name: str, shape: tuple[int, int, int, int]
) -> None:
    """A value between two steps of int8 may be rounded to the other one, hence the limit."""
    before, after = graphs(name)
    arrays = build_arrays(shape)
    expected, actual = run(before, arrays), run(after, arrays)
    for output in ("words", "cls"):
        assert np.isfinite(actual[output]).all()
        assert distance(actual[output], expected[output]) < 0.01, output


@every_encoder
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes)
def test_a_row_does_not_depend_on_its_batch_or_padding(
    graphs: Graphs, run: Any, name: str, shape: tuple[int, int, int, int]
) -> None:
    after = graphs(name)[1]
    arrays = build_arrays(shape)
    together = run(after, arrays)
    for row in range(len(arrays["input_ids"])):
        length = int(arrays["attention_mask"][row].sum())
        if not length:
            continue
        alone = {key: value[row : row + 1] for key, value in arrays.items()}
        alone |= {key: alone[key][:, :length] for key in ("input_ids", "attention_mask")}
        for output, value in run(after, alone).items():
            if output in ("words", "cls"):
                assert distance(value[0], together[output][row]) < 0.01, (row, output)


@every_encoder
def test_the_session_makes_no_slow_node(graphs: Graphs, name: str, tmp_path: Any) -> None:
    made = tmp_path / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(made)
    options.add_session_config_entry("optimization.disable_specified_optimizers", SLOW_FUSIONS)
    onnxruntime.InferenceSession(graphs(name)[1].SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = operators(onnx.load(made))
    assert "SkipLayerNormalization" not in found
    assert found["MultiHeadAttention"] == found["Gelu"] == LAYERS


def test_what_explanations_need_stays(tiny_checkpoint: Any, calibration: Any, run: Any) -> None:
    model = tiny_checkpoint.model
    model.encoder.set_attn_implementation("eager")
    examples = create_example_inputs(model.width, torch.Generator().manual_seed(0))
    exact = convert_to_onnx(build_subgraphs(model.eval(), 2, True)["encoder"], examples)
    before, _ = quantize_matmuls(exact, calibration("bert")["encoder"], precision="int8", data="x")
    after = rewrite_for_cpu(before)
    assert operators(after)["MultiHeadAttention"] == LAYERS
    arrays = build_arrays((3, 16, 5, 1))
    expected, actual = run(before, arrays), run(after, arrays)
    assert {"subword_flow", "word_flow"} <= actual.keys()
    for output, value in actual.items():
        assert distance(value, expected[output]) < 0.01, output


def test_other_graphs_of_a_bundle_are_rewritten_where_they_match(traced: Any, calibration: Any, run: Any) -> None:
    inputs = calibration("bert")["fusion"]
    quantized, _ = quantize_matmuls(traced("bert")["fusion"], inputs, precision="int8", data="x")
    heard: list[str] = []
    after = rewrite_for_cpu(quantized, heard.append)
    assert operators(after)["MatMulIntegerToFloat"] == count_matmuls_by_dtype(quantized).int8 > 0
    assert len(heard) == 1
    for arrays in inputs:
        assert distance(run(after, arrays)["nodes"], run(quantized, arrays)["nodes"]) < 0.01
    relations = traced("bert")["relations"]
    assert rewrite_for_cpu(relations, heard.append) is relations
    assert len(heard) == 1


def test_a_bundle_can_be_rewritten_from_its_own_files(run: Any) -> None:
    """The bundle that ships, whether or not it already was rewritten."""
    bundle = Bundle("default")
    model = onnx.load_from_string(bundle.read("encoder.onnx"))
    after = rewrite_for_cpu(model)
    found = operators(after)
    assert (found["MultiHeadAttention"], found["Gelu"], found["Erf"]) == (6, 6, 0)
    assert found["MatMulIntegerToFloat"] == bundle.manifest.products["encoder"].int8
    assert count_matmuls_by_dtype(after) == bundle.manifest.products["encoder"]
    before, rewritten = (OnnxCpuBackend(1).load("encoder", one.SerializeToString()) for one in (model, after))
    random = np.random.default_rng(0)
    for batch, subwords in ((1, 3), (2, 17), (2, 60)):
        arrays = {
            "input_ids": random.integers(1000, 20000, (batch, subwords)),
            "attention_mask": np.ones((batch, subwords), np.int64),
            "pieces": random.integers(1, subwords, (batch, subwords, 2)),
        }
        arrays["attention_mask"][-1, subwords // 2 + 1 :] = 0
        expected, actual = before.run(arrays), rewritten.run(arrays)
        assert distance(actual["words"], expected["words"]) < 0.05  # the limit of quantization itself
        assert (actual["heads"] == expected["heads"]).mean() > 0.95


def test_what_does_not_match_stays_and_is_counted(graphs: Graphs, run: Any) -> None:
    before = onnx.ModelProto()
    before.CopyFrom(graphs("bert")[0])
    erf = next(node for node in before.graph.node if node.op_type == "Erf")
    erf.op_type = "Tanh"  # another activation than GELU
    softmax = next(node for node in before.graph.node if node.op_type == "Softmax")
    place = list(before.graph.node).index(softmax)
    extra = helper.make_node("Abs", [softmax.input[0]], [f"{softmax.input[0]}.abs"], "abs")
    before.graph.node.insert(place, extra)
    softmax = next(node for node in before.graph.node if node.op_type == "Softmax")
    softmax.input[0] = extra.output[0]
    heard: list[str] = []
    after = rewrite_for_cpu(before, heard.append)
    assert operators(after)["MultiHeadAttention"] == operators(after)["Gelu"] == LAYERS - 1
    total = count_matmuls_by_dtype(before).int8
    assert heard[0].startswith(
        f"rewritten for CPUs: {total} of {total} int8 products, {LAYERS - 1} of {LAYERS} attentions, 1 of 1 GELUs"
    )
    arrays = build_arrays((3, 16, 5, 1))
    assert distance(run(after, arrays)["words"], run(before, arrays)["words"]) < 0.01


def test_products_that_stay_unquantized_are_left_alone(
    traced: Any, calibration: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(quantizing.ERROR_BUDGETS, "int8", 0.001)
    inputs = calibration("bert")["encoder"]
    before, report = quantize_matmuls(traced("bert")["encoder"], inputs, precision="int8", data="x")
    assert 0 < len(report.kept) < report.quantized + len(report.kept)
    after = rewrite_for_cpu(before)
    assert operators(after)["MatMulIntegerToFloat"] == report.quantized
    assert count_matmuls_by_dtype(after) == count_matmuls_by_dtype(before)
    for arrays in inputs:
        assert distance(run(after, arrays)["words"], run(before, arrays)["words"]) < 0.01


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**20),
    rows=st.integers(1, 6),
    has_bias=st.booleans(),
    shared=st.booleans(),
    symmetric=st.booleans(),
)
def test_a_product_and_its_factor_by_hand(
    run: Any, seed: int, rows: int, has_bias: bool, shared: bool, symmetric: bool
) -> None:
    """``LeakyRelu(x W + b) s`` against numpy, where others read the product, its bias, or neither."""
    random = np.random.default_rng(seed)
    weight = random.integers(-127, 128, (6, 5)).astype(np.int8)
    scale = random.uniform(0.01, 0.1, 5).astype(np.float32)
    bias, factor = random.normal(size=5).astype(np.float32), random.uniform(0.1, 4, 5).astype(np.float32)
    zero = np.array(0 if symmetric else random.integers(0, 256), np.int8 if symmetric else np.uint8)
    step = np.float32(0.05)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["weight", "scale", "zeros"], ["w"], axis=1),
        helper.make_node("MatMul", ["rounded", "w"], ["product"], "product"),
        helper.make_node("Add", ["bias", "product"], ["sum"]),
        helper.make_node("LeakyRelu", ["sum" if has_bias else "product"], ["y"], alpha=0.1),
        helper.make_node("Mul", ["factor", "y"], ["scaled"]),
        helper.make_node("Neg", ["y" if shared else "scaled"], ["negative"]),
        helper.make_node("Add", ["negative", "scaled"], ["z"]),
    ]
    values = {"weight": weight, "scale": scale, "zeros": np.zeros(5, np.int8), "bias": bias, "factor": factor}
    values |= {"step": np.array(step), "zero": zero}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "product",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 6])],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 5]) for name in ("z", "scaled")],
            [numpy_helper.from_array(value, name) for name, value in values.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    after = rewrite_for_cpu(model)
    assert operators(after)["MatMulIntegerToFloat"] == 1
    assert operators(after)["MatMul"] == 0
    x = random.normal(size=(rows, 6)).astype(np.float32)
    low, high = (-128, 127) if symmetric else (0, 255)
    codes = np.clip(np.rint(x / step) + zero.astype(int), low, high) - zero.astype(int)
    product = (codes * step) @ (weight * scale) + (bias if has_bias else 0)
    y = np.where(product < 0, 0.1 * product, product)
    result = run(after, {"x": x})
    np.testing.assert_allclose(result["scaled"], y * factor, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result["z"], y * factor - (y if shared else y * factor), rtol=1e-3, atol=1e-3)

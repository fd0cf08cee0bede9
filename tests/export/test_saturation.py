"""int8 weights whose products with unsigned bytes fit into the 16 bits of CPUs without VNNI."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper, numpy_helper

from trimf.export.quantize import merge_reports, quantize_matmuls
from trimf.export.saturation import MAX_PAIR_SUM, can_saturate, limit_pair_sums, measure_pair_sums
from trimf.runtime.engine.onnx_cpu import make_session_options

weights = st.integers(1, 9).flatmap(
    lambda rows: arrays(np.float32, (rows, 3), elements=st.floats(-100, 100, width=32, allow_subnormal=False))
)


def build_product(weight: np.ndarray) -> onnx.ModelProto:
    """``words = x weight`` in fp32."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["words"], "product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["n", columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def quantize_product(weight: np.ndarray) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """Return the product with a step of a column's largest weight / 127, as the quantizer makes it."""
    step = np.maximum(np.abs(weight).max(0) / 127, 1e-6).astype(np.float32)
    codes = np.clip(np.rint(weight / step), -127, 127).astype(np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "x.scale", "x.zero"], ["x.codes"]),
            helper.make_node("DequantizeLinear", ["x.codes", "x.scale", "x.zero"], ["x.rounded"]),
            helper.make_node("DequantizeLinear", ["w.codes", "w.scale", "w.zero"], ["w.rounded"], axis=1),
            helper.make_node("MatMul", ["x.rounded", "w.rounded"], ["words"], "product"),
        ],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weight.shape[0]])],
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [
            numpy_helper.from_array(np.float32(1), "x.scale"),
            numpy_helper.from_array(np.uint8(0), "x.zero"),
            numpy_helper.from_array(codes, "w.codes"),
            numpy_helper.from_array(step, "w.scale"),
            numpy_helper.from_array(np.zeros(weight.shape[1], np.int8), "w.zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model, codes, step


def read_weight(model: onnx.ModelProto) -> tuple[np.ndarray, np.ndarray]:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return values["w.codes"], values["w.scale"]


def multiply_as_vpmaddubsw(activations: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Multiply as x86 CPUs without VNNI do: two neighbouring products are added in 16 bits, with saturation."""
    total = np.zeros((len(activations), codes.shape[1]), np.int64)
    for row in range(0, len(codes), 2):
        pair = activations[:, row : row + 2].astype(np.int64) @ codes[row : row + 2].astype(np.int64)
        total += np.clip(pair, -(2**15), 2**15 - 1)
    return total


@given(weight=weights, seed=st.integers(0, 1000))
def test_limited_weights_never_saturate(weight: np.ndarray, seed: int) -> None:
    model = limit_pair_sums(quantize_product(weight)[0], build_product(weight))
    codes, _ = read_weight(model)
    assert not can_saturate(model)
    activations = np.random.default_rng(seed).choice([0, 1, 254, 255], (50, len(weight))).astype(np.uint8)
    exact = activations.astype(np.int64) @ codes.astype(np.int64)
    np.testing.assert_array_equal(multiply_as_vpmaddubsw(activations, codes), exact)


@given(weight=weights)
def test_a_graph_that_may_saturate_does_for_some_activations(weight: np.ndarray) -> None:
    """The bound is no looser than it must be: 129 * 255 does not fit."""
    model, codes, _ = quantize_product(weight)
    signs = [np.repeat((part > 0) * np.uint8(255), 1, 0).T for part in (codes, -codes.astype(int))]
    saturates = any(
        (multiply_as_vpmaddubsw(part, codes) != part.astype(np.int64) @ codes.astype(np.int64)).any() for part in signs
    )
    assert can_saturate(model) == saturates


@given(weight=weights)
def test_limited_weights_are_off_by_half_a_step(weight: np.ndarray) -> None:
    model, codes, step = quantize_product(weight)
    limited, wider = read_weight(limit_pair_sums(model, build_product(weight)))
    assert (wider >= step).all()
    assert (wider <= step * 2.02).all()
    assert (np.abs(limited * wider.astype(np.float64) - weight) <= 0.501 * wider).all()
    np.testing.assert_array_equal(limited[:, wider == step], codes[:, wider == step])
    assert np.abs(limited.astype(int)).max() <= 127


def test_pairs_are_of_rows_2k_and_2k_plus_1() -> None:
    weight = np.array([[1, -100], [100, 100], [100, -20], [-100, -30], [7, -9]])
    np.testing.assert_array_equal(measure_pair_sums(weight), [101, 100])
    np.testing.assert_array_equal(measure_pair_sums(weight[1:]), [200, 100])
    np.testing.assert_array_equal(measure_pair_sums(np.stack([weight, -weight])), [[101, 100]] * 2)
    np.testing.assert_array_equal(measure_pair_sums(np.array([[5], [MAX_PAIR_SUM]])), [133])


def test_only_unsigned_activations_limit_weights() -> None:
    weight = np.full((6, 4), 3, np.float32)
    inputs = [{"x": np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)}]
    limited, report = quantize_matmuls(build_product(weight), inputs, precision="int8", data="x")
    assert not report.saturates
    assert not can_saturate(limited)
    symmetric, other = quantize_matmuls(build_product(weight), inputs, precision="int8-qdq", data="x")
    assert other.saturates
    assert can_saturate(symmetric)
    assert merge_reports({"a": report, "b": other}).saturates
    assert not merge_reports({"a": report, "b": report}).saturates


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.sampled_from([1, 3, 30]))
def test_the_fast_mode_is_the_exact_mode(seed: int, rows: int) -> None:
    """On this CPU, in ONNX Runtime, with the largest activations and weights."""
    random = np.random.default_rng(seed)
    weight = random.choice([-9, 9, 8.5, 1], (50, 40), p=[0.3, 0.5, 0.1, 0.1]).astype(np.float32)
    model = limit_pair_sums(quantize_product(weight)[0], build_product(weight)).SerializeToString()
    activations = {"x": random.choice([255, 254, 0], (rows, 50), p=[0.8, 0.1, 0.1]).astype(np.float32)}
    fast, exact = make_session_options(1, saturates=False), onnxruntime.SessionOptions()
    exact.add_session_config_entry("session.x64quantprecision", "1")
    outputs = []
    for options in (fast, exact):
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, activations)[0])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5)


@pytest.mark.parametrize("dims", [(4,), (2, 4, 3)])
def test_other_weights_are_left_and_reported(dims: tuple[int, ...]) -> None:
    """Weights with another number of axes keep their codes."""
    model, _, _ = quantize_product(np.full((4, 3), 5, np.float32))
    codes = np.full(dims, 127, np.int8)
    next(tensor for tensor in model.graph.initializer if tensor.name == "w.codes").CopyFrom(
        numpy_helper.from_array(codes, "w.codes")
    )
    np.testing.assert_array_equal(
        read_weight(limit_pair_sums(model, build_product(np.ones((4, 3), np.float32))))[0], codes
    )
    assert can_saturate(model)

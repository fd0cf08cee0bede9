"""Ranges of tensors against numpy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from trimf.export.activation_ranges import ActivationRange, find_matmul_nodes, measure_ranges

TABLE = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """``high = relu(x table)``, ``total`` its sum over the last axis, ``square`` the product of ``x`` with itself."""
    made = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "table"], ["product"], "by table"),
            helper.make_node("Relu", ["product"], ["high"]),
            helper.make_node("ReduceSum", ["high", "last"], ["total"], keepdims=0),
            helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "turned"], ["square"], "by itself"),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("total", "square")],
        [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([-1]), "last")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99), channels=st.booleans())
def test_equal_to_numpy(model: onnx.ModelProto, sizes: list[int], seed: int, channels: bool) -> None:
    random = np.random.default_rng(seed)
    batches = [random.standard_normal((size, 3)).astype(np.float32) for size in sizes]
    found = measure_ranges(
        model, ["product", "high"], [{"x": x, "other": np.ones(1)} for x in batches], per_channel=channels
    )
    if not any(sizes):
        assert not found
        return
    product = np.concatenate(batches) @ TABLE
    for name, value in (("product", product), ("high", np.maximum(product, 0))):
        axis = 0 if channels else None
        np.testing.assert_allclose(found[name].low, value.min(axis), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[name].high, value.max(axis), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[name].max_abs, np.abs(value).max(axis), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[name].over_channels, (value.min(), value.max()), rtol=1e-4, atol=1e-5)


def test_an_output_of_the_graph_and_any_number_of_axes(model: onnx.ModelProto) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = measure_ranges(model, ["total", "square"], [{"x": x}])
    assert found["square"] == ActivationRange(5, 50)
    np.testing.assert_allclose(found["total"].high, np.maximum(x @ TABLE, 0).sum(-1).max(), rtol=1e-5)


def test_what_had_no_value_is_absent(model: onnx.ModelProto) -> None:
    assert measure_ranges(model, ["high"], []) == {}
    assert measure_ranges(model, ["high"], [{"x": np.zeros((0, 3), np.float32)}]) == {}
    assert measure_ranges(model, [], [{"x": np.zeros((1, 3), np.float32)}]) == {}


def test_the_model_is_left_as_it_was(model: onnx.ModelProto) -> None:
    before = model.SerializeToString(deterministic=True)
    measure_ranges(model, ["high", "high"], [{"x": np.ones((1, 3), np.float32)}])
    assert model.SerializeToString(deterministic=True) == before


def test_products(model: onnx.ModelProto) -> None:
    assert [node.name for node in find_matmul_nodes(model)] == ["by table", "by itself"]
    assert [node.name for node in find_matmul_nodes(model, weights_only=True)] == ["by table"]

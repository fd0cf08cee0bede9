"""GELU in the orders that exporters write, and in the one that engines fuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from support.encoders import FAMILIES

from trimf.export.activation_ranges import open_session
from trimf.export.half_precision import convert_to_half
from trimf.export.rewriting.gelu import count_gelus, order_gelus
from trimf.runtime.engine.onnxruntime_library import onnxruntime


def gelu(order: str, *, shared: bool = False, constants: dict[str, float] | None = None) -> onnx.ModelProto:
    """GELU with its factors in an order: of torch, or one of the two that ONNX Runtime fuses."""
    values = {"root": math.sqrt(2), "inverse": math.sqrt(0.5), "one": 1.0, "half": 0.5, **(constants or {})}
    nodes = [
        helper.make_node("Mul", ["x", "inverse"], ["divided"])
        if order == "torch, multiplied"
        else helper.make_node("Div", ["x", "root"], ["divided"]),
        helper.make_node("Erf", ["divided"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["term"]),
    ]
    if order == "half first":
        nodes.append(helper.make_node("Mul", ["x", "half"], ["middle"]))
        nodes.append(helper.make_node("Mul", ["middle", "term"], ["y"], "last"))
    elif order == "half last":
        nodes.append(helper.make_node("Mul", ["x", "term"], ["middle"]))
        nodes.append(helper.make_node("Mul", ["middle", "half"], ["y"], "last"))
    else:
        nodes.append(helper.make_node("Mul", ["half", "term"], ["middle"]))
        nodes.append(helper.make_node("Mul", ["x", "middle"], ["y"], "last"))
    outputs = ["y", "middle"] if shared else ["y"]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "gelu",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in outputs],
            [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


ORDERS = ("torch", "torch, multiplied", "half first", "half last")


@pytest.mark.parametrize("order", ORDERS)
@given(x=arrays.arrays(np.float32, (4, 3), elements=st.floats(-50, 50, width=32)))
def test_order_is_free(order: str, x: np.ndarray) -> None:
    model = gelu(order)
    order_gelus(model)
    onnx.checker.check_model(model, full_check=True)
    assert count_gelus(model) == (1, 1)
    expected = [[value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in row] for row in x.tolist()]
    (actual,) = open_session(model).run(["y"], {"x": x})
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_engines_fuse_it(order: str, tmp_path: Any) -> None:
    model = gelu(order)
    order_gelus(model)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fused = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    # ONNX Runtime knows it with a division only.
    assert fused == ["Gelu"] or order == "torch, multiplied"


@pytest.mark.parametrize("order", ["half first", "half last"])
def test_what_engines_fuse_stays_as_it_is(order: str) -> None:
    model = gelu(order)
    before = [node.SerializeToString() for node in model.graph.node]
    order_gelus(model)
    assert [node.SerializeToString() for node in model.graph.node] == before


@pytest.mark.parametrize(
    ("shared", "constants"), [(True, {}), (False, {"half": 0.4}), (False, {"one": 2.0}), (False, {"root": 1.5})]
)
def test_what_is_no_gelu_stays_as_it_is(shared: bool, constants: dict[str, float]) -> None:
    model = gelu("torch", shared=shared, constants=constants)
    before = [node.SerializeToString() for node in model.graph.node]
    order_gelus(model)
    assert [node.SerializeToString() for node in model.graph.node] == before
    assert count_gelus(model) == (0, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_traced_encoders_have_all_in_order(traced: Any, family: str) -> None:
    model = traced(family)["encoder"]
    assert count_gelus(model) == (2, 2)
    assert count_gelus(convert_to_half(model, "fp16"))[1] == 2
    assert {entry.version for entry in model.opset_import} == {18}

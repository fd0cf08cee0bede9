"""Tensors that hide padding, told from others by what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.encoders import FAMILIES

from trimf.export.rewriting.padding_mask import find_padding_value

LEAST = float(np.finfo(np.float32).min)


def masks(name: str, **values: float) -> onnx.ModelProto:
    """A tensor that is ``real`` where the mask is 1 and ``hidden`` elsewhere, and two of another input."""
    constants = {"real": 0.0, "hidden": LEAST, **values}
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["bool"], to=TensorProto.BOOL),
        helper.make_node("Unsqueeze", ["bool", "axes"], ["wide"]),
        helper.make_node("Where", ["wide", "real", "hidden"], ["mask"]),
        helper.make_node("Add", ["mask", "distance"], ["sum"]),
        helper.make_node("Mul", ["distance", "real"], ["other"]),
    ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "masks",
            [
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "subwords"]),
                helper.make_tensor_value_info("distance", TensorProto.FLOAT, []),
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(np.array([1, 2]), "axes"),
                *(numpy_helper.from_array(np.array(value, np.float32), key) for key, value in constants.items()),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


@pytest.mark.parametrize("hidden", [LEAST, -1e9, -1e4, -float("inf")])
def test_a_mask_is_known_by_its_value(hidden: float) -> None:
    assert find_padding_value(masks("mask", hidden=hidden), "mask") == hidden


@pytest.mark.parametrize(
    ("name", "values"), [("mask", {"hidden": -1.0}), ("mask", {"real": 0.5}), ("sum", {}), ("other", {})]
)
def test_others_are_no_masks(name: str, values: dict[str, float]) -> None:
    assert find_padding_value(masks(name, **values), name) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mask_of_every_family_is_known(traced: Any, family: str) -> None:
    model = traced(family)["encoder"]
    masked = {name for node in model.graph.node if node.op_type == "Add" for name in node.input if name == "where"}
    assert masked
    assert {find_padding_value(model, name) for name in masked} == {LEAST}

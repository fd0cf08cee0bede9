"""Ranges of a graph's tensors on real inputs: what eight bits must cover, and what half precision must hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..runtime.onnx_backend import available_cores, session_options
from ..runtime.onnxruntime_library import onnxruntime

#: Operators that multiply matrices: what precision is about.
PRODUCTS = frozenset({"MatMul", "Gemm"})


class Range(NamedTuple):
    """Least and largest value of a tensor, for each channel (place on its last axis) or over all."""

    low: np.ndarray
    high: np.ndarray

    @property
    def largest(self) -> np.ndarray:
        """The largest magnitude."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def whole(self) -> Range:
        """Over all channels."""
        return Range(self.low.min(), self.high.max())


def ranges(
    model: onnx.ModelProto,
    tensors: Iterable[str],
    inputs: Iterable[Mapping[str, np.ndarray]],
    *,
    channels: bool = False,
) -> dict[str, Range]:
    """The range of each fp32 tensor that a node makes while ``model`` runs on ``inputs``; absent if it had no value.

    An input may hold more arrays than the model takes.
    """
    names = sorted(set(tensors))
    if not names:  # a session without outputs does not run
        return {}
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    watching.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = open_session(watching)
    given = [value.name for value in model.graph.input]
    found: dict[str, Range] = {}
    for arrays in inputs:
        for name, value in zip(names, session.run(names, {name: arrays[name] for name in given}), strict=True):
            if not value.size:
                continue
            rows = value.reshape(-1, value.shape[-1]) if channels else value.reshape(-1)
            low, high = rows.min(0), rows.max(0)
            if name in found:
                low, high = np.minimum(low, found[name].low), np.maximum(high, found[name].high)
            found[name] = Range(low, high)
    return found


def matrix_products(model: onnx.ModelProto, *, by_constants: bool = False) -> Sequence[onnx.NodeProto]:
    """The products of matrices in a graph, or only those whose right side is a constant."""
    constants = {one.name for one in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in PRODUCTS and (not by_constants or node.input[1] in constants)
    ]


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The graph in ONNX Runtime on the CPU, as the runtime opens it."""
    options = session_options(available_cores())
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

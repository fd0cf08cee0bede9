"""Activation ranges: the smallest and largest values of a graph's tensors on calibration data.

int8 quantization derives its scales from them, and half precision uses them to avoid overflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..runtime.engine.cpu_info import count_available_cores
from ..runtime.engine.onnx_cpu import make_session_options
from ..runtime.engine.onnxruntime_library import onnxruntime

#: Operators that multiply matrices; the precision of a graph is that of these operators.
MATMUL_OPERATORS = frozenset({"MatMul", "Gemm"})


class ActivationRange(NamedTuple):
    """Smallest and largest value of a tensor, per channel (index on the last axis) or over all channels."""

    low: np.ndarray
    high: np.ndarray

    @property
    def max_abs(self) -> np.ndarray:
        """Largest absolute value."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    @property
    def over_channels(self) -> ActivationRange:
        """Range over all channels."""
        return ActivationRange(self.low.min(), self.high.max())


def measure_ranges(
    model: onnx.ModelProto,
    tensors: Iterable[str],
    inputs: Iterable[Mapping[str, np.ndarray]],
    *,
    per_channel: bool = False,
) -> dict[str, ActivationRange]:
    """Measure the ranges of fp32 tensors while a model runs on calibration data.

    Args:
        model: The fp32 graph; it is not modified.
        tensors: Names of the tensors to measure, each an output of a node.
        inputs: Input arrays of each run, by name; arrays that the model does not take are ignored.
        per_channel: Measure each channel of the last axis by itself instead of the whole tensor.

    Returns:
        The range of each tensor by name; tensors that were empty in every run are absent.
    """
    names = sorted(set(tensors))
    if not names:  # ONNX Runtime cannot run a session without outputs
        return {}
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    watching.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = open_session(watching)
    input_names = [value.name for value in model.graph.input]
    measured: dict[str, ActivationRange] = {}
    for arrays in inputs:
        for name, value in zip(names, session.run(names, {key: arrays[key] for key in input_names}), strict=True):
            if not value.size:
                continue
            rows = value.reshape(-1, value.shape[-1]) if per_channel else value.reshape(-1)
            low, high = rows.min(0), rows.max(0)
            if name in measured:
                low, high = np.minimum(low, measured[name].low), np.maximum(high, measured[name].high)
            measured[name] = ActivationRange(low, high)
    return measured


def find_matmul_nodes(model: onnx.ModelProto, *, weights_only: bool = False) -> Sequence[onnx.NodeProto]:
    """Return the nodes of a graph that multiply matrices.

    Args:
        model: The graph to search.
        weights_only: Return only nodes whose second operand is an initializer (a weight).

    Returns:
        The nodes, in the order of the graph.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in MATMUL_OPERATORS and (not weights_only or node.input[1] in constants)
    ]


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime on the CPU, with the same session options as the runtime uses."""
    options = make_session_options(count_available_cores())
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

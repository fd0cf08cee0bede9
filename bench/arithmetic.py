"""The floor from arithmetic: what an encoder must at least compute and read, counted in its ONNX graph."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper, shape_inference

from ..runtime.errors import BundleError
from .spec import Peaks, Work

_PRODUCTS = ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul")
_NAMES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
}


def products(model: bytes) -> dict[str, int]:
    """How many matrix products of a graph take numbers of each type ("fp32", "fp16", "bf16", "int8")."""
    graph = shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    types = _types(graph)
    return dict(Counter(types[node.output[0]] for node in graph.node if node.op_type in _PRODUCTS))


def work(model: bytes, batch: int, subwords: int) -> Work:
    """What a plain encoder (see :mod:`.plain`) must do for a batch of sentences that have so many subwords each.

    Raises:
        BundleError: the shape of a matrix product does not follow from the graph.
    """
    loaded = onnx.load_from_string(model)
    for value in loaded.graph.input:
        # Two sentences: where there is one, shape inference cannot tell it from a size to be broadcast.
        for dim, size in zip(value.type.tensor_type.shape.dim, (2, subwords), strict=True):
            dim.dim_value = size
    del loaded.graph.value_info[:]  # they are of sizes yet unknown
    graph = shape_inference.infer_shapes(loaded, data_prop=True).graph
    types, shapes = _types(graph), _shapes(graph)
    operations: dict[str, float] = defaultdict(float)
    for node in graph.node:
        if node.op_type not in _PRODUCTS:
            continue
        inner, outer = shapes.get(node.input[0]), shapes.get(node.output[0])
        if inner is None or outer is None:
            raise BundleError(f"encoder.onnx: the shape of matrix product {node.name or node.output[0]!r} is not known")
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        operations[types[node.output[0]]] += batch * math.prod(outer) * inner[0 if turned else -1]
    return Work(operations=dict(operations), bytes=_bytes(graph, shapes, batch, subwords))


def least(work: Work, peaks: Peaks) -> float:
    """Milliseconds: the longer of computing, each type at its peak, and reading."""
    return 1000 * max(computing(work, peaks), work.bytes / peaks.bytes)


def computing(work: Work, peaks: Peaks) -> float:
    """Seconds of the operations alone."""
    return sum(count / peaks.operations[kind] for kind, count in work.operations.items())


def _types(graph: onnx.GraphProto) -> dict[str, str]:
    """The type that each product multiplies, by its output; between dequantised inputs an engine multiplies bytes."""
    elements = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    elements |= {one.name: one.data_type for one in graph.initializer}
    made = {name: node.op_type for node in graph.node for name in node.output}
    types = {}
    for node in graph.node:
        if node.op_type in _PRODUCTS:
            # A weight may pass a Transpose or Reshape on its way; two dequantised activations stay int8 as well.
            quantized = all(made.get(name) == "DequantizeLinear" for name in node.input[:2])
            element = elements.get(node.input[0], TensorProto.FLOAT)
            types[node.output[0]] = "int8" if quantized else _NAMES.get(element, "other")
    return types


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes = {one.name: tuple(one.dims) for one in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _bytes(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]], batch: int, subwords: int) -> float:
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    total = 0.0
    for one in graph.initializer:
        rows = one.dims[0] if one.dims else 1
        read = min(rows, batch * subwords) if one.name in tables else rows
        total += math.prod(one.dims) * _size(one.data_type) * read / max(1, rows)
    for value in (*graph.input, *graph.output):
        shape = shapes.get(value.name, ())
        total += batch * math.prod(shape) / 2 * _size(value.type.tensor_type.elem_type)
    return total


def _size(element: int) -> int:
    return int(helper.tensor_dtype_to_np_dtype(element).itemsize)

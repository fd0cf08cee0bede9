"""Lower bound on the encoder's latency, from the operations and bytes counted in its ONNX graph."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import onnx
from onnx import TensorProto, helper, shape_inference

from ...export.rewriting.written_out import write_out_products
from ...runtime.errors import BundleError
from ..report.schema import LatencyFloor
from .case_planning import BenchmarkTarget
from .jobs import DevicePeaks, EncoderWork

#: ONNX operators that are matrix products.
_MATMUL_OPERATORS = ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul")
#: Short names of the element types that are told apart; int8 includes uint8.
_DTYPE_NAMES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
}


def count_matmuls_by_dtype(model: bytes) -> dict[str, int]:
    """Count the matrix products of a graph by element type.

    Args:
        model: Serialized ONNX model.

    Returns:
        Number of matrix products per type: "fp32", "fp16", "bf16", "int8", or "other".
    """
    graph = shape_inference.infer_shapes(write_out_products(onnx.load_from_string(model))).graph
    dtypes = _find_matmul_dtypes(graph)
    return dict(Counter(dtypes[node.output[0]] for node in graph.node if node.op_type in _MATMUL_OPERATORS))


def count_encoder_work(model: bytes, batch: int, subwords: int) -> EncoderWork:
    """Count the operations and bytes that a plain encoder (see ``plain``) needs for one batch.

    Args:
        model: Serialized ONNX model with inputs ``[batch, subwords]``.
        batch: Sentences in the batch.
        subwords: Subwords of every sentence.

    Returns:
        Operations by element type, and bytes.

    Raises:
        BundleError: The shape of a matrix product cannot be inferred.
    """
    loaded = write_out_products(onnx.load_from_string(model))
    for value in loaded.graph.input:
        # Infer shapes for a batch of 2: a batch size of 1 could not be told from a size that is broadcast.
        for dim, size in zip(value.type.tensor_type.shape.dim, (2, subwords), strict=True):
            dim.dim_value = size
    del loaded.graph.value_info[:]  # the recorded shapes still have symbolic sizes
    graph = shape_inference.infer_shapes(loaded, data_prop=True).graph
    dtypes, shapes = _find_matmul_dtypes(graph), _collect_shapes(graph)
    operations: dict[str, float] = defaultdict(float)
    for node in graph.node:
        if node.op_type not in _MATMUL_OPERATORS:
            continue
        left, output = shapes.get(node.input[0]), shapes.get(node.output[0])
        if left is None or output is None:
            raise BundleError(
                f"encoder.onnx: cannot infer the shape of matrix product {node.name or node.output[0]!r};"
                " export the bundle again"
            )
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        # `output` is for a batch of 2, and each term is 2 operations (multiply and add): the two factors cancel out.
        operations[dtypes[node.output[0]]] += batch * math.prod(output) * left[0 if transposed else -1]
    return EncoderWork(operations=dict(operations), bytes=_count_bytes(graph, shapes, batch, subwords))


def compute_floor_ms(work: EncoderWork, peaks: DevicePeaks) -> float:
    """Return the lower bound on latency in milliseconds.

    The bound is the longer of the time to compute (each type at its peak) and the time to read memory.

    Args:
        work: Operations and bytes of one call.
        peaks: Measured peaks of the device.
    """
    return 1000 * max(compute_operation_seconds(work, peaks), work.bytes / peaks.bytes)


def build_floors(
    targets: Sequence[BenchmarkTarget], threads: Sequence[int], peaks: Mapping[tuple[str, int], DevicePeaks]
) -> Iterator[LatencyFloor]:
    """Build the lower bounds of the models whose work is known, on the backends whose peaks are.

    Args:
        targets: Models on their backends.
        threads: Numbers of threads.
        peaks: Backend and number of threads -> measured peaks.
    """
    for target in targets:
        for count in threads:
            measured = peaks.get((target.backend, count))
            if measured is None:
                continue
            for batch, work in target.checked.work.items():
                operations = sum(work.operations.values())
                yield LatencyFloor(
                    model=target.model,
                    backend=target.backend,
                    threads=count,
                    batch_size=batch,
                    subwords=target.checked.median_subwords,
                    operations=operations,
                    bytes=work.bytes,
                    peak_operations=operations / compute_operation_seconds(work, measured),
                    peak_bytes=measured.bytes,
                    milliseconds=compute_floor_ms(work, measured),
                )


def compute_operation_seconds(work: EncoderWork, peaks: DevicePeaks) -> float:
    """Return the seconds that the operations take at the peak of each type, without reading memory.

    Args:
        work: Operations and bytes of one call.
        peaks: Measured peaks of the device.
    """
    return sum(count / peaks.operations[kind] for kind, count in work.operations.items())


def _find_matmul_dtypes(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the element type of each matrix product, keyed by its output.

    A product of dequantized inputs counts as int8, because backends run it on the quantized bytes.
    """
    elements = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    elements |= {initializer.name: initializer.data_type for initializer in graph.initializer}
    producers = {name: node.op_type for node in graph.node for name in node.output}
    dtypes = {}
    for node in graph.node:
        if node.op_type in _MATMUL_OPERATORS:
            # Look at both inputs: a weight may pass a Transpose or Reshape first, and a product of two dequantized
            # activations is int8 as well.
            quantized = all(producers.get(name) == "DequantizeLinear" for name in node.input[:2])
            element = elements.get(node.input[0], TensorProto.FLOAT)
            dtypes[node.output[0]] = "int8" if quantized else _DTYPE_NAMES.get(element, "other")
    return dtypes


def _collect_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor whose sizes are all known."""
    shapes = {initializer.name: tuple(initializer.dims) for initializer in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _count_bytes(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]], batch: int, subwords: int) -> float:
    """Count the bytes of weights, of the embedding rows that are looked up, and of inputs and outputs."""
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    total = 0.0
    for initializer in graph.initializer:
        rows = initializer.dims[0] if initializer.dims else 1
        read = min(rows, batch * subwords) if initializer.name in tables else rows
        total += math.prod(initializer.dims) * _get_element_size(initializer.data_type) * read / max(1, rows)
    for value in (*graph.input, *graph.output):
        shape = shapes.get(value.name, ())  # for a batch of 2
        total += batch * math.prod(shape) / 2 * _get_element_size(value.type.tensor_type.elem_type)
    return total


def _get_element_size(element: int) -> int:
    """Return the bytes of one element of an ONNX type."""
    return int(helper.tensor_dtype_to_np_dtype(element).itemsize)

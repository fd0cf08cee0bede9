"""Measure the peaks of a device on a backend: operations per second by element type, and bytes per second."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from . import device_timing as device
from .jobs import DevicePeaks

#: Sentences, words, columns, and number of chained matrix products of the measured graph, on a CPU and on a GPU.
CPU_SIZES, GPU_SIZES = (1, 512, 1024, 4), (16, 128, 4096, 16)
#: Rows and columns of the fp32 matrix that is read to multiply a single vector; larger than the caches.
READ_MATRIX_SHAPE = (8192, 8192)
#: Seconds to measure each peak.
SECONDS_PER_PEAK = 1.0

_HALF_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def measure_peaks(backend: Any, kinds: tuple[str, ...]) -> DevicePeaks:
    """Measure the peaks of an ONNX Runtime backend.

    Operations are measured on large matrix products, bytes on the product of one vector with a large matrix.

    Args:
        backend: A backend that can ``load`` a serialized model.
        kinds: Element types to measure: "fp32", "fp16", "bf16", "int8".

    Returns:
        Operations per second for each type, and bytes per second.
    """
    *rows, width, count = CPU_SIZES if backend.name == "cpu" else GPU_SIZES
    byte = np.uint8 if backend.name == "cpu" else np.int8  # the types of activations that `trimf export` writes
    operations = {}
    for kind in kinds:
        model = build_matmul_chain(kind, width, count, byte=byte)
        operations[kind] = count * 2 * math.prod(rows) * width**2 / _time_fastest_call(backend, model, rows, width)
    read = (
        4
        * READ_MATRIX_SHAPE[0]
        * READ_MATRIX_SHAPE[1]
        / _time_fastest_call(
            backend,
            build_matmul_chain("fp32", READ_MATRIX_SHAPE[0], 1, READ_MATRIX_SHAPE[1]),
            [1, 1],
            READ_MATRIX_SHAPE[0],
        )
    )
    return DevicePeaks(operations=operations, bytes=read)


def _time_fastest_call(backend: Any, model: bytes, rows: list[int], width: int) -> float:
    """Return the seconds of the fastest call, without copies to and from the device."""
    graph = backend.load("peak", model)
    words = np.ones((*rows, width), np.float32)
    best = np.inf
    try:
        deadline = time.perf_counter() + SECONDS_PER_PEAK
        while best == np.inf or time.perf_counter() < deadline:
            best = min(best, _time_call(graph, {"words": words}))
    finally:
        graph.close()
    return float(best)


def _time_call(graph: Any, arrays: dict[str, Any]) -> float:
    events: list[device.CopyEvent] = []
    with device.record_copies(events):
        started = time.perf_counter()
        graph.run(arrays)
        device.wait_for_subgraph(graph)
        return time.perf_counter() - started - sum(event.end - event.start for event in events)


def build_matmul_chain(
    kind: str, width: int, count: int, columns: int | None = None, byte: type[Any] = np.uint8
) -> bytes:
    """Build a model that multiplies its input by a matrix, ``count`` times in a chain.

    Input and output have the names of the fusion subgraph, because every backend knows how to pad and place them.

    Args:
        kind: Element type of the products: "fp32", "fp16", "bf16" or "int8".
        width: Columns of the fp32 input ``words`` ``[B, N, width]``, and rows of the matrix.
        count: Number of products; more than one needs a square matrix.
        columns: Columns of the matrix; default ``width``.
        byte: Type of quantized activations, for "int8".

    Returns:
        The serialized ONNX model.
    """
    columns = columns or width
    nodes, constants = (
        _build_int8_matrix(width, columns, byte) if kind == "int8" else _build_matrix(kind, width, columns)
    )
    name = "start"
    for index in range(count):
        output = f"state{index}"
        if kind == "int8":
            nodes += [
                helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}.q"]),
                helper.make_node("DequantizeLinear", [f"{name}.q", "scale", "zero"], [f"{name}.dq"]),
            ]
            name = f"{name}.dq"
        nodes.append(helper.make_node("MatMul", [name, "matrix"], [output]))
        name = output
    nodes.append(helper.make_node("Cast", [name], ["nodes"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["batch", "words", width])],
        [helper.make_tensor_value_info("nodes", TensorProto.FLOAT, ["batch", "words", columns])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def _build_matrix(kind: str, width: int, columns: int) -> tuple[list[Any], list[Any]]:
    """Return the node that casts the input, and a matrix of a floating-point type."""
    element = _HALF_TYPES.get(kind, TensorProto.FLOAT)
    matrix = np.full((width, columns), 1 / width, helper.tensor_dtype_to_np_dtype(element))
    cast = helper.make_node("Cast", ["words"], ["start"], to=element)
    return [cast], [numpy_helper.from_array(matrix, "matrix")]


def _build_int8_matrix(width: int, columns: int, byte: type[Any]) -> tuple[list[Any], list[Any]]:
    """Return nodes and constants of an int8 matrix, in the form that the exporter writes.

    Activations and weights are bytes that are dequantized before the product.
    """
    constants = [
        numpy_helper.from_array(np.full((width, columns), 1, np.int8), "bytes"),
        numpy_helper.from_array(np.array(1 / width, np.float32), "step"),
        numpy_helper.from_array(np.array(0, np.int8), "origin"),
        numpy_helper.from_array(np.array(0.01, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, byte), "zero"),
    ]
    nodes = [
        helper.make_node("Identity", ["words"], ["start"]),
        helper.make_node("DequantizeLinear", ["bytes", "step", "origin"], ["matrix"]),
    ]
    return nodes, constants

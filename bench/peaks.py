"""What a device was measured to do in an engine: one large matrix product for operations, one long vector for bytes."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from . import device
from .spec import Peaks

#: Sentences, words, columns, and how many products in a row the graph computes, on a CPU and on a GPU.
CPU, GPU = (1, 512, 1024, 4), (16, 128, 4096, 16)
#: Rows and columns of the matrix of fp32 that is read for a single vector: more than caches hold.
READ = (8192, 8192)
#: Seconds that one peak is looked for.
SECONDS = 1.0

_HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def measure(backend: Any, kinds: tuple[str, ...]) -> Peaks:
    """The peaks of an ONNX Runtime backend (one that can ``load`` bytes), for products of the types ``kinds``."""
    *rows, width, count = CPU if backend.name == "cpu" else GPU
    byte = np.uint8 if backend.name == "cpu" else np.int8  # as `trimf export` writes them for either
    found = {}
    for kind in kinds:
        model = product(kind, width, count, byte=byte)
        found[kind] = count * 2 * math.prod(rows) * width**2 / _best(backend, model, rows, width)
    read = 4 * READ[0] * READ[1] / _best(backend, product("fp32", READ[0], 1, READ[1]), [1, 1], READ[0])
    return Peaks(operations=found, bytes=read)


def _best(backend: Any, model: bytes, rows: list[int], width: int) -> float:
    """Seconds of the fastest call, without copies to and from the device."""
    graph = backend.load("peak", model)
    given = np.ones((*rows, width), np.float32)
    best = np.inf
    try:
        ends = time.perf_counter() + SECONDS
        while best == np.inf or time.perf_counter() < ends:
            best = min(best, _call(graph, {"words": given}))
    finally:
        graph.close()
    return float(best)


def _call(graph: Any, arrays: dict[str, Any]) -> float:
    events: list[device.Event] = []
    with device.copies(events):
        started = time.perf_counter()
        graph.run(arrays)
        device.wait(graph)
        return time.perf_counter() - started - sum(event.end - event.start for event in events)


def product(kind: str, width: int, count: int, columns: int | None = None, byte: type[Any] = np.uint8) -> bytes:
    """A graph of ``count`` products in a row, of words ``[B,N,width]`` in fp32 with one matrix of that type.

    The names of input and output are those of a fusion, which every backend knows how to pad and place.
    """
    columns = columns or width
    nodes, constants = _quantized(width, columns, byte) if kind == "int8" else _plain(kind, width, columns)
    name = "start"
    for number in range(count):
        after = f"state{number}"
        if kind == "int8":
            nodes += [
                helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}.q"]),
                helper.make_node("DequantizeLinear", [f"{name}.q", "scale", "zero"], [f"{name}.dq"]),
            ]
            name = f"{name}.dq"
        nodes.append(helper.make_node("MatMul", [name, "matrix"], [after]))
        name = after
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


def _plain(kind: str, width: int, columns: int) -> tuple[list[Any], list[Any]]:
    element = _HALVES.get(kind, TensorProto.FLOAT)
    matrix = np.full((width, columns), 1 / width, helper.tensor_dtype_to_np_dtype(element))
    cast = helper.make_node("Cast", ["words"], ["start"], to=element)
    return [cast], [numpy_helper.from_array(matrix, "matrix")]


def _quantized(width: int, columns: int, byte: type[Any]) -> tuple[list[Any], list[Any]]:
    """As the exporter writes it: bytes of activations and of weights, dequantised before the product."""
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

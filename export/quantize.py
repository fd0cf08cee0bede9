"""Eight-bit graphs for CPUs: static ranges, so that a sentence's result does not depend on its batch.

Products with constant matrices get unsigned activations (ranges calibrated on real sentences) and signed weights with a
scale per column; embedding tables get a scale per row. Attention, softmax and normalisation stay in float.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

#: Tables smaller than this many bytes stay in float.
MIN_TABLE = 1 << 20


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Iterable[Mapping[str, Any]]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> Mapping[str, Any] | None:
        """The next input, as the library asks for it."""
        return next(self._inputs, None)


def quantize(model: onnx.ModelProto, inputs: Iterable[Mapping[str, Any]]) -> onnx.ModelProto:
    """A QDQ copy of ``model`` with ranges calibrated on ``inputs``, and with int8 tables."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            quantize_static(
                source,
                target,
                _Reader(inputs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]},
            )
        finally:
            root.setLevel(level)
        return quantize_tables(onnx.load(target))


def quantize_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large tables that are only gathered from as int8 with a scale per row, in place."""
    tables = {one.name: one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for name, table in tables.items():
        gathered = all(node.op_type == "Gather" and node.input[0] == name for node in readers.get(name, [None]))
        if not gathered or table.ByteSize() < MIN_TABLE:
            continue
        values = numpy_helper.to_array(table)
        scale = np.maximum(np.abs(values).max(-1, keepdims=True) / 127, 1e-12).astype(np.float32)
        codes = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        model.graph.initializer.remove(table)
        model.graph.initializer.append(numpy_helper.from_array(codes, f"{name}.int8"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        for node in readers[name]:
            _replace_gather(model, node, name)
    return model


def _replace_gather(model: onnx.ModelProto, node: onnx.NodeProto, name: str) -> None:
    place = list(model.graph.node).index(node)
    output = node.output[0]
    steps = [
        helper.make_node("Gather", [f"{name}.int8", node.input[1]], [f"{output}.int8"], f"{node.name}.codes", axis=0),
        helper.make_node(
            "Cast", [f"{output}.int8"], [f"{output}.cast"], f"{node.name}.cast", to=onnx.TensorProto.FLOAT
        ),
        helper.make_node("Gather", [f"{name}.scale", node.input[1]], [f"{output}.scale"], f"{node.name}.scale", axis=0),
        helper.make_node("Mul", [f"{output}.cast", f"{output}.scale"], [output], f"{node.name}.value"),
    ]
    model.graph.node.remove(node)
    for offset, step in enumerate(steps):
        model.graph.node.insert(place + offset, step)

"""Eight-bit graphs with static ranges, so that a sentence's result does not depend on its batch.

Products with constant matrices get eight-bit activations (one range, from real sentences) and weights (a scale per
column). Before that, outlying channels of activations are moved into the weights (SmoothQuant, Xiao et al. 2023,
eq. 4), and the products that lose most by themselves are left as they are. Attention, softmax and normalisation stay in
float.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from ..runtime.manifest import Precision, Quantization
from .calibration import Range, matrix_products, open_session, ranges

#: How far outliers move from activations (0) to weights (1). Of 0.4 to 1, on MiniLM and CoNLL04's training sentences,
#: it is where the encoder's words came out best.
SMOOTHING = 0.85

#: Largest relative error of a graph's first output (the encoder's words) that int8 may cause, as the root of the
#: products' summed squares. A product left in fp32 is slow on a CPU, one left in fp16 costs a GPU little: hence two
#: budgets.
BUDGETS = {"int8": 0.05, "int8-qdq": 0.025}

#: Sentences on which each product's own error is measured.
MEASURED = 16

#: Tables smaller than this many bytes stay in float.
MIN_TABLE = 1 << 20

_SMALLEST = 1e-5


def quantize(
    model: onnx.ModelProto,
    inputs: Sequence[Mapping[str, np.ndarray]],
    *,
    precision: Precision,
    data: str,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[onnx.ModelProto, Quantization]:
    """A QDQ copy of an fp32 ``model`` with ranges calibrated on ``inputs``, and how it was made.

    ``int8-qdq`` has signed activations around zero, which GPUs need; ``int8`` unsigned ones with a zero point, which
    CPUs multiply faster and which wastes no codes on one-sided values. ``data`` names the inputs in the report.
    """
    symmetric = precision == "int8-qdq"
    smoothed = smooth(model, inputs)
    nodes = matrix_products(smoothed, by_constants=True)
    found = ranges(smoothed, {name for node in nodes for name in (node.input[0], node.output[0])}, inputs)
    say(f"measuring {len(nodes)} products one by one")
    sensitivity = _sensitivity(smoothed, [node.name for node in nodes], found, inputs[:MEASURED], symmetric)
    kept = choose_kept(sensitivity, BUDGETS[precision])
    chosen = [name for name in sensitivity if name not in kept]
    return _qdq(smoothed, chosen, found, symmetric), Quantization(
        data=data,
        sentences=len(inputs),
        method=f"static {'symmetric' if symmetric else 'asymmetric'} QDQ, per-channel weights, MinMax, "
        f"SmoothQuant {SMOOTHING}",
        quantized=len(chosen),
        kept=kept,
        sensitivity={name: round(value, 6) for name, value in sensitivity.items()},
    )


def joined(reports: Mapping[str, Quantization]) -> Quantization:
    """How several graphs were quantized, as one report; a product is then called by its graph and its name."""
    first = next(iter(reports.values()))
    return msgspec.structs.replace(
        first,
        quantized=sum(report.quantized for report in reports.values()),
        kept=[f"{graph}.{name}" for graph, report in reports.items() for name in report.kept],
        sensitivity={
            f"{graph}.{name}": value for graph, report in reports.items() for name, value in report.sensitivity.items()
        },
    )


def smooth(model: onnx.ModelProto, inputs: Sequence[Mapping[str, np.ndarray]]) -> onnx.ModelProto:
    """The same function with channels of like size: ``x W = (x / s) (s W)``, s one factor for each channel of x."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in matrix_products(copy, by_constants=True):
        readers.setdefault(node.input[0], []).append(node)
    weights = {one.name: one for one in copy.graph.initializer}
    for name, found in ranges(model, readers, inputs, channels=True).items():
        nodes = readers[name]
        values = [numpy_helper.to_array(weights[node.input[1]]) for node in nodes]
        largest = np.max([np.abs(value).max(1) for value in values], 0)
        factor = np.maximum(found.largest, _SMALLEST) ** SMOOTHING
        factor = np.maximum(factor / np.maximum(largest, _SMALLEST) ** (1 - SMOOTHING), _SMALLEST).astype(np.float32)
        copy.graph.initializer.append(numpy_helper.from_array(1 / factor, f"{name}.factor"))
        step = helper.make_node("Mul", [name, f"{name}.factor"], [f"{name}.smooth"], f"{name}.smoothing")
        copy.graph.node.insert(list(copy.graph.node).index(nodes[0]), step)
        for node, value in zip(nodes, values, strict=True):
            scaled = f"{node.name}.smooth_weight"
            copy.graph.initializer.append(numpy_helper.from_array(value * factor[:, None], scaled))
            node.input[:] = [f"{name}.smooth", scaled]
    _drop_unused(copy)
    return copy


def choose_kept(sensitivity: Mapping[str, float], budget: float) -> list[str]:
    """The fewest products, most sensitive first, without which the others' errors stay within ``budget`` together."""
    kept: list[str] = []
    total = sum(value**2 for value in sensitivity.values())
    for name in sorted(sensitivity, key=lambda name: (-sensitivity[name], name)):
        if total <= budget**2:
            break
        kept.append(name)
        total -= sensitivity[name] ** 2
    return kept


def _sensitivity(
    smoothed: onnx.ModelProto,
    names: Sequence[str],
    found: Mapping[str, Range],
    inputs: Sequence[Mapping[str, np.ndarray]],
    symmetric: bool,
) -> dict[str, float]:
    model, switches = _switchable(smoothed, _qdq(smoothed, names, found, symmetric))
    session = open_session(model)
    output = model.graph.output[0].name
    given = [value.name for value in smoothed.graph.input]
    off = {switch.name: np.array(False) for switch in switches.values()}

    def outputs(changes: Mapping[str, np.ndarray]) -> np.ndarray:
        each = [{**{name: one[name] for name in given}, **off, **changes} for one in inputs]
        return np.concatenate([session.run([output], arrays)[0].ravel() for arrays in each])

    expected = outputs({})
    norm = np.linalg.norm(expected)
    return {
        name: float(np.linalg.norm(outputs({on.name: np.array(True), on.weight: on.rounded}) - expected) / norm)
        for name, on in switches.items()
    }


class _Switch(NamedTuple):
    """A graph input that makes a product's activations int8; its weight, another; and the weight as int8 has it."""

    name: str
    weight: str
    rounded: np.ndarray


def _switchable(smoothed: onnx.ModelProto, quantized: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, _Switch]]:
    """The fp32 graph, in which each product can be made int8 by itself from run to run: one session measures all."""
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    codes = {one.name: one for one in graph.initializer}
    exact = {node.name: node.input[1] for node in matrix_products(smoothed, by_constants=True)}
    weights = {one.name: one for one in smoothed.graph.initializer}
    switches: dict[str, _Switch] = {}
    for place, node in reversed(list(enumerate(graph.node))):
        if node.name not in exact:
            continue
        activations, weight = makers[node.input[0]], makers[node.input[1]]
        scale = numpy_helper.to_array(codes[weight.input[1]])
        rounded = numpy_helper.to_array(codes[weight.input[0]]).astype(np.float32) * scale
        switch = _Switch(f"{node.name}.on", exact[node.name], rounded)
        switches[node.name] = switch
        graph.input.append(helper.make_tensor_value_info(switch.name, onnx.TensorProto.BOOL, []))
        graph.input.append(helper.make_tensor_value_info(switch.weight, onnx.TensorProto.FLOAT, rounded.shape))
        graph.initializer.append(weights[switch.weight])  # an input with a default
        chosen = f"{node.name}.chosen"
        sources = [switch.name, activations.output[0], makers[activations.input[0]].input[0]]
        node.input[:] = [chosen, switch.weight]
        graph.node.insert(place, helper.make_node("Where", sources, [chosen], f"{chosen}.where"))
    used = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] not in used]:
        graph.node.remove(node)
    _drop_unused(model)
    return model, dict(reversed(switches.items()))


def _qdq(model: onnx.ModelProto, names: Sequence[str], found: Mapping[str, Range], symmetric: bool) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not names:  # the library would take an empty list for all
        return copy
    data = {name: tuple(np.asarray(value, np.float32) for value in one.whole) for name, one in found.items()}
    others = {node.name: node.input[0] for node in matrix_products(model) if node.name not in names}
    with _quiet():
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=list(names),
            nodes_to_exclude=[],
            op_types_to_quantize=["MatMul"],
            extra_options={
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
            },
        )
        quantizer.quantize_model()
        for node in quantizer.model.model.graph.node:
            if node.name in others:  # the library gives all readers of a tensor its eight bits
                node.input[0] = others[node.name]
        quantizer.model.topological_sort()
    return quantizer.model.model


@contextmanager
def _quiet() -> Any:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    for one in [one for one in model.graph.initializer if one.name not in used]:
        model.graph.initializer.remove(one)


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

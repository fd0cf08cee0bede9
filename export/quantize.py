"""Static int8 quantization of ONNX graphs.

The activation ranges are fixed in advance, so the result of a sentence does not depend on its batch. Matrix products
with weights get int8 activations (a single range, from calibration data) and int8 weights (a scale per column). Before
that, outlier channels of the activations are moved into the weights (SmoothQuant, Xiao et al. 2023, equation 4).
Afterwards, the matrix products whose quantization costs the most accuracy are left unquantized. Attention, softmax and
normalisation stay in floating point.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from ..runtime.bundle.manifest import Precision, QuantizationRecord
from .activation_ranges import ActivationRange, find_matmul_nodes, measure_ranges, open_session
from .saturation import can_saturate, limit_pair_sums

#: How far outliers move from the activations (0) to the weights (1), the exponent alpha of SmoothQuant. Of values from
#: 0.4 to 1, this gave the smallest error of the encoder's words, with MiniLM on CoNLL04's training sentences.
SMOOTHING = 0.85

#: Largest relative error that int8 may cause in a graph's first output (for the encoder, its words), as the root of the
#: summed squared errors of the quantized matrix products. There are two budgets because an unquantized matrix product
#: is slow on a CPU (fp32) but costs little on a GPU (fp16).
ERROR_BUDGETS = {"int8": 0.05, "int8-qdq": 0.025}

#: Number of calibration sentences on which the error of each matrix product is measured.
MAX_MEASURED_SENTENCES = 16

#: Size in bytes from which an embedding table is quantized; smaller tables stay in fp32.
MIN_TABLE_BYTES = 1 << 20

#: Lower limit of smoothing factors and of the values they are computed from, against division by zero.
_SMALLEST = 1e-5


def quantize_matmuls(
    model: onnx.ModelProto,
    inputs: Sequence[Mapping[str, np.ndarray]],
    *,
    precision: Precision,
    data: str,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[onnx.ModelProto, QuantizationRecord]:
    """Quantize a copy of an fp32 graph to int8 with QuantizeLinear and DequantizeLinear nodes (QDQ).

    Args:
        model: The fp32 graph; it is not modified.
        inputs: Input arrays of each run on the calibration data.
        precision: ``int8-qdq`` has symmetric signed activations, which GPUs require. ``int8`` has unsigned activations
            with a zero point, which CPUs multiply faster and which waste no codes on one-sided values; its weights
            cannot saturate on CPUs without VNNI.
        data: Name of the calibration data, for the report.
        log: Called with a line of text at each step.

    Returns:
        The quantized graph, and the report on the quantization.
    """
    symmetric = precision == "int8-qdq"
    smoothed = smooth_activations(model, inputs)
    nodes = find_matmul_nodes(smoothed, weights_only=True)
    measured = measure_ranges(smoothed, {name for node in nodes for name in (node.input[0], node.output[0])}, inputs)
    log(f"measuring the int8 error of {len(nodes)} matrix products")
    sensitivity = _measure_sensitivity(
        smoothed, [node.name for node in nodes], measured, inputs[:MAX_MEASURED_SENTENCES], symmetric
    )
    kept = choose_unquantized(sensitivity, ERROR_BUDGETS[precision])
    quantized = [name for name in sensitivity if name not in kept]
    result = _insert_qdq(smoothed, quantized, measured, symmetric)
    return result, QuantizationRecord(
        data=data,
        sentences=len(inputs),
        method=f"static {'symmetric' if symmetric else 'asymmetric'} QDQ, per-channel weights, MinMax, "
        f"SmoothQuant {SMOOTHING}",
        quantized=len(quantized),
        kept=kept,
        sensitivity={name: round(value, 6) for name, value in sensitivity.items()},
        saturates=can_saturate(result),
    )


def merge_reports(reports: Mapping[str, QuantizationRecord]) -> QuantizationRecord:
    """Merge the quantization reports of several graphs.

    Args:
        reports: Report of each graph, by the name of the graph.

    Returns:
        A single report, in which matrix products are named ``graph.node``.
    """
    first = next(iter(reports.values()))
    return msgspec.structs.replace(
        first,
        quantized=sum(report.quantized for report in reports.values()),
        kept=[f"{graph}.{name}" for graph, report in reports.items() for name in report.kept],
        sensitivity={
            f"{graph}.{name}": value for graph, report in reports.items() for name, value in report.sensitivity.items()
        },
        saturates=any(report.saturates for report in reports.values()),
    )


def smooth_activations(model: onnx.ModelProto, inputs: Sequence[Mapping[str, np.ndarray]]) -> onnx.ModelProto:
    """Move outlier channels from activations to weights: ``x W = (x / s) (s W)``, with a factor s per channel of x.

    Matrix products that read the same tensor share the factors.

    Args:
        model: The fp32 graph; it is not modified.
        inputs: Input arrays of each run on the calibration data.

    Returns:
        A graph that computes the same function.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in find_matmul_nodes(copy, weights_only=True):
        readers.setdefault(node.input[0], []).append(node)
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    for name, limits in measure_ranges(model, readers, inputs, per_channel=True).items():
        nodes = readers[name]
        values = [numpy_helper.to_array(weights[node.input[1]]) for node in nodes]
        largest = np.max([np.abs(value).max(1) for value in values], 0)
        factor = np.maximum(limits.max_abs, _SMALLEST) ** SMOOTHING
        factor = np.maximum(factor / np.maximum(largest, _SMALLEST) ** (1 - SMOOTHING), _SMALLEST).astype(np.float32)
        copy.graph.initializer.append(numpy_helper.from_array(1 / factor, f"{name}.factor"))
        scaling = helper.make_node("Mul", [name, f"{name}.factor"], [f"{name}.smooth"], f"{name}.smoothing")
        copy.graph.node.insert(list(copy.graph.node).index(nodes[0]), scaling)
        for node, value in zip(nodes, values, strict=True):
            scaled = f"{node.name}.smooth_weight"
            copy.graph.initializer.append(numpy_helper.from_array(value * factor[:, None], scaled))
            node.input[:] = [f"{name}.smooth", scaled]
    _drop_unused_initializers(copy)
    return copy


def choose_unquantized(sensitivity: Mapping[str, float], budget: float) -> list[str]:
    """Choose the matrix products that stay unquantized.

    Args:
        sensitivity: Relative error that each matrix product causes when only it is quantized.
        budget: Largest root of the summed squared errors of the quantized matrix products.

    Returns:
        The smallest set, most sensitive first, without which the others stay within the budget.
    """
    kept: list[str] = []
    total = sum(value**2 for value in sensitivity.values())
    for name in sorted(sensitivity, key=lambda name: (-sensitivity[name], name)):
        if total <= budget**2:
            break
        kept.append(name)
        total -= sensitivity[name] ** 2
    return kept


def _measure_sensitivity(
    smoothed: onnx.ModelProto,
    names: Sequence[str],
    measured: Mapping[str, ActivationRange],
    inputs: Sequence[Mapping[str, np.ndarray]],
    symmetric: bool,
) -> dict[str, float]:
    """Measure the relative error of the first output when only a single matrix product is quantized, for each."""
    model, switches = _add_switches(smoothed, _insert_qdq(smoothed, names, measured, symmetric))
    session = open_session(model)
    output = model.graph.output[0].name
    input_names = [value.name for value in smoothed.graph.input]
    off = {switch.name: np.array(False) for switch in switches.values()}

    def outputs(changes: Mapping[str, np.ndarray]) -> np.ndarray:
        calls = [{**{name: arrays[name] for name in input_names}, **off, **changes} for arrays in inputs]
        return np.concatenate([session.run([output], arrays)[0].ravel() for arrays in calls])

    expected = outputs({})
    norm = np.linalg.norm(expected)
    return {
        name: float(np.linalg.norm(outputs({on.name: np.array(True), on.weight: on.rounded}) - expected) / norm)
        for name, on in switches.items()
    }


class _Int8Switch(NamedTuple):
    """Graph inputs that quantize a single matrix product.

    ``name`` is the boolean input that makes the activations int8, ``weight`` the input that replaces the weight, and
    ``rounded`` the weight rounded to int8.
    """

    name: str
    weight: str
    rounded: np.ndarray


def _add_switches(
    smoothed: onnx.ModelProto, quantized: onnx.ModelProto
) -> tuple[onnx.ModelProto, dict[str, _Int8Switch]]:
    """Add inputs to the graph that quantize each matrix product at run time, so that a single session measures all."""
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    codes = {tensor.name: tensor for tensor in graph.initializer}
    exact = {node.name: node.input[1] for node in find_matmul_nodes(smoothed, weights_only=True)}
    weights = {tensor.name: tensor for tensor in smoothed.graph.initializer}
    switches: dict[str, _Int8Switch] = {}
    for index, node in reversed(list(enumerate(graph.node))):
        if node.name not in exact:
            continue
        activations, weight = producers[node.input[0]], producers[node.input[1]]
        scale = numpy_helper.to_array(codes[weight.input[1]])
        rounded = numpy_helper.to_array(codes[weight.input[0]]).astype(np.float32) * scale
        switch = _Int8Switch(f"{node.name}.on", exact[node.name], rounded)
        switches[node.name] = switch
        graph.input.append(helper.make_tensor_value_info(switch.name, onnx.TensorProto.BOOL, []))
        graph.input.append(helper.make_tensor_value_info(switch.weight, onnx.TensorProto.FLOAT, rounded.shape))
        graph.initializer.append(weights[switch.weight])  # the default value of the input
        selected = f"{node.name}.selected"
        sources = [switch.name, activations.output[0], producers[activations.input[0]].input[0]]
        node.input[:] = [selected, switch.weight]
        graph.node.insert(index, helper.make_node("Where", sources, [selected], f"{selected}.where"))
    used = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] not in used]:
        graph.node.remove(node)
    _drop_unused_initializers(model)
    return model, dict(reversed(switches.items()))


def _insert_qdq(
    model: onnx.ModelProto, names: Sequence[str], measured: Mapping[str, ActivationRange], symmetric: bool
) -> onnx.ModelProto:
    """Quantize the named matrix products of a copy of the graph, with the measured activation ranges."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not names:  # the quantizer takes an empty list to mean all nodes
        return copy
    data = {
        name: tuple(np.asarray(value, np.float32) for value in limits.over_channels)
        for name, limits in measured.items()
    }
    unquantized = {node.name: node.input[0] for node in find_matmul_nodes(model) if node.name not in names}
    with _silence_logging():
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
            if node.name in unquantized:  # the quantizer also redirects these to the quantized tensor
                node.input[0] = unquantized[node.name]
        quantizer.model.topological_sort()
        quantized: onnx.ModelProto = quantizer.model.model
    return quantized if symmetric else limit_pair_sums(quantized, model)


@contextmanager
def _silence_logging() -> Iterator[None]:
    """Suppress the quantizer's warnings, which go to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _drop_unused_initializers(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)


def quantize_embedding_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize large embedding tables to int8 with a scale per row, in place.

    A table is quantized if only Gather nodes read it and it has at least ``MIN_TABLE_BYTES`` bytes.

    Args:
        model: The graph to modify.

    Returns:
        The same graph.
    """
    tables = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for name, table in tables.items():
        gathers = readers.get(name, [])
        gathered = all(node.op_type == "Gather" and node.input[0] == name for node in gathers)
        if not (gathers and gathered) or table.ByteSize() < MIN_TABLE_BYTES:
            continue
        values = numpy_helper.to_array(table)
        scale = np.maximum(np.abs(values).max(-1, keepdims=True) / 127, 1e-12).astype(np.float32)
        codes = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        model.graph.initializer.remove(table)
        model.graph.initializer.append(numpy_helper.from_array(codes, f"{name}.int8"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        for node in gathers:
            _replace_gather(model, node, name)
    return model


def _replace_gather(model: onnx.ModelProto, node: onnx.NodeProto, name: str) -> None:
    """Replace a Gather from a float table by one from the int8 table, followed by its dequantization."""
    position = list(model.graph.node).index(node)
    output = node.output[0]
    replacements = [
        helper.make_node("Gather", [f"{name}.int8", node.input[1]], [f"{output}.int8"], f"{node.name}.codes", axis=0),
        helper.make_node(
            "Cast", [f"{output}.int8"], [f"{output}.cast"], f"{node.name}.cast", to=onnx.TensorProto.FLOAT
        ),
        helper.make_node("Gather", [f"{name}.scale", node.input[1]], [f"{output}.scale"], f"{node.name}.scale", axis=0),
        helper.make_node("Mul", [f"{output}.cast", f"{output}.scale"], [output], f"{node.name}.value"),
    ]
    model.graph.node.remove(node)
    for offset, replacement in enumerate(replacements):
        model.graph.node.insert(position + offset, replacement)

"""Conversion of the four fp32 graphs to the precision of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from ..runtime.bundle.manifest import Precision, QuantizationRecord
from .activation_ranges import find_matmul_nodes, measure_ranges
from .half_precision import HALF_TYPES, convert_to_half
from .quantize import merge_reports, quantize_embedding_tables, quantize_matmuls
from .rewriting.cpu_graph import rewrite_for_cpu

#: Graphs whose matrix products are quantized to int8: for CPUs, all graphs that multiply every word; for GPUs not the
#: fusion, which is too small to get faster.
QUANTIZED_GRAPHS: dict[Precision, tuple[str, ...]] = {"int8": ("encoder", "fusion"), "int8-qdq": ("encoder",)}

#: Input arrays of every call of each subgraph, as a pipeline passes them.
SubgraphInputs = Mapping[str, Sequence[Mapping[str, np.ndarray]]]


class ConvertedGraphs(NamedTuple):
    """Graphs converted to a precision.

    Attributes:
        shipped: Graphs for the bundle.
        comparable: Graphs that compute the same values on any CPU: fp32, rounded wherever the shipped types round.
        quantization: Report on the int8 quantization, if any.
    """

    shipped: dict[str, onnx.ModelProto]
    comparable: dict[str, onnx.ModelProto]
    quantization: QuantizationRecord | None = None


def convert_precision(
    models: Mapping[str, onnx.ModelProto],
    precision: Precision,
    typical: SubgraphInputs,
    calibration: SubgraphInputs | None,
    data: str,
    log: Callable[[str], None],
) -> ConvertedGraphs:
    """Convert fp32 graphs to a precision.

    Args:
        models: The fp32 graphs by name.
        precision: The new precision.
        typical: Inputs from typical sentences, to measure how large matrix products get; used for half precision.
        calibration: Inputs from the calibration data, to measure activation ranges; required for int8.
        data: Name of the calibration data, for the report.
        log: Called with a line of text at each step.

    Returns:
        The converted graphs.

    Raises:
        BundleError: A weight exceeds the range of the half type.
    """
    models = dict(models)
    quantization = None
    if calibration is not None:
        log(f"measuring int8 activation ranges on {len(calibration['encoder'])} sentences")
        reports = {}
        for name in QUANTIZED_GRAPHS[precision]:
            models[name], reports[name] = quantize_matmuls(
                models[name], calibration[name], precision=precision, data=data, log=log
            )
        quantization = merge_reports(reports)
    if precision == "int8":
        models["encoder"] = quantize_embedding_tables(models["encoder"])
        models = {name: rewrite_for_cpu(model, _name_lines(log, name)) for name, model in models.items()}
    if precision in ("fp32", "int8"):
        return ConvertedGraphs(models, models, quantization)
    half = "fp16" if precision == "int8-qdq" else precision
    assert half in HALF_TYPES
    shipped, comparable = {}, {}
    for name, model in models.items():
        log(f"converting {name} to {half}")
        peaks = _measure_peaks(model, typical[name])
        shipped[name] = convert_to_half(model, half, peaks)
        comparable[name] = convert_to_half(model, half, peaks, rounded=True)
    return ConvertedGraphs(shipped, comparable, quantization)


def _name_lines(log: Callable[[str], None], name: str) -> Callable[[str], None]:
    """Return a log whose lines begin with the name of a graph."""
    return lambda line: log(f"{name}: {line}")


def _measure_peaks(model: onnx.ModelProto, inputs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Measure the largest magnitude of each matrix product's output."""
    measured = measure_ranges(model, [node.output[0] for node in find_matmul_nodes(model)], inputs)
    return {name: float(limits.max_abs) for name, limits in measured.items()}

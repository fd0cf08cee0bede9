"""The four fp32 graphs in the types a bundle is to have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from ..runtime.manifest import Precision, Quantization
from .calibration import matrix_products, ranges
from .half import TYPES, to_half
from .quantize import joined, quantize, quantize_tables

#: The graphs whose products an eight-bit bundle has in int8: on a CPU all that multiply every word; a GPU gains nothing
#: from so small a graph as the fusion.
QUANTIZED: dict[Precision, tuple[str, ...]] = {"int8": ("encoder", "fusion"), "int8-qdq": ("encoder",)}

#: Inputs of every subgraph, as a pipeline gives them.
Inputs = Mapping[str, Sequence[Mapping[str, np.ndarray]]]


class Converted(NamedTuple):
    """Graphs to ship; the same ones with numbers any CPU has, rounded as the shipped types round; how int8 was made."""

    shipped: dict[str, onnx.ModelProto]
    comparable: dict[str, onnx.ModelProto]
    quantization: Quantization | None = None


def convert(
    models: Mapping[str, onnx.ModelProto],
    precision: Precision,
    typical: Inputs,
    calibration: Inputs | None,
    data: str,
    say: Callable[[str], None],
) -> Converted:
    """Rewrite fp32 ``models`` in ``precision``.

    ``typical`` inputs show how large half-precision products get, ``calibration`` inputs, which come from the file
    called ``data``, give int8 its ranges.

    Raises:
        BundleError: a weight does not fit the type.
    """
    models = dict(models)
    quantization = None
    if calibration is not None:
        say(f"calibrating int8 on {len(calibration['encoder'])} sentences")
        reports = {}
        for name in QUANTIZED[precision]:
            models[name], reports[name] = quantize(
                models[name], calibration[name], precision=precision, data=data, say=say
            )
        quantization = joined(reports)
    if precision == "int8":
        models["encoder"] = quantize_tables(models["encoder"])
    if precision in ("fp32", "int8"):
        return Converted(models, models, quantization)
    half = "fp16" if precision == "int8-qdq" else precision
    assert half in TYPES
    shipped, comparable = {}, {}
    for name, model in models.items():
        say(f"rewriting {name} in {half}")
        peaks = _peaks(model, typical[name])
        shipped[name] = to_half(model, half, peaks)
        comparable[name] = to_half(model, half, peaks, rounded=True)
    return Converted(shipped, comparable, quantization)


def _peaks(model: onnx.ModelProto, inputs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The largest magnitude of each product's output."""
    found = ranges(model, [node.output[0] for node in matrix_products(model)], inputs)
    return {name: float(one.largest) for name, one in found.items()}

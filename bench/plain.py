"""The transformer alone, cut out of a bundle's own encoder: the least that extraction could cost in the same engine."""

from __future__ import annotations

import onnx
from onnx import shape_inference
from onnx.utils import Extractor

from ..runtime.errors import BundleError

#: The tensor that holds the transformer's last hidden states ``[batch, subwords, H]``, and the inputs it needs.
STATES = "subwords"
INPUTS = ("input_ids", "attention_mask")


def cut(model: bytes) -> bytes:
    """The bytes of ``encoder.onnx`` without what follows the transformer; its one output is :data:`STATES`.

    Raises:
        BundleError: the graph does not show where the transformer ends.
    """
    whole = onnx.load_from_string(model)
    if not any(STATES in node.output for node in whole.graph.node):
        raise BundleError(f"encoder.onnx has no tensor {STATES!r}, so the plain encoder is not known; export again")
    given = [value.name for value in whole.graph.input if value.name in INPUTS]
    part = Extractor(shape_inference.infer_shapes(whole)).extract_model(given, [STATES])
    return bytes(part.SerializeToString())

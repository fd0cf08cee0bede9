"""Cut the transformer out of a bundle's encoder: the baseline that extraction is compared with on the same backend."""

from __future__ import annotations

import onnx
from onnx import shape_inference
from onnx.utils import Extractor

from ...runtime.errors import BundleError

#: Tensor with the transformer's last hidden states ``[batch, subwords, H]``.
STATES = "subwords"
#: Inputs that the transformer needs.
INPUTS = ("input_ids", "attention_mask")


def cut(model: bytes) -> bytes:
    """Cut the transformer out of ``encoder.onnx``.

    Args:
        model: Serialized ``encoder.onnx``.

    Returns:
        The serialized transformer; its only output is ``STATES``.

    Raises:
        BundleError: The graph does not show where the transformer ends.
    """
    encoder = onnx.load_from_string(model)
    if not any(STATES in node.output for node in encoder.graph.node):
        raise BundleError(
            f"encoder.onnx has no tensor {STATES!r}, which marks the end of the transformer; export the bundle again"
        )
    inputs = [value.name for value in encoder.graph.input if value.name in INPUTS]
    part = Extractor(shape_inference.infer_shapes(encoder)).extract_model(inputs, [STATES])
    return bytes(part.SerializeToString())

"""Cut the transformer out of a bundle's encoder: the baseline that extraction is compared with on the same backend."""

from __future__ import annotations

import onnx
from onnx import shape_inference
from onnx.utils import Extractor

from ...runtime.errors import BundleError

#: Tensor with the transformer's last hidden states ``[batch, subwords, H]``.
HIDDEN_STATES = "subwords"
#: Inputs that the transformer needs.
TRANSFORMER_INPUTS = ("input_ids", "attention_mask")


def cut_transformer(model: bytes) -> bytes:
    """Cut the transformer out of ``encoder.onnx``.

    Args:
        model: Serialized ``encoder.onnx``.

    Returns:
        The serialized transformer; its only output is ``HIDDEN_STATES``.

    Raises:
        BundleError: The graph does not show where the transformer ends.
    """
    encoder = onnx.load_from_string(model)
    if not any(HIDDEN_STATES in node.output for node in encoder.graph.node):
        raise BundleError(
            f"encoder.onnx has no tensor {HIDDEN_STATES!r}, which marks the end of the transformer;"
            " export the bundle again"
        )
    inputs = [value.name for value in encoder.graph.input if value.name in TRANSFORMER_INPUTS]
    part = Extractor(shape_inference.infer_shapes(encoder)).extract_model(inputs, [HIDDEN_STATES])
    return bytes(part.SerializeToString())

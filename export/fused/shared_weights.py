"""Let a graph take its weights from the other files of a bundle, so that the bundle holds each weight once."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto

#: Weights of fewer bytes stay in the graph.
MIN_SHARED_BYTES = 1024


def share_weights(model: onnx.ModelProto, files: Mapping[str, bytes]) -> onnx.ModelProto:
    """Replace the weights that another file holds byte by byte with references to their place in it.

    References are ONNX's external data, whose files may be of any kind.

    Args:
        model: Graph; it is not modified.
        files: Content of the other files by name.

    Returns:
        The graph with references.
    """
    shared = onnx.ModelProto()
    shared.CopyFrom(model)
    for tensor in shared.graph.initializer:
        content = tensor.raw_data
        if len(content) < MIN_SHARED_BYTES:
            continue
        for name, other in files.items():
            offset = other.find(content)
            if offset >= 0:
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in (("location", name), ("offset", offset), ("length", len(content))):
                    tensor.external_data.add(key=key, value=str(value))
                break
    return shared

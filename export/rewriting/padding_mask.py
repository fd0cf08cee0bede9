"""Tell whether a tensor that is added to attention scores does nothing but hide padding."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from ..activation_ranges import open_session

#: Input of an encoder that is 1 for subwords and 0 for padding.
_MASK = "attention_mask"

#: Scores from here on have no weight beside others.
_HIDDEN = -1e4

#: Sizes of the batch and numbers of subwords on which a tensor is computed.
_SHAPES = ((1, 1), (1, 7), (3, 5), (4, 2))


def find_padding_value(model: onnx.ModelProto, name: str) -> float | None:
    """Return the value that a tensor adds to the scores of padding, if it adds 0 to all others.

    The nodes that compute it differ between encoders and versions of their library, so it is computed on a few masks
    instead of being recognized by its nodes.

    Args:
        model: Graph of an encoder.
        name: A tensor that is added to attention scores.

    Returns:
        The value, or None for a tensor that depends on more than the mask, or does something else.
    """
    part = _cut_out(model, name)
    if part is None:
        return None
    session = open_session(part)
    random = np.random.default_rng(0)
    found: set[float] = set()
    for batch, subwords in _SHAPES:
        mask = random.integers(0, 2, (batch, subwords))
        mask[-1] = 0
        for given in (mask, np.ones_like(mask)):
            (value,) = session.run([name], {_MASK: given})
            shape = (batch, 1, subwords, subwords)
            try:
                value, real = np.broadcast_to(value, shape), np.broadcast_to(given[:, None, None] != 0, shape)
            except ValueError:
                return None
            if value[real].any():
                return None
            found.update(value[~real].tolist())
    return found.pop() if len(found) == 1 and max(found) <= _HIDDEN else None


def _cut_out(model: onnx.ModelProto, name: str) -> onnx.ModelProto | None:
    """Return a model that computes a tensor from the mask alone; None if it depends on other inputs, or on no mask."""
    inputs = {value.name: value for value in model.graph.input}
    needed, nodes = {name}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    if needed & inputs.keys() != {_MASK}:
        return None
    graph = helper.make_graph(
        nodes[::-1],
        "mask",
        [inputs[_MASK]],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)

"""Write fused operators out as standard ones, so that their matrix products can be counted."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from .graph_editor import FUSED_DOMAIN, GraphEditor, get_attribute, infer_tensors, list_dimensions
from .integer_products import INTEGER_PRODUCT


def write_out_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the same matrix products as MatMul nodes, of the same types and shapes.

    ONNX can infer the types and shapes of its tensors, which it cannot of fused operators. The graph is for counting:
    biases and masks are left out.

    Args:
        model: Graph with or without fused operators of ONNX Runtime.
    """
    if not any(node.domain == FUSED_DOMAIN for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    widths = {name: (list_dimensions(value) or [None])[-1] for name, value in infer_tensors(model).items()}
    editor = GraphEditor(copy)
    for node in list(editor.nodes):
        if node.domain != FUSED_DOMAIN:
            continue
        if node.op_type == INTEGER_PRODUCT:
            _write_out_integer_product(editor, node)
        elif node.op_type == "MultiHeadAttention":
            width = widths.get(node.input[2])
            if width is not None:
                _write_out_attention(editor, node, width)
        elif node.op_type == "Gelu":
            editor.replace(node, helper.make_node("Identity", node.input[:1], node.output[:1], node.name))
    editor.finish()
    return copy


def _write_out_integer_product(editor: GraphEditor, node: onnx.NodeProto) -> None:
    codes, weight, codes_scale, weight_scale, codes_zero = node.input[:5]
    (output,) = node.output
    left, right = f"{output}.codes", f"{output}.weight"
    editor.replace(
        node,
        helper.make_node("DequantizeLinear", [codes, codes_scale, codes_zero], [left], left),
        helper.make_node("DequantizeLinear", [weight, weight_scale], [right], right, axis=1),
        helper.make_node("MatMul", [left, right], [output], node.name),
    )


def _write_out_attention(editor: GraphEditor, node: onnx.NodeProto, width: int) -> None:
    query, key, value = node.input[:3]
    (output,) = node.output
    heads = int(get_attribute(node, "num_heads"))
    split = editor.add_constant(f"{output}.split", np.array([0, 0, heads, width // heads]))
    joined = editor.add_constant(f"{output}.joined", np.array([0, 0, width]))
    nodes: list[onnx.NodeProto] = []
    for name, order in ((query, [0, 2, 1, 3]), (key, [0, 2, 3, 1]), (value, [0, 2, 1, 3])):
        part = f"{output}.{len(nodes)}"
        nodes.append(helper.make_node("Reshape", [name, split], [f"{part}.shaped"], f"{part}.shaped"))
        nodes.append(helper.make_node("Transpose", [f"{part}.shaped"], [part], part, perm=order))
    queries, keys, values = (transpose.output[0] for transpose in nodes[1::2])
    editor.replace(
        node,
        *nodes,
        helper.make_node("MatMul", [queries, keys], [f"{output}.scores"], f"{node.name}.scores"),
        helper.make_node("Softmax", [f"{output}.scores"], [f"{output}.weights"], f"{output}.weights", axis=-1),
        helper.make_node("MatMul", [f"{output}.weights", values], [f"{output}.heads"], f"{node.name}.heads"),
        helper.make_node("Transpose", [f"{output}.heads"], [f"{output}.turned"], f"{output}.turned", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"{output}.turned", joined], [output], f"{output}.joined"),
    )

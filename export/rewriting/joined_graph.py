"""Rewrite what is slow on a CPU in a joined graph, as the separate graphs have it.

It recognizes the form that ``export.subgraphs`` has, and leaves a graph of any other form as it is.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, shape_inference

from .graph_editor import GraphEditor, Tensors, list_dimensions


def simplify_joined_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a copy of a joined graph for ONNX Runtime on a CPU.

    Args:
        model: Graph with its weights; it is not modified.

    Returns:
        A graph with fewer or faster nodes, whose results differ by rounding at most.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    editor = GraphEditor(copy)
    _multiply_span_widths_apart(editor, tensors)
    editor.finish()
    return copy


def _multiply_span_widths_apart(editor: GraphEditor, tensors: Tensors) -> None:
    """Multiply the spans of each width by the weights instead of all of them, which must be copied side by side first.

    The spans are the largest tensor behind the encoder: ten times the words, for spans of up to ten.
    """
    for product in [node for node in editor.nodes if node.op_type == "MatMul"]:
        view = editor.producer(product.input[0], "Reshape")
        spans = editor.producer(view.input[0], "Concat") if view is not None else None
        weight = editor.constant(product.input[1])
        if spans is None or weight is None or weight.ndim != 2:
            continue
        width, columns = weight.shape
        side_by_side = _rank(tensors, spans.output[0]) == 3 and _width(tensors, spans.output[0]) == width * len(
            spans.input
        )
        if not side_by_side or {_width(tensors, name) for name in spans.input} != {width}:
            continue
        if _rank(tensors, product.input[0]) != 4 or _width(tensors, product.input[0]) != width:
            continue
        output = product.output[0]
        parts = [f"{output}/{place}" for place in range(len(spans.input))]
        shape = editor.add_constant(f"{output}/shape", np.array([0, 0, len(parts), columns], np.int64))
        editor.replace(
            product,
            *(
                helper.make_node("MatMul", [name, product.input[1]], [part], name=part)
                for name, part in zip(spans.input, parts, strict=True)
            ),
            helper.make_node("Concat", parts, [f"{output}/widths"], name=f"{output}/widths", axis=-1),
            helper.make_node("Reshape", [f"{output}/widths", shape], [output], name=f"{output}/view"),
        )


def _rank(tensors: Tensors, name: str) -> int:
    """Return the number of axes of a tensor; 0 if it is not known."""
    return len(list_dimensions(tensors.get(name)) or ())


def _width(tensors: Tensors, name: str) -> int:
    """Return the size of the last axis of a tensor; 0 if it is not known."""
    sizes = list_dimensions(tensors.get(name)) or [0]
    return sizes[-1] or 0

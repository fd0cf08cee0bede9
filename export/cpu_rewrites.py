"""Rewrite what is slow on a CPU in a joined graph, as the separate graphs have it; results differ by rounding at most.

Every rewrite recognizes the form that ``subgraphs`` exports, and leaves a graph of any other form as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference


def rewrite_for_cpu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a joined graph for ONNX Runtime on a CPU.

    Args:
        model: Graph with its weights; it is not modified.

    Returns:
        The graph with fewer or faster nodes.
    """
    graph = _Graph(model)
    _multiply_span_widths_apart(graph)
    _score_labels_at_once(graph)
    _multiply_by_inverse(graph)
    return graph.finish()


class _Graph:
    """A graph to change: nodes by what they compute, weights and shapes by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self.nodes = list(self._model.graph.node)
        self.weights = {tensor.name: tensor for tensor in self._model.graph.initializer}
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
        self._types = {
            value.name: value.type.tensor_type for value in (*inferred.input, *inferred.value_info, *inferred.output)
        }
        self._producers = {name: node for node in self.nodes for name in node.output}

    def find(self, op_type: str) -> Iterator[NodeProto]:
        """Yield the nodes of an operator, which may be replaced meanwhile."""
        return (node for node in list(self.nodes) if node.op_type == op_type)

    def get_producer(self, name: str, op_type: str) -> NodeProto | None:
        """Return the node that computes a tensor if it has this operator."""
        node = self._producers.get(name)
        return node if node is not None and node.op_type == op_type else None

    def get_constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """Return the value of a weight, or None if the tensor is none."""
        return numpy_helper.to_array(self.weights[name]) if name in self.weights else None

    def get_rank(self, name: str) -> int:
        """Return the number of axes of a tensor; 0 if it is not known."""
        return len(self._types[name].shape.dim) if name in self._types else 0

    def get_width(self, name: str) -> int:
        """Return the size of the last axis of a tensor; 0 if it is not known."""
        return self._types[name].shape.dim[-1].dim_value if self.get_rank(name) else 0

    def get_element_type(self, name: str) -> np.dtype[np.generic] | None:
        """Return the numpy type of a tensor; None if it is not known, or numpy lacks it."""
        kind = self._types[name].elem_type if name in self._types else TensorProto.UNDEFINED
        return None if kind in (TensorProto.UNDEFINED, TensorProto.BFLOAT16) else helper.tensor_dtype_to_np_dtype(kind)

    def add_constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """Add a weight and return its name."""
        self.weights[name] = numpy_helper.from_array(value, name)
        return name

    def replace(self, old: NodeProto, nodes: list[NodeProto]) -> None:
        """Put nodes in the place of one; the last has its output."""
        place = next(index for index, node in enumerate(self.nodes) if node is old)
        self.nodes[place : place + 1] = nodes
        self._producers.update({name: node for node in nodes for name in node.output})

    def finish(self) -> onnx.ModelProto:
        """Return the model, without nodes and weights whose results nobody takes."""
        outputs = {value.name for value in self._model.graph.output}
        kept: list[NodeProto] = []
        wanted = set(outputs)
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(reversed(kept))
        model.graph.initializer.extend(tensor for name, tensor in self.weights.items() if name in wanted)
        return model


def _multiply_span_widths_apart(graph: _Graph) -> None:
    """Multiply the spans of each width by the weights instead of all of them, which must be copied side by side first.

    The spans are the largest tensor behind the encoder: ten times the words, for spans of up to ten.
    """
    for product in graph.find("MatMul"):
        view = graph.get_producer(product.input[0], "Reshape")
        spans = graph.get_producer(view.input[0], "Concat") if view is not None else None
        weight = graph.weights.get(product.input[1])
        if spans is None or weight is None or len(weight.dims) != 2:
            continue
        width, columns = weight.dims
        side_by_side = graph.get_rank(spans.output[0]) == 3 and graph.get_width(spans.output[0]) == width * len(
            spans.input
        )
        if not side_by_side or {graph.get_width(name) for name in spans.input} != {width}:
            continue
        if graph.get_rank(product.input[0]) != 4 or graph.get_width(product.input[0]) != width:
            continue
        output = product.output[0]
        parts = [f"{output}/{place}" for place in range(len(spans.input))]
        shape = graph.add_constant(f"{output}/shape", np.array([0, 0, len(parts), columns], np.int64))
        graph.replace(
            product,
            [
                *(
                    helper.make_node("MatMul", [name, product.input[1]], [part], name=part)
                    for name, part in zip(spans.input, parts, strict=True)
                ),
                helper.make_node("Concat", parts, [f"{output}/widths"], name=f"{output}/widths", axis=-1),
                helper.make_node("Reshape", [f"{output}/widths", shape], [output], name=f"{output}/view"),
            ],
        )


def _score_labels_at_once(graph: _Graph) -> None:
    """Multiply the scores of labels by the head's view and a one, instead of cutting off what is added to the product.

    Cutting copies a matrix of views times labels for every word.
    """
    for total in graph.find("Add"):
        for product_name, rest in (total.input, tuple(reversed(total.input))):
            product, parts = graph.get_producer(product_name, "MatMul"), graph.get_producer(rest, "Split")
            if product is None or parts is None or list(parts.output) != [product.input[0], rest]:
                continue
            column = graph.get_producer(product.input[1], "Unsqueeze")
            width = graph.get_width(parts.input[0])
            if column is None or graph.get_rank(parts.input[0]) != 4 or graph.get_rank(column.input[0]) != 3:
                continue
            if not 0 < graph.get_width(column.input[0]) == width - 1 or graph.get_width(rest) != 1:
                continue
            output, kind = total.output[0], graph.get_element_type(column.input[0])
            if kind is None:
                continue
            pads = graph.add_constant(f"{output}/pads", np.array([0, 0, 0, 0, 0, 1], np.int64))
            one = graph.add_constant(f"{output}/one", np.array(1, kind))
            padded, view = f"{output}/padded", f"{output}/column"
            graph.replace(
                total,
                [
                    helper.make_node("Pad", [column.input[0], pads, one], [padded], name=padded),
                    helper.make_node("Unsqueeze", [padded, column.input[1]], [view], name=view),
                    helper.make_node("MatMul", [parts.input[0], view], [output], name=f"{output}/product"),
                ],
            )
            break


def _multiply_by_inverse(graph: _Graph) -> None:
    """Multiply by the inverse of a power of two instead of dividing, which gives the same and takes less time."""
    for division in graph.find("Div"):
        divisor = graph.get_constant(division.input[1])
        if divisor is None or divisor.size != 1 or divisor.dtype not in (np.float32, np.float16):
            continue
        value = float(divisor.reshape(()))
        if abs(np.frexp(value)[0]) != 0.5 or not 2**-8 <= abs(value) <= 2**8:
            continue
        output = division.output[0]
        inverse = graph.add_constant(f"{output}/inverse", np.array(1 / value, divisor.dtype))
        graph.replace(
            division, [helper.make_node("Mul", [division.input[0], inverse], [output], name=f"{output}/scaled")]
        )

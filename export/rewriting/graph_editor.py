"""Find, replace and remove the nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

#: Domain of the operators that ONNX Runtime adds to those of ONNX.
FUSED_DOMAIN = "com.microsoft"

#: Inferred types and shapes of tensors, by name.
Tensors = Mapping[str, onnx.ValueInfoProto]


class GraphEditor:
    """The nodes of a graph with an index of its tensors; ``finish`` writes the changes to the model.

    To replace several nodes, replace the last of them: those whose outputs nobody reads are removed at the end.

    Args:
        model: The model to edit in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output}
        self._producers: dict[str, onnx.NodeProto] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self.nodes = list(model.graph.node)
        for node in self.nodes:
            self._add_to_index(node)

    def producer(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """Return the node that computes a tensor, if it is one of some operators.

        Args:
            name: Name of the tensor.
            operators: Accepted operators; all if none is given.
        """
        node = self._producers.get(name)
        return node if node is not None and (not operators or node.op_type in operators) else None

    def only_reader(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """Return the node that alone reads a tensor, if it is one of some operators; None for an output of the graph.

        Args:
            name: Name of the tensor.
            operators: Accepted operators; all if none is given.
        """
        readers = self._readers.get(name, [])
        if len(readers) != 1 or name in self._outputs:
            return None
        return readers[0] if not operators or readers[0].op_type in operators else None

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """Return the value of an initializer, or None for any other tensor."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """Return the value of an initializer of one element, or None for any other tensor."""
        value = self.constant(name)
        return None if value is None or value.size != 1 else float(value.item())

    def split_constant(self, node: onnx.NodeProto) -> tuple[str, str] | None:
        """Return the inputs of a node of two inputs, the initializer last; None unless exactly one is one."""
        first, second = node.input
        if (first in self._constants) == (second in self._constants):
            return None
        return (second, first) if first in self._constants else (first, second)

    def add_constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initializer and return its name; an existing one of the same name and value is reused.

        Args:
            name: Wanted name; a number is appended if it is taken.
            value: Its value.
        """
        unique, count = name, 0
        taken = self._producers.keys() | {entry.name for entry in self._model.graph.input}
        while unique in self._constants or unique in taken:
            existing = self.constant(unique)
            if existing is not None and existing.dtype == value.dtype and np.array_equal(existing, value):
                return unique
            count += 1
            unique = f"{name}.{count}"
        self._constants[unique] = numpy_helper.from_array(np.ascontiguousarray(value), unique)
        return unique

    def replace(self, node: onnx.NodeProto, *replacements: onnx.NodeProto) -> None:
        """Replace a node by others, the last of which has the node's outputs."""
        position = self._position(node)
        self._remove_from_index(node)
        self.nodes[position : position + 1] = replacements
        for replacement in replacements:
            self._add_to_index(replacement)

    def insert_first(self, node: onnx.NodeProto) -> None:
        """Insert a node that reads inputs of the graph and initializers only."""
        self.nodes.insert(0, node)
        self._add_to_index(node)

    def set_input(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Let a node read another tensor at one of its inputs."""
        self._readers[node.input[index]] = [
            reader for reader in self._readers.get(node.input[index], []) if reader is not node
        ] + [node] * (list(node.input).count(node.input[index]) - 1)
        node.input[index] = name
        self._readers.setdefault(name, []).append(node)

    def bypass(self, node: onnx.NodeProto, name: str) -> None:
        """Remove a node; whoever reads its output reads another tensor instead.

        Args:
            node: Node of one output, which is no output of the graph.
            name: The other tensor.
        """
        for reader in list(self._readers.get(node.output[0], [])):
            for index, given in enumerate(reader.input):
                if given == node.output[0]:
                    self.set_input(reader, index, name)
        del self.nodes[self._position(node)]
        self._remove_from_index(node)

    def is_output(self, name: str) -> bool:
        """Return True if a tensor is an output of the graph."""
        return name in self._outputs

    def remove_unused(self) -> None:
        """Remove the nodes whose outputs nobody reads."""
        needed = set(self._outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
            else:
                self._remove_from_index(node)
        self.nodes = kept[::-1]

    def finish(self) -> None:
        """Write the nodes to the model, without those nodes and initializers that nobody needs."""
        self.remove_unused()
        copies = [_copy_node(node) for node in self.nodes]
        needed = {name for node in copies for name in node.input} | self._outputs
        tensors = [tensor for name, tensor in self._constants.items() if name in needed]
        tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
        graph = self._model.graph
        del graph.node[:], graph.initializer[:]
        graph.node.extend(copies)
        graph.initializer.extend(tensors)
        known = {entry.domain for entry in self._model.opset_import}
        if FUSED_DOMAIN not in known and any(node.domain == FUSED_DOMAIN for node in copies):
            self._model.opset_import.append(helper.make_opsetid(FUSED_DOMAIN, 1))

    def _position(self, node: onnx.NodeProto) -> int:
        return next(index for index, other in enumerate(self.nodes) if other is node)

    def _add_to_index(self, node: onnx.NodeProto) -> None:
        self._producers.update(dict.fromkeys(node.output, node))
        for name in node.input:
            self._readers.setdefault(name, []).append(node)

    def _remove_from_index(self, node: onnx.NodeProto) -> None:
        for name in node.output:
            if self._producers.get(name) is node:
                del self._producers[name]
        for name in set(node.input):
            self._readers[name] = [reader for reader in self._readers[name] if reader is not node]


def get_attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of an attribute of a node.

    Args:
        node: The node.
        name: Name of the attribute.
        default: Value if the node lacks it.
    """
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def infer_tensors(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return the types and shapes of all tensors of a graph that ONNX can infer, by name."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}


def list_dimensions(value: onnx.ValueInfoProto | None) -> list[int | None] | None:
    """Return the sizes of a tensor's axes, None for an unknown one; None if even their number is unknown."""
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    dimensions: Iterable[Any] = value.type.tensor_type.shape.dim
    return [entry.dim_value if entry.HasField("dim_value") else None for entry in dimensions]


def _copy_node(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy

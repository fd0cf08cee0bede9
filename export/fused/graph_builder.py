"""Build an ONNX graph node by node, with the types of half precision written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from ..rewriting.graph_editor import FUSED_DOMAIN

#: How floats are computed: in fp32; in fp16, but for what ``single`` marks; or in fp32 and rounded to fp16 wherever the
#: fp16 graph has fp16, which gives its results on any device.
FloatMode = Literal["fp32", "fp16", "rounded"]

#: Opset of the built graphs.
OPSET = 18

_FUSED_OPERATORS = frozenset({"Attention", "BiasGelu", "FastGelu", "FusedMatMul", "SkipLayerNormalization"})


def to_array(weight: Tensor) -> npt.NDArray[np.float32]:
    """Return a weight of a model in fp32, for ``GraphBuilder.constant``."""
    array: npt.NDArray[np.float32] = weight.detach().float().numpy()
    return array


def count_nodes(graph: onnx.ModelProto) -> int:
    """Count the nodes of a built graph, but for those that join weights, which are computed when it is loaded."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    return sum(not constants.issuperset(node.input) for node in graph.graph.node)


class GraphBuilder:
    """Nodes and weights of a graph that is being built; a tensor is known by its name.

    Args:
        mode: How floats are computed.
    """

    def __init__(self, mode: FloatMode) -> None:
        self.mode = mode
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._named: list[onnx.ValueInfoProto] = []
        self._singles: set[str] = set()
        self._halves: dict[str, str] = {}
        self._count = 0

    @property
    def float_type(self) -> int:
        """Return the ONNX type of floats that are not marked as ``single``."""
        return TensorProto.FLOAT16 if self.mode == "fp16" else TensorProto.FLOAT

    def add_input(self, name: str, element_type: int, shape: Sequence[str | int]) -> str:
        """Declare an input of the graph.

        Args:
            name: Name of the tensor.
            element_type: ONNX element type.
            shape: Size of each axis, or its name.
        """
        self._inputs.append(helper.make_tensor_value_info(name, element_type, shape))
        return name

    def add_float_input(self, name: str, shape: Sequence[str | int]) -> str:
        """Declare an input of the graph that another graph has computed."""
        self.add_input(name, self.float_type, shape)
        return self._round(name) if self.mode == "rounded" else name

    def add_output(self, source: str, name: str, element_type: int, shape: Sequence[str | int]) -> None:
        """Make a tensor an output of the graph.

        Args:
            source: The tensor, which gets the name of the output.
            name: Name of the output.
            element_type: Its ONNX element type.
            shape: Size of each axis, or its name.
        """
        self._rename(source, name)
        self._outputs.append(helper.make_tensor_value_info(name, element_type, shape))

    def name_tensor(self, source: str, name: str, shape: Sequence[str | int]) -> str:
        """Give a tensor of the graph's float type a name that whoever reads the graph knows it by.

        Args:
            source: The tensor.
            name: Its new name.
            shape: Size of each axis, or its name.

        Returns:
            The new name, which replaces ``source`` from now on.
        """
        self._rename(source, name)
        self._named.append(helper.make_tensor_value_info(name, self.float_type, shape))
        return name

    def constant(self, value: npt.ArrayLike, *, single: bool = False) -> str:
        """Add a constant; floats get the float type of the graph.

        Args:
            value: The value.
            single: Keep floats in fp32.
        """
        array = np.asarray(value)
        if array.dtype.kind == "f" and not single:
            rounded = array if self.mode == "fp32" else array.astype(np.float16)
            array = rounded.astype(np.float16 if self.mode == "fp16" else np.float32)
        elif array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = self._new_name("constant")
        self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if single:
            self._singles.add(name)
        return name

    def add(self, operator: str, *inputs: str, rounds: bool = True, **attributes: Any) -> str:
        """Add a node with one output.

        Args:
            operator: ONNX operator, or a fused operator of ONNX Runtime.
            inputs: Its inputs; an empty string leaves one out.
            rounds: Whether the output is a float that half precision rounds.
            attributes: Attributes of the node.

        Returns:
            The output. It is fp32 if an input is marked as ``single``.
        """
        (output,) = self.add_outputs(operator, *inputs, count=1, **attributes)
        is_single = bool(self._singles.intersection(inputs))
        if is_single:
            self._singles.add(output)
        return self._round(output) if rounds and not is_single and self.mode == "rounded" else output

    def add_outputs(self, operator: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs, which copy their inputs and so do not round.

        Args:
            operator: ONNX operator.
            inputs: Its inputs.
            count: Number of outputs.
            attributes: Attributes of the node.
        """
        name = self._new_name(operator)
        outputs = [name] if count == 1 else [f"{name}_{index}" for index in range(count)]
        domain = FUSED_DOMAIN if operator in _FUSED_OPERATORS else ""
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, name, domain=domain, **attributes))
        return outputs

    def single(self, source: str) -> str:
        """Return a tensor in fp32; whatever is computed from it stays in fp32 until ``half``."""
        if self.mode == "fp32" or source in self._singles:
            return source
        attributes = {"to": TensorProto.FLOAT} if self.mode == "fp16" else {}
        (single,) = self.add_outputs("Cast" if attributes else "Identity", source, count=1, **attributes)
        self._singles.add(single)
        return single

    def half(self, source: str) -> str:
        """Return an fp32 tensor in the float type of the graph."""
        if self.mode == "fp32" or source not in self._singles:
            return source
        if self.mode == "rounded":
            return self._round(source)
        return self.add_outputs("Cast", source, count=1, to=TensorProto.FLOAT16)[0]

    def linear(self, states: str, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> str:
        """Multiply by a weight and add a bias.

        Args:
            states: ``[..., H]``.
            weight: ``[H, O]``.
            bias: ``[O]``, if any.

        Returns:
            ``[..., O]``.
        """
        product = self.add("MatMul", states, self.constant(weight))
        return product if bias is None else self.add("Add", product, self.constant(bias))

    def gather_rows(self, states: str, width: int, rows: str) -> str:
        """Gather rows of all sentences by their number in the batch.

        Args:
            states: ``[B, N, width]``.
            width: Size of the last axis.
            rows: Sentence * N + word, ``[...]``.

        Returns:
            ``[..., width]``.
        """
        table = self.add("Reshape", states, self.constant(np.array([-1, width])), rounds=False)
        return self.add("Gather", table, rows, rounds=False)

    def masked_softmax(self, scores: str, mask: str) -> str:
        """Compute a softmax over the last axis.

        Args:
            scores: Scores, ``[..., N]``.
            mask: True where a score counts; broadcasts to ``scores``, and every row has at least one.

        Returns:
            The weights, of the type of the scores; the softmax itself computes in fp32.
        """
        is_half = self.mode != "fp32" and scores not in self._singles
        least = np.array(np.finfo(np.float16 if is_half else np.float32).min, np.float32)
        masked = self.add("Where", mask, scores, self.constant(least, single=not is_half), rounds=False)
        return self.add("Softmax", masked, axis=-1)

    def build(self) -> onnx.ModelProto:
        """Return the graph as a model."""
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED_DOMAIN, 1)]
        graph = helper.make_graph(self._nodes, "trimf", self._inputs, self._outputs, list(self._initializers.values()))
        graph.value_info.extend(self._named)
        return helper.make_model(graph, opset_imports=opsets, producer_name="trimf", ir_version=9)

    def _new_name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _rename(self, source: str, name: str) -> None:
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [name if used == source else used for used in names]
        if source in self._singles:
            self._singles.add(name)
        if source in self._halves:
            self._halves[name] = self._halves[source]
        self._halves = {key: name if half == source else half for key, half in self._halves.items()}

    def _round(self, source: str) -> str:
        """Return a tensor with its values rounded to fp16, once for each tensor."""
        if source not in self._halves:
            (half,) = self.add_outputs("Cast", source, count=1, to=TensorProto.FLOAT16)
            (self._halves[source],) = self.add_outputs("Cast", half, count=1, to=TensorProto.FLOAT)
        return self._halves[source]

"""Half-precision graphs with explicit types: fp16 or bf16 where it is safe, fp32 where it is not.

Matrix products, tables and what leads to them are half. Softmax, layer normalisation and sums stay single, and so does
every pointwise step between a product and such a node: bias, residual, scale and mask are added in fp32, so only the
products themselves round. Outputs between subgraphs are half; logits and trigger weights are single.

The converters of ONNX Runtime, onnxconverter-common and ModelOpt (AutoCast) were tried on these graphs. The first two
have no bf16 and make graphs that the ONNX checker refuses (nodes out of order; casts to another type than declared);
AutoCast keeps all inputs and outputs single or none, and its dependencies pin other versions of ONNX and ONNX Runtime.
None keeps the steps up to a softmax single. Hence this pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from ..runtime.backend import EXTRA
from ..runtime.errors import BundleError
from ..runtime.manifest import Products
from .calibration import PRODUCTS

#: Operators that always compute in fp32.
SINGLE = frozenset(
    {
        "ArgMax",
        "ConstantOfShape",
        "LayerNormalization",
        "LogSoftmax",
        "Range",
        "ReduceL2",
        "ReduceMean",
        "ReduceSum",
        "Softmax",
    }
)

#: Operators that ONNX has in a half type only from a later version on.
_LACKING = {"fp16": frozenset[str](), "bf16": frozenset({"MaxPool"})}

#: Largest share of the half type's range that a product may reach on real sentences. A product beyond it is cut off at
#: the end of the range where it only feeds a softmax; anywhere else it stays single, and so does what its size reaches.
HEADROOM = 1 / 8

#: Operators whose output is small however large their input.
_BOUNDED = frozenset({"Softmax", "LayerNormalization"})

#: Outputs that leave for the host.
SINGLE_OUTPUTS = frozenset({*EXTRA, "entity_logits", "relation_logits", "triggers", "word_logits"})

#: Operators whose second input is a scale.
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}

_NUMPY = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


def to_half(
    model: onnx.ModelProto, precision: str, peaks: Mapping[str, float] | None = None, *, rounded: bool = False
) -> onnx.ModelProto:
    """A copy of an fp32 ``model`` in ``precision`` ("fp16" or "bf16"); quantised products stay quantised.

    ``peaks`` gives the largest magnitude seen of each product's output, so that none overflows (:data:`HEADROOM`).
    ``rounded`` keeps every tensor fp32 but rounds it to the half type wherever the copy would hold it: the same
    numbers for engines that lack the type, such as bf16 on CPUs.

    Raises:
        BundleError: a weight does not fit the type, or the result is no valid ONNX.
    """
    return _Rewrite(model, precision, peaks or {}, rounded).model


class _Rewrite:
    def __init__(self, model: onnx.ModelProto, precision: str, peaks: Mapping[str, float], rounded: bool) -> None:
        self.type, self.numpy, self.rounded = TYPES[precision], _NUMPY[precision], rounded
        self.limit = float(ml_dtypes.finfo(self.numpy).max)
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.floats = _float_tensors(model)
        self.weights = {one.name: one for one in graph.initializer if one.data_type == TensorProto.FLOAT}
        large = {name for name, peak in peaks.items() if peak > HEADROOM * self.limit}
        self.single, self.cut = _plan(model, self.floats, set(self.weights), large, SINGLE | _LACKING[precision])
        self.scales = {node.input[1] for node in graph.node if node.op_type in QUANTIZERS}
        self.outputs = {
            value.name: TensorProto.FLOAT if value.name in SINGLE_OUTPUTS else self.type
            for value in graph.output
            if value.name in self.floats
        }
        self.held: dict[str, int] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[str, TensorProto] = {}
        self.given = {value.name for value in graph.input if value.name in self.floats}
        for value in graph.input:
            if value.name in self.given:
                self._hold(value, self.type)
                if rounded:
                    self._round(value.name, f"{value.name}.rounded")
        for place, node in enumerate(graph.node):
            self._node(node, TensorProto.FLOAT if place in self.single else self.type)
        for value in graph.output:
            if value.name in self.floats:
                self._hold(value, self.outputs[value.name])
        others = [one for one in graph.initializer if one.name not in self.weights]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend([*others, *self.made.values()])
        if self.scales:
            # The first version with half-precision scales; nothing else of these graphs changed in it.
            self.model.opset_import[0].version = max(self.model.opset_import[0].version, 19)
        try:
            onnx.checker.check_model(self.model, full_check=True)
        except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
            raise BundleError(f"{precision}: no valid graph came out: {' '.join(str(error).split())}") from error

    def _hold(self, value: onnx.ValueInfoProto, kind: int) -> None:
        self.held.setdefault(value.name, kind)
        if not self.rounded:
            value.type.tensor_type.elem_type = kind

    def _node(self, node: onnx.NodeProto, kind: int) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Cast":
            for attribute in copy.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT and not self.rounded:
                    attribute.i = kind
            copy.input[0] = self._any_type(node.input[0])
        elif node.op_type != "Shape":
            copy.input[:] = [self._as(name, kind) if name in self.floats else name for name in node.input]
        for place, name in enumerate(node.output):
            if name not in self.floats:
                continue
            self.held[name] = self.outputs.get(name, kind)
            if self.held[name] != kind or (self.rounded and kind == self.type) or name in self.cut:
                copy.output[place] = f"{name}.made"
        self.nodes.append(copy)
        for place, name in enumerate(node.output):
            if copy.output[place] == name:
                continue
            if name in self.cut:
                self._cut(name)
            elif self.rounded:
                self._round(f"{name}.made", name)
            else:
                self._cast(f"{name}.made", name, self.held[name])

    def _cut(self, name: str) -> None:
        """Infinities of a half product to the ends of the range."""
        source = f"{name}.made"
        if self.rounded:
            self._round(source, f"{name}.wide")
            source = f"{name}.wide"
        ends = []
        for end, value in (("least", -self.limit), ("largest", self.limit)):
            ends.append(f"{end}.half")
            kind = TensorProto.FLOAT if self.rounded else self.type
            self.made.setdefault(ends[-1], helper.make_tensor(ends[-1], kind, [], [value]))
        self.nodes.append(helper.make_node("Clip", [source, *ends], [name], f"{name}.cut"))

    def _any_type(self, name: str) -> str:
        """The name under which a tensor that any type serves is to be read."""
        return self._as(name, self.type) if name in self.weights else name

    def _as(self, name: str, kind: int) -> str:
        """The tensor in a type: itself, or a cast of it, made once."""
        if name in self.weights:
            return self._weight(name, kind)
        if self.held[name] == kind or (self.rounded and kind == TensorProto.FLOAT):
            return f"{name}.rounded" if self.rounded and name in self.given else name
        suffix = "single" if kind == TensorProto.FLOAT else "half"
        cast = f"{name}.{suffix}"
        if cast not in self.held:
            self.held[cast] = kind
            if self.rounded:
                self._round(name, cast)
            else:
                self._cast(name, cast, kind)
        return cast

    def _round(self, source: str, target: str) -> None:
        self._cast(source, f"{target}.typed", self.type)
        self._cast(f"{target}.typed", target, TensorProto.FLOAT)

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], f"{target}.cast", to=kind))

    def _weight(self, name: str, kind: int) -> str:
        if kind == TensorProto.FLOAT:
            self.made.setdefault(name, self.weights[name])
            return name
        half = f"{name}.half"
        if half not in self.made:
            exact = numpy_helper.to_array(self.weights[name])
            if np.abs(exact).max(initial=0) > self.limit:
                largest = np.abs(exact).max()
                raise BundleError(f"weight {name} holds {largest:.3g}, but {self.numpy} ends at {self.limit:g}")
            if name in self.scales:  # one that underflows would divide by zero
                exact = np.maximum(exact, float(ml_dtypes.finfo(self.numpy).smallest_subnormal))
            values = exact.astype(self.numpy)
            self.made[half] = (
                numpy_helper.from_array(values.astype(np.float32), half)
                if self.rounded
                else helper.make_tensor(half, self.type, exact.shape, values.tobytes(), raw=True)
            )
        return half


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of every fp32 tensor of a graph."""
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {one.name for one in values if one.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {one.name for one in graph.initializer if one.data_type == TensorProto.FLOAT}


def _plan(
    model: onnx.ModelProto, floats: set[str], weights: set[str], large: set[str], never: frozenset[str]
) -> tuple[set[int], set[str]]:
    """Places of the nodes that compute in fp32, and the half products to cut off at the end of their range.

    In fp32: the operators that are ``never`` half and those that make integers or truths of floats (a rounded number
    may be another), what lies between a product and only such nodes, and ``large`` products that reach more than a
    softmax, with what reads them.
    """
    nodes = list(model.graph.node)
    wide: set[str] = set()
    for node in nodes:
        passes = node.op_type not in PRODUCTS | _BOUNDED and wide.intersection(node.input)
        if passes or large.intersection(node.output):
            wide.update(floats.intersection(node.output))
    readers: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        for name in node.input:
            readers.setdefault(name, []).append(place)
    outputs = {value.name for value in model.graph.output}
    single: set[int] = set()
    softened: set[int] = set()
    cut: set[str] = set()
    for place in reversed(range(len(nodes))):
        node = nodes[place]
        made = [name for name in node.output if name in floats]
        if not made:
            if node.op_type not in QUANTIZERS:
                single.add(place)
            continue
        following = {one for name in made for one in readers.get(name, ())}
        inner = not outputs.intersection(made)
        soft = inner and bool(following) and following <= softened
        if wide.intersection(node.input):
            single.add(place)
        elif node.op_type in PRODUCTS:
            if large.intersection(made):
                cut.update(made) if soft else single.add(place)
        elif node.op_type in never or (
            (following <= single if inner else SINGLE_OUTPUTS.issuperset(made))
            and not (node.op_type == "Gather" and node.input[0] in weights)
        ):
            single.add(place)
        if node.op_type == "Softmax" or (node.op_type not in PRODUCTS and place in single and soft):
            softened.add(place)
    return single, cut


def products(model: onnx.ModelProto) -> Products:
    """How many matrix products of a graph take numbers of each type; int8 if both sides are dequantised."""
    graph = shape_inference.infer_shapes(model).graph
    types = {one.name: one.data_type for one in graph.initializer}
    types |= {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.output, *graph.value_info)}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    counts = {"half": 0, "single": 0, "int8": 0}
    for node in graph.node:
        if node.op_type not in PRODUCTS:
            continue
        if all(makers.get(name) == "DequantizeLinear" for name in node.input[:2]):
            counts["int8"] += 1
        elif types.get(node.input[0]) in TYPES.values():
            counts["half"] += 1
        elif types.get(node.input[0]) == TensorProto.FLOAT:
            counts["single"] += 1
    return Products(**counts)

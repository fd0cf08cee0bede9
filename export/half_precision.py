"""Conversion of fp32 graphs to half precision: fp16 or bf16 where that is safe, fp32 elsewhere.

All types are explicit in the graph. Matrix products, embedding tables and the nodes that feed them are half precision.
Softmax, layer normalisation and sums stay in fp32, and so does every pointwise node between a matrix product and such a
node: bias, residual, scale and mask are applied in fp32, so only the matrix products themselves round. Outputs that
another subgraph reads are half precision; logits and trigger weights are fp32.

The converters of ONNX Runtime, onnxconverter-common and ModelOpt (AutoCast) were tried on these graphs. The first two
do not support bf16 and produce graphs that the ONNX checker rejects (nodes out of order, casts to a type other than
declared). AutoCast keeps either all inputs and outputs in fp32 or none, and its dependencies pin other versions of ONNX
and ONNX Runtime. None of them keeps the nodes before a softmax in fp32. Hence this pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from ..runtime.bundle.manifest import MatmulCounts
from ..runtime.engine.contract import EXTRA
from ..runtime.errors import BundleError
from .activation_ranges import MATMUL_OPERATORS
from .rewriting.written_out import write_out_products

#: Operators that always compute in fp32.
FP32_OPERATORS = frozenset(
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

#: Operators that ONNX supports for the half type only in a later opset.
_UNSUPPORTED = {"fp16": frozenset[str](), "bf16": frozenset({"MaxPool"})}

#: Largest share of the half type's range that a matrix product may reach on real sentences. A larger one is clipped to
#: the range if it only feeds a softmax; otherwise it stays in fp32, together with the nodes that its size affects.
HEADROOM = 1 / 8

#: Operators whose output is small no matter how large the input is.
_BOUNDED = frozenset({"Softmax", "LayerNormalization"})

#: Outputs that the host reads; they are fp32.
FP32_OUTPUTS = frozenset({*EXTRA, "entity_logits", "relation_logits", "triggers", "word_logits"})

#: Operators whose second input is a quantization scale.
QUANTIZATION_OPERATORS = frozenset({"QuantizeLinear", "DequantizeLinear"})

#: ONNX type of each half precision.
HALF_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}

_NUMPY = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


def convert_to_half(
    model: onnx.ModelProto, precision: str, peaks: Mapping[str, float] | None = None, *, rounded: bool = False
) -> onnx.ModelProto:
    """Convert a copy of an fp32 graph to half precision.

    Quantized matrix products stay quantized.

    Args:
        model: The fp32 graph; it is not modified.
        precision: ``fp16`` or ``bf16``.
        peaks: Largest magnitude of each matrix product's output on real sentences, by tensor name. Large products are
            protected against overflow, see ``HEADROOM``.
        rounded: Keep every tensor in fp32, but round its values to the half type wherever the converted graph would
            use it. This gives the same values on backends that lack the type, such as bf16 on CPUs.

    Returns:
        The converted graph.

    Raises:
        BundleError: A weight exceeds the range of the type, or the result is not valid ONNX.
    """
    return _HalfConversion(model, precision, peaks or {}, rounded).model


class _HalfConversion:
    """A single conversion; ``model`` is the result.

    ``tensor_types`` has the type of every float tensor of the new graph, ``fp32_nodes`` the indices of the nodes that
    compute in fp32, and ``clipped`` the tensors that are clipped to the range of the half type.
    """

    def __init__(self, model: onnx.ModelProto, precision: str, peaks: Mapping[str, float], rounded: bool) -> None:
        self.type, self.numpy, self.rounded = HALF_TYPES[precision], _NUMPY[precision], rounded
        self.limit = float(ml_dtypes.finfo(self.numpy).max)
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.floats = _find_float_tensors(model)
        self.weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
        large = {name for name, peak in peaks.items() if peak > HEADROOM * self.limit}
        self.fp32_nodes, self.clipped = _plan_types(
            model, self.floats, set(self.weights), large, FP32_OPERATORS | _UNSUPPORTED[precision]
        )
        self.scales = {node.input[1] for node in graph.node if node.op_type in QUANTIZATION_OPERATORS}
        self.outputs = {
            value.name: TensorProto.FLOAT if value.name in FP32_OUTPUTS else self.type
            for value in graph.output
            if value.name in self.floats
        }
        self.tensor_types: dict[str, int] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.new_initializers: dict[str, TensorProto] = {}
        self.float_inputs = {value.name for value in graph.input if value.name in self.floats}
        for value in graph.input:
            if value.name in self.float_inputs:
                self._set_type(value, self.type)
                if rounded:
                    self._add_rounding(value.name, f"{value.name}.rounded")
        for index, node in enumerate(graph.node):
            self._convert_node(node, TensorProto.FLOAT if index in self.fp32_nodes else self.type)
        for value in graph.output:
            if value.name in self.floats:
                self._set_type(value, self.outputs[value.name])
        unchanged = [tensor for tensor in graph.initializer if tensor.name not in self.weights]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend([*unchanged, *self.new_initializers.values()])
        if self.scales:
            # Opset 19 is the first with half-precision scales; it changes nothing else that these graphs use.
            self.model.opset_import[0].version = max(self.model.opset_import[0].version, 19)
        try:
            onnx.checker.check_model(self.model, full_check=True)
        except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
            raise BundleError(
                f"{precision}: converted graph is not valid ONNX: {' '.join(str(error).split())}"
            ) from error

    def _set_type(self, value: onnx.ValueInfoProto, kind: int) -> None:
        """Set the type of an input or output of the graph."""
        self.tensor_types.setdefault(value.name, kind)
        if not self.rounded:
            value.type.tensor_type.elem_type = kind

    def _convert_node(self, node: onnx.NodeProto, kind: int) -> None:
        """Append a copy of a node that computes in a type, with the casts that its inputs and outputs need."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Cast":
            for attribute in copy.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT and not self.rounded:
                    attribute.i = kind
            copy.input[0] = self._existing_name(node.input[0])
        elif node.op_type != "Shape":
            copy.input[:] = [self._cast_input(name, kind) if name in self.floats else name for name in node.input]
        for index, name in enumerate(node.output):
            if name not in self.floats:
                continue
            self.tensor_types[name] = self.outputs.get(name, kind)
            if self.tensor_types[name] != kind or (self.rounded and kind == self.type) or name in self.clipped:
                copy.output[index] = f"{name}.made"
        self.nodes.append(copy)
        for index, name in enumerate(node.output):
            if copy.output[index] == name:
                continue
            if name in self.clipped:
                self._add_clip(name)
            elif self.rounded:
                self._add_rounding(f"{name}.made", name)
            else:
                self._add_cast(f"{name}.made", name, self.tensor_types[name])

    def _add_clip(self, name: str) -> None:
        """Clip infinities of a half-precision matrix product to the ends of the type's range."""
        source = f"{name}.made"
        if self.rounded:
            self._add_rounding(source, f"{name}.wide")
            source = f"{name}.wide"
        ends = []
        for end, value in (("least", -self.limit), ("largest", self.limit)):
            ends.append(f"{end}.half")
            kind = TensorProto.FLOAT if self.rounded else self.type
            self.new_initializers.setdefault(ends[-1], helper.make_tensor(ends[-1], kind, [], [value]))
        self.nodes.append(helper.make_node("Clip", [source, *ends], [name], f"{name}.cut"))

    def _existing_name(self, name: str) -> str:
        """Return the name under which a node reads a tensor whose type does not matter to it."""
        return self._cast_input(name, self.type) if name in self.weights else name

    def _cast_input(self, name: str, kind: int) -> str:
        """Return the name of a tensor in a type: the tensor itself, or a cast that is added at its first use."""
        if name in self.weights:
            return self._convert_weight(name, kind)
        if self.tensor_types[name] == kind or (self.rounded and kind == TensorProto.FLOAT):
            return f"{name}.rounded" if self.rounded and name in self.float_inputs else name
        suffix = "single" if kind == TensorProto.FLOAT else "half"
        cast = f"{name}.{suffix}"
        if cast not in self.tensor_types:
            self.tensor_types[cast] = kind
            if self.rounded:
                self._add_rounding(name, cast)
            else:
                self._add_cast(name, cast, kind)
        return cast

    def _add_rounding(self, source: str, target: str) -> None:
        """Add casts to the half type and back, which round the values of an fp32 tensor."""
        self._add_cast(source, f"{target}.typed", self.type)
        self._add_cast(f"{target}.typed", target, TensorProto.FLOAT)

    def _add_cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], f"{target}.cast", to=kind))

    def _convert_weight(self, name: str, kind: int) -> str:
        """Add a weight in a type at its first use, and return its name."""
        if kind == TensorProto.FLOAT:
            self.new_initializers.setdefault(name, self.weights[name])
            return name
        half = f"{name}.half"
        if half not in self.new_initializers:
            exact = numpy_helper.to_array(self.weights[name])
            if np.abs(exact).max(initial=0) > self.limit:
                largest = np.abs(exact).max()
                raise BundleError(
                    f"weight {name} contains {largest:.3g}, above the {self.numpy} maximum of {self.limit:g}; export"
                    " as fp32"
                )
            if name in self.scales:  # a scale that underflows to zero would cause a division by zero
                exact = np.maximum(exact, float(ml_dtypes.finfo(self.numpy).smallest_subnormal))
            values = exact.astype(self.numpy)
            self.new_initializers[half] = (
                numpy_helper.from_array(values.astype(np.float32), half)
                if self.rounded
                else helper.make_tensor(half, self.type, exact.shape, values.tobytes(), raw=True)
            )
        return half


def _find_float_tensors(model: onnx.ModelProto) -> set[str]:
    """Return the names of all fp32 tensors of a graph."""
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return floats | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _plan_types(
    model: onnx.ModelProto, floats: set[str], weights: set[str], large: set[str], never: frozenset[str]
) -> tuple[set[int], set[str]]:
    """Return the indices of the nodes that compute in fp32, and the names of the half-precision products to clip.

    These compute in fp32: operators that are ``never`` half precision; nodes that turn floats into integers or booleans
    (rounding could change the result); nodes between a matrix product and only such nodes; and ``large`` products that
    feed more than a softmax, together with the nodes that read them.
    """
    nodes = list(model.graph.node)
    wide: set[str] = set()  # tensors that a large product makes large
    for node in nodes:
        passes = node.op_type not in MATMUL_OPERATORS | _BOUNDED and wide.intersection(node.input)
        if passes or large.intersection(node.output):
            wide.update(floats.intersection(node.output))
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in node.input:
            readers.setdefault(name, []).append(index)
    outputs = {value.name for value in model.graph.output}
    fp32_nodes: set[int] = set()
    only_softmax: set[int] = set()  # softmax nodes, and nodes whose outputs reach nothing else
    clipped: set[str] = set()
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        float_outputs = [name for name in node.output if name in floats]
        if not float_outputs:
            if node.op_type not in QUANTIZATION_OPERATORS:
                fp32_nodes.add(index)
            continue
        following = {reader for name in float_outputs for reader in readers.get(name, ())}
        inner = not outputs.intersection(float_outputs)
        feeds_softmax = inner and bool(following) and following <= only_softmax
        if wide.intersection(node.input):
            fp32_nodes.add(index)
        elif node.op_type in MATMUL_OPERATORS:
            if large.intersection(float_outputs):
                clipped.update(float_outputs) if feeds_softmax else fp32_nodes.add(index)
        elif node.op_type in never or (
            (following <= fp32_nodes if inner else FP32_OUTPUTS.issuperset(float_outputs))
            and not (node.op_type == "Gather" and node.input[0] in weights)
        ):
            fp32_nodes.add(index)
        if node.op_type == "Softmax" or (
            node.op_type not in MATMUL_OPERATORS and index in fp32_nodes and feeds_softmax
        ):
            only_softmax.add(index)
    return fp32_nodes, clipped


def count_matmuls_by_dtype(model: onnx.ModelProto) -> MatmulCounts:
    """Count the matrix products of a graph by the type of their inputs.

    Args:
        model: Graph of any precision.

    Returns:
        The counts; a matrix product is int8 if both inputs are dequantized. The two products of an attention node
        count, too.
    """
    graph = shape_inference.infer_shapes(write_out_products(model)).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {
        value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)
    }
    producers = {name: node.op_type for node in graph.node for name in node.output}
    counts = {"half": 0, "single": 0, "int8": 0}
    for node in graph.node:
        if node.op_type not in MATMUL_OPERATORS:
            continue
        if all(producers.get(name) == "DequantizeLinear" for name in node.input[:2]):
            counts["int8"] += 1
        elif types.get(node.input[0]) in HALF_TYPES.values():
            counts["half"] += 1
        elif types.get(node.input[0]) == TensorProto.FLOAT:
            counts["single"] += 1
    return MatmulCounts(**counts)

"""Write quantized matrix products as ``MatMulIntegerToFloat``, with the bias inside, and fold factors into them.

ONNX Runtime makes the same operator of quantized products when it loads a graph, but leaves the addition of the bias
outside. SmoothQuant's factors become part of the weights where a linear path leads back to a product.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from .graph_editor import FUSED_DOMAIN, GraphEditor, Tensors, get_attribute, list_dimensions

#: Operator of a quantized product. Its inputs are ``codes, weight, codes' scale, weight's scale, codes' zero point,
#: weight's zero point, bias``.
INTEGER_PRODUCT = "MatMulIntegerToFloat"

_WEIGHT_SCALE, _BIAS = 3, 6

Factor = npt.NDArray[np.float32]


def fuse_integer_products(editor: GraphEditor) -> tuple[int, int]:
    """Replace quantized matrix products by ``MatMulIntegerToFloat``, with the bias where one is added.

    Args:
        editor: Graph with QuantizeLinear and DequantizeLinear nodes.

    Returns:
        The number of products that were replaced, and of all products of two dequantized tensors.
    """
    replaced = total = 0
    for node in list(editor.nodes):
        if node.op_type != "MatMul":
            continue
        left, right = (editor.producer(name, "DequantizeLinear") for name in node.input)
        if left is None or right is None:
            continue
        total += 1
        replaced += _fuse_product(editor, node, left, right)
    return replaced, total


def _fuse_product(editor: GraphEditor, node: onnx.NodeProto, left: onnx.NodeProto, right: onnx.NodeProto) -> bool:
    """Replace a product of two dequantized tensors, if its weight is a symmetric int8 matrix."""
    quantizer = editor.producer(left.input[0], "QuantizeLinear")
    if quantizer is None or list(quantizer.input[1:]) != list(left.input[1:]) or len(left.input) != 3:
        return False
    weight, scale = editor.constant(right.input[0]), editor.constant(right.input[1])
    zeros = editor.constant(right.input[2]) if len(right.input) > 2 else np.zeros(1, np.int8)
    if (
        editor.scalar(left.input[1]) is None
        or weight is None
        or scale is None
        or zeros is None
        or weight.dtype != np.int8
        or weight.ndim != 2
        or scale.dtype != np.float32
        or zeros.any()
        or (scale.size > 1 and get_attribute(right, "axis", 1) not in (1, -1))
    ):
        return False
    # A scalar zero point: for one a column, ONNX Runtime takes a slower path. Its exact mode for CPUs without VNNI
    # expects the input to be there.
    zero = editor.add_constant("weight_zero_point", np.array(0, np.int8))
    inputs = [left.input[0], right.input[0], left.input[1], right.input[1], left.input[2], zero]
    last = node
    add = editor.only_reader(node.output[0], "Add")
    parts = editor.split_constant(add) if add is not None else None
    if add is not None and parts is not None:
        bias = editor.constant(parts[1])
        if bias is not None and bias.shape == weight.shape[1:] and bias.dtype == np.float32:
            inputs.append(parts[1])
            last = add
    editor.replace(last, helper.make_node(INTEGER_PRODUCT, inputs, [last.output[0]], node.name, domain=FUSED_DOMAIN))
    return True


def fold_factors(editor: GraphEditor, tensors: Tensors) -> int:
    """Fold multiplications by positive constants into the product before, where only linear nodes lie between.

    Args:
        editor: The graph, with its products and attention already replaced.
        tensors: Inferred types and shapes of its tensors.

    Returns:
        The number of multiplications that were removed.
    """
    folded = 0
    for node in list(editor.nodes):
        parts = editor.split_constant(node) if node.op_type == "Mul" else None
        if parts is None or editor.is_output(node.output[0]):
            continue
        source, name = parts
        factor = editor.constant(name)
        if factor is None or factor.dtype != np.float32 or factor.ndim != 1 or factor.size < 2 or factor.min() <= 0:
            continue
        if _fold(editor, tensors, source, factor):
            editor.bypass(node, source)
            folded += 1
    return folded


def _fold(editor: GraphEditor, tensors: Tensors, name: str, factor: Factor) -> bool:
    """Multiply the channels of a tensor that one node reads by a factor, in the weights before it; False if impossible.

    The nodes that the recursion passes commute with a multiplication of channels by a positive factor.
    """
    node = editor.producer(name)
    if node is None or editor.only_reader(name) is None:
        return False
    match node.op_type:
        case "MatMulIntegerToFloat":
            return _fold_into_product(editor, node, factor)
        case "MultiHeadAttention":
            return _fold(editor, tensors, node.input[2], factor)
        case "Relu" | "LeakyRelu":
            return _fold(editor, tensors, node.input[0], factor)
        case "Split":
            return _fold_through_split(editor, tensors, node, name, factor)
    return False


def _fold_into_product(editor: GraphEditor, node: onnx.NodeProto, factor: Factor) -> bool:
    """Multiply the columns of a quantized product by a factor."""
    scale = editor.constant(node.input[_WEIGHT_SCALE])
    weight = editor.constant(node.input[1])
    if scale is None or weight is None or weight.shape[1] != factor.size:
        return False
    # Others may read the same initializers: equal ones are stored once.
    scaled = (np.broadcast_to(scale.reshape(-1), factor.shape) * factor).astype(np.float32)
    editor.set_input(node, _WEIGHT_SCALE, editor.add_constant(f"{node.input[_WEIGHT_SCALE]}.folded", scaled))
    if len(node.input) > _BIAS:
        bias = editor.constant(node.input[_BIAS])
        assert bias is not None, "the bias of a product is an initializer"
        name = editor.add_constant(f"{node.name}.bias.folded", (bias * factor).astype(np.float32))
        editor.set_input(node, _BIAS, name)
    return True


def _fold_through_split(editor: GraphEditor, tensors: Tensors, node: onnx.NodeProto, name: str, factor: Factor) -> bool:
    """Multiply one output of a Split of the last axis by a factor."""
    sizes = editor.constant(node.input[1]) if len(node.input) > 1 else None
    rank = len(list_dimensions(tensors.get(name)) or ())
    if sizes is None or rank == 0 or get_attribute(node, "axis", 0) not in (-1, rank - 1):
        return False
    place = list(node.output).index(name)
    if sizes[place] != factor.size:
        return False
    parts = [np.ones(size, np.float32) for size in sizes]
    parts[place] = factor
    return _fold(editor, tensors, node.input[0], np.concatenate(parts))

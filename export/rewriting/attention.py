"""Write an encoder's attention as ``MultiHeadAttention``: one node instead of eight or more."""

from __future__ import annotations

from typing import Any, NamedTuple

import onnx
from onnx import TensorProto, helper

from .graph_editor import FUSED_DOMAIN, GraphEditor, Tensors, get_attribute, list_dimensions
from .padding_mask import find_padding_value

#: Orders of axes ``[batch, subwords, heads, channels]`` in which a product of queries and keys reads them.
_BY_HEADS, _TRANSPOSED = [0, 2, 1, 3], [0, 2, 3, 1]

#: Name of the mask of real subwords, as int32.
_MASK = "attention_mask.int32"


class _Heads(NamedTuple):
    """A tensor ``[batch, subwords, H]`` that is split into heads of some channels."""

    source: str
    channels: int


class _Scores(NamedTuple):
    """Scores before the softmax: the product of queries and keys, its factor, and the tensors that are added."""

    query: _Heads
    key: _Heads
    scale: float
    added: list[str]


def fuse_attention(editor: GraphEditor, model: onnx.ModelProto, tensors: Tensors) -> tuple[int, int]:
    """Replace the attention of every layer by a node ``MultiHeadAttention``.

    Args:
        editor: Graph of an encoder.
        model: The same graph before any change.
        tensors: Inferred types and shapes of its tensors.

    Returns:
        The number of attentions that were replaced, and of all softmaxes whose result only multiplies a matrix.
    """
    masks: dict[str, float | None] = {}
    replaced = total = 0
    for softmax in [node for node in editor.nodes if node.op_type == "Softmax"]:
        product = editor.only_reader(softmax.output[0], "MatMul")
        if product is None or product.input[0] != softmax.output[0] or editor.constant(product.input[1]) is not None:
            continue
        total += 1
        scores = _match_scores(editor, softmax.input[0])
        value = _match_heads(editor, product.input[1], _BY_HEADS)
        last = _match_end(editor, product.output[0])
        if scores is None or value is None or last is None or get_attribute(softmax, "axis", -1) not in (-1, 3):
            continue
        for name in scores.added:
            if name not in masks:
                masks[name] = find_padding_value(model, name)
        replaced += _fuse(editor, tensors, scores, value, last, masks)
    return replaced, total


def _fuse(
    editor: GraphEditor,
    tensors: Tensors,
    scores: _Scores,
    value: _Heads,
    last: onnx.NodeProto,
    masks: dict[str, float | None],
) -> bool:
    """Replace one attention, if its shapes are those of ``MultiHeadAttention``."""
    parts = (scores.query, scores.key, value)
    shapes = [list_dimensions(tensors.get(part.source)) or [] for part in parts]
    widths = {shape[-1] if len(shape) == 3 else None for shape in shapes}
    width = widths.pop()
    channels = {part.channels for part in parts}
    if widths or width is None or len(channels) != 1 or width % (size := channels.pop()):
        return False
    heads = width // size
    padding = [hidden for name in scores.added if (hidden := masks[name]) is not None]
    biases = [_strip_expand(editor, tensors, name, heads) for name in scores.added if masks[name] is None]
    if len(padding) > 1 or len(biases) > 1 or None in biases:
        return False
    inputs = [part.source for part in parts]
    attributes: dict[str, Any] = {"scale": scores.scale}
    if padding:
        inputs += ["", _find_mask(editor)]
        attributes["mask_filter_value"] = padding[0]
    if biases:
        inputs += [""] * (5 - len(inputs)) + [str(biases[0])]
    editor.replace(
        last,
        helper.make_node(
            "MultiHeadAttention",
            inputs,
            [last.output[0]],
            f"{last.output[0]}.attention",
            domain=FUSED_DOMAIN,
            num_heads=heads,
            **attributes,
        ),
    )
    return True


def _find_mask(editor: GraphEditor) -> str:
    """Return the mask of real subwords as int32, which is cast from the input once."""
    if editor.producer(_MASK) is None:
        editor.insert_first(
            helper.make_node("Cast", ["attention_mask"], [_MASK], f"{_MASK}.cast", to=TensorProto.INT32)
        )
    return _MASK


def _match_scores(editor: GraphEditor, name: str) -> _Scores | None:
    """Return the parts of the scores, from the tensor that the softmax reads back to the queries and keys."""
    added: list[str] = []
    scale = 1.0
    while (node := editor.producer(name)) is not None and editor.only_reader(name) is not None:
        if node.op_type == "Add" and scale == 1.0:
            paths = [_leads_to_product(editor, given) for given in node.input]
            if paths.count(True) != 1:
                return None
            name, other = (node.input[index] for index in (paths.index(True), paths.index(False)))
            added.append(other)
        elif node.op_type in ("Mul", "Div") and (parts := editor.split_constant(node)):
            factor = editor.scalar(parts[1])
            if factor is None or factor <= 0 or (node.op_type == "Div" and node.input[0] != parts[0]):
                return None
            scale *= factor if node.op_type == "Mul" else 1 / factor
            name = parts[0]
        elif node.op_type == "MatMul":
            query = _match_heads(editor, node.input[0], _BY_HEADS)
            key = _match_heads(editor, node.input[1], _TRANSPOSED)
            return _Scores(query, key, scale, added) if query and key else None
        else:
            return None
    return None


def _leads_to_product(editor: GraphEditor, name: str) -> bool:
    """Return True if a tensor is a product of two tensors, with additions and factors."""
    node = editor.producer(name)
    if node is None or node.op_type not in ("Add", "Mul", "Div", "MatMul"):
        return False
    if node.op_type == "MatMul":
        return all(editor.producer(given, "Transpose") is not None for given in node.input)
    return any(_leads_to_product(editor, given) for given in node.input)


def _match_heads(editor: GraphEditor, name: str, order: list[int]) -> _Heads | None:
    """Return the tensor that is split into heads, where a product reads it with its axes in an order."""
    node = editor.producer(name, "Transpose")
    if node is None or editor.only_reader(name) is None:
        return None
    permutation = list(get_attribute(node, "perm", ()))
    if permutation == [0, 1, 3, 2] and order == _TRANSPOSED:
        return _match_heads(editor, node.input[0], _BY_HEADS)
    reshape = editor.producer(node.input[0], "Reshape")
    if permutation != order or reshape is None or editor.only_reader(node.input[0]) is None:
        return None
    channels = _find_last_size(editor, reshape.input[1])
    return _Heads(reshape.input[0], channels) if channels and channels > 0 else None


def _find_last_size(editor: GraphEditor, name: str) -> int | None:
    """Return the last of four sizes that a Reshape reads, if it is a constant."""
    value = editor.constant(name)
    if value is not None:
        return int(value[-1]) if value.shape == (4,) else None
    node = editor.producer(name, "Concat")
    last = editor.constant(node.input[-1]) if node is not None else None
    return int(last.item()) if node is not None and len(node.input) == 4 and last is not None else None


def _match_end(editor: GraphEditor, name: str) -> onnx.NodeProto | None:
    """Return the Reshape that joins the heads of a result."""
    transpose = editor.only_reader(name, "Transpose")
    if transpose is None or list(get_attribute(transpose, "perm", ())) != _BY_HEADS:
        return None
    return editor.only_reader(transpose.output[0], "Reshape")


def _strip_expand(editor: GraphEditor, tensors: Tensors, name: str, heads: int) -> str | None:
    """Return a tensor that is added to the scores as ``MultiHeadAttention`` takes it; None if it does not.

    The operator spreads one bias over the batch, so an Expand before it only costs time.
    """
    expand = editor.producer(name, "Expand")
    if expand is not None:
        shape = list_dimensions(tensors.get(expand.input[0]))
        if shape is not None and len(shape) == 4 and shape[:2] == [1, heads] and 1 not in shape[2:]:
            return str(expand.input[0])
    shape = list_dimensions(tensors.get(name))
    value = tensors.get(name)
    if shape is None or len(shape) != 4 or shape[1] not in (1, heads) or 1 in shape[2:]:
        return None
    return name if value is not None and value.type.tensor_type.elem_type == TensorProto.FLOAT else None

"""Find GELU where it is written with ``Erf``, and bring its factors into the order that engines fuse.

torch's exporter writes ``x * (0.5 * (1 + erf(x / sqrt 2)))``. ONNX Runtime and TensorRT know ``(0.5 * x) * (1 + erf(x /
sqrt 2))`` and turn it into one node, on CPUs and GPUs, in fp32 and in half precision. 0.5 is a power of two, so the
results are the same bit by bit. The operator ``Gelu`` of ONNX needs opset 20, for which older versions of ONNX Runtime
lack some CUDA kernels (as of ``ReduceMax``): that would move nodes to the CPU, and the order of factors costs nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import onnx
from onnx import helper

from .graph_editor import GraphEditor


class Gelu(NamedTuple):
    """A GELU of several nodes.

    Attributes:
        source: Tensor that it reads.
        error_term: Tensor ``1 + erf(source / sqrt 2)``.
        half: The constant 0.5.
        last: Node that computes the result.
        fusible: Whether its factors are in the order that engines fuse.
    """

    source: str
    error_term: str
    half: str
    last: onnx.NodeProto
    fusible: bool


def find_gelus(editor: GraphEditor) -> list[Gelu]:
    """Find every GELU that is written with ``Erf``.

    Args:
        editor: The graph.

    Returns:
        Those whose intermediate tensors nobody else reads, in the order of the graph.
    """
    found = (_match(editor, node) for node in editor.nodes if node.op_type == "Erf")
    return [gelu for gelu in found if gelu is not None]


def order_gelus(model: onnx.ModelProto) -> None:
    """Bring the factors of every GELU of a graph into the order that engines fuse, in place."""
    editor = GraphEditor(model)
    for gelu in find_gelus(editor):
        if gelu.fusible:
            continue
        result, name = gelu.last.output[0], gelu.last.name
        halved = f"{result}.halved"
        editor.replace(
            gelu.last,
            helper.make_node("Mul", [gelu.source, gelu.half], [halved], f"{name}.halved"),
            helper.make_node("Mul", [halved, gelu.error_term], [result], name),
        )
    editor.finish()


def count_gelus(model: onnx.ModelProto) -> tuple[int, int]:
    """Return how many GELUs of a graph are in the order that engines fuse, and its number of ``Erf`` nodes."""
    editor = GraphEditor(model)
    return sum(gelu.fusible for gelu in find_gelus(editor)), sum(node.op_type == "Erf" for node in editor.nodes)


def _match(editor: GraphEditor, erf: onnx.NodeProto) -> Gelu | None:
    """Return the GELU that an ``Erf`` node is part of."""
    source = _find_source(editor, erf.input[0])
    term = editor.only_reader(erf.output[0], "Add")
    if source is None or term is None or not _has_constant(editor, term, erf.output[0], 1.0):
        return None
    error_term = term.output[0]
    first = editor.only_reader(error_term, "Mul")
    if first is None:
        return None
    other = _other_input(first, error_term)
    halving = editor.producer(other, "Mul")
    if halving is not None and _has_constant(editor, halving, source, 0.5):
        return Gelu(source, error_term, _other_input(halving, source), first, fusible=True)
    last = editor.only_reader(first.output[0], "Mul")
    if last is None:
        return None
    remaining = _other_input(last, first.output[0])
    for half, factor in ((other, remaining), (remaining, other)):
        if factor == source and _is_near(editor.scalar(half), 0.5):
            return Gelu(source, error_term, half, last, fusible=factor == other)
    return None


def _find_source(editor: GraphEditor, name: str) -> str | None:
    """Return x where a tensor is ``x / sqrt 2``."""
    node = editor.producer(name, "Div", "Mul")
    parts = editor.split_constant(node) if node is not None else None
    if node is None or parts is None:
        return None
    source, constant = parts
    if node.op_type == "Div" and node.input[0] != source:
        return None
    expected = math.sqrt(2) if node.op_type == "Div" else math.sqrt(0.5)
    return source if _is_near(editor.scalar(constant), expected) else None


def _has_constant(editor: GraphEditor, node: onnx.NodeProto, name: str, value: float) -> bool:
    """Return True if a node of two inputs reads a tensor and a constant of some value."""
    return name in node.input and _is_near(editor.scalar(_other_input(node, name)), value)


def _other_input(node: onnx.NodeProto, name: str) -> str:
    """Return the input of a node of two inputs that is not ``name``."""
    first, second = node.input
    return str(second if first == name else first)


def _is_near(value: float | None, expected: float) -> bool:
    return value is not None and math.isclose(value, expected, rel_tol=1e-5)

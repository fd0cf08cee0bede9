"""Encoder with in-model parser, fusion and entities as one graph, for one launch up to the host's first decision.

It computes what the subgraphs of ``trimf.export.subgraphs`` compute (paper, sections 3.2 to 3.4 and 3.6). No size is
computed in the graph: row numbers, positions and masks are inputs, which ``trimf.runtime.engine.derived_inputs`` makes.

Sizes: batch B, subwords T, words N, subwords per word S, hidden size H, span widths K, entity types n_e.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from trimf_train.model.biaffine import LEAKY_RELU_SLOPE, PADDING_SCORE
from trimf_train.model.encoder import CasedEmbedding
from trimf_train.model.trimf import TriMF

from ..subgraphs import EncoderGraph, EntitiesGraph, FoldedFlow, FoldedParser, FoldedTypedLinear, FusionGraph
from .encoder_layers import EncoderInputs, add_encoder
from .graph_builder import FloatMode, GraphBuilder, to_array


class JoinedInputs(NamedTuple):
    """Names of the inputs of the joined graph; see ``EncoderInputs`` for the first five.

    Attributes:
        subword_mask: True at real subwords, ``[B, 1, T]``.
        word_mask: True at real words, ``[B, 1, N]``; one at least in each sentence.
        word_mask_column: The same, ``[B, N, 1]``; empty if no messages pass from dependent to head.
        subword_rows: Sentence * T + position of each subword of each word, ``[B, N, S]``, int32.
        word_positions: 0, 1, …, ``[N, 1]``, int64.
        first_rows: Sentence * N, ``[B, 1, 1]``, int64.
        diagonal: True where the head is the word itself, ``[N, N]``.
        first_subwords: Sentence * T, ``[B, 1]``, int32.
    """

    encoder: EncoderInputs
    subword_mask: str
    word_mask: str
    word_mask_column: str
    subword_rows: str
    word_positions: str
    first_rows: str
    diagonal: str
    first_subwords: str


def build_joined_graph(model: TriMF, stage: int, mode: FloatMode) -> onnx.ModelProto:
    """Build the graph of a model that has an in-model parser.

    Args:
        model: The trained model; ``encoder_layers.explain_unfused`` finds nothing against its encoder.
        stage: Training stage of the checkpoint.
        mode: How floats are computed.

    Returns:
        The graph. Its outputs are nodes ``[B, N, H]``, entity_logits ``[B, N, K, n_e + 1]`` in fp32, and heads and
        labels ``[B, N]``.
    """
    graph = GraphBuilder(mode)
    encoder = EncoderGraph(model, stage)
    assert encoder.parser is not None, "the model has no in-model parser"
    inputs = _add_inputs(graph, model)
    layers = add_encoder(graph, model.encoder, inputs.encoder)
    layers[-1] = graph.name_tensor(layers[-1], "subwords", ["batch", "subwords", model.width])
    states = layers[-1]
    read = states if encoder.layer is None else layers[encoder.layer]
    is_root, heads, labels = _add_parser(graph, encoder.parser, _add_pooling(graph, read, model.width, inputs), inputs)
    states = _add_flow(graph, encoder.subword_flow, states, inputs.subword_mask)
    words = _add_pooling(graph, states, model.width, inputs)
    words = _add_flow(graph, encoder.word_flow, words, inputs.word_mask)
    cls = graph.gather_rows(states, model.width, inputs.first_subwords)
    nodes = _add_fusion(graph, FusionGraph(model, stage), words, cls, (is_root, heads, labels), inputs)
    logits = graph.single(_add_entities(graph, EntitiesGraph(model, stage), nodes))
    graph.add_output(nodes, "nodes", graph.float_type, ["batch", "words", model.width])
    sizes: list[str | int] = ["batch", "words", model.config.span.max_width, len(model.memory.entity)]
    graph.add_output(logits, "entity_logits", TensorProto.FLOAT, sizes)
    for name, column in (("heads", heads), ("labels", labels)):
        flat = graph.add("Squeeze", column, graph.constant(np.array([2])), rounds=False)
        graph.add_output(flat, name, TensorProto.INT64, ["batch", "words"])
    return graph.build()


def _add_inputs(graph: GraphBuilder, model: TriMF) -> JoinedInputs:
    def integers(name: str, *shape: str | int, wide: bool = False) -> str:
        return graph.add_input(name, TensorProto.INT64 if wide else TensorProto.INT32, shape)

    encoder: Any = model.encoder
    has_cases = isinstance(encoder.get_input_embeddings(), CasedEmbedding)
    has_up = model.config.syntax.inverse
    has_bias = encoder.config.model_type == "mpnet"
    return JoinedInputs(
        EncoderInputs(
            integers("subword_ids", "batch", "subwords"),
            integers("subword_cases", "batch", "subwords") if has_cases else "",
            integers("positions", "subwords"),
            integers("subword_counts", "batch"),
            integers("distances", "subwords", "subwords") if has_bias else "",
        ),
        graph.add_input("subword_mask", TensorProto.BOOL, ["batch", 1, "subwords"]),
        graph.add_input("word_mask_row", TensorProto.BOOL, ["batch", 1, "words"]),
        graph.add_input("word_mask_column", TensorProto.BOOL, ["batch", "words", 1]) if has_up else "",
        integers("subword_rows", "batch", "words", "pieces"),
        integers("word_positions", "words", 1, wide=True),
        integers("first_rows", "batch", 1, 1, wide=True),
        graph.add_input("diagonal", TensorProto.BOOL, ["words", "words"]),
        integers("first_subwords", "batch", 1),
    )


def _add_pooling(graph: GraphBuilder, states: str, width: int, inputs: JoinedInputs) -> str:
    """Pool the subwords of each word by maximum, ``[B, N, H]``."""
    rows = graph.gather_rows(states, width, inputs.subword_rows)
    return graph.add("ReduceMax", rows, graph.constant(np.array([2])), rounds=False, keepdims=0)


def _add_flow(graph: GraphBuilder, flow: FoldedFlow | None, states: str, mask: str) -> str:
    """Scale the states by the memory flow of one level (paper, equations (3) and (10)), if the model has it."""
    if flow is None or flow.slots is None:
        return states
    scores = graph.add("FusedMatMul", graph.constant(to_array(flow.slots)), states, transB=1)
    attention = graph.masked_softmax(graph.single(scores), mask)
    shares = np.ones((len(flow.slots), 1), np.float32) if flow.shares is None else to_array(flow.shares)
    scale = {"none": 1 / max(1, len(flow.names)), "add": 1.0, "mean": 1 / (1 + len(flow.names))}[flow.residual]
    total = graph.add("FusedMatMul", attention, graph.constant(shares * scale, single=True), transA=1)
    if flow.residual != "none":
        total = graph.add("Add", total, graph.constant(np.array(scale, np.float32), single=True))
    # A rounded factor would be off by the same share for all numbers of a word, which adds up in what follows.
    return graph.half(graph.add("Mul", graph.single(states), total))


def _add_parser(graph: GraphBuilder, parser: FoldedParser, words: str, inputs: JoinedInputs) -> tuple[str, str, str]:
    """Parse the words; return where they are roots, their heads and their labels, ``[B, N, 1]`` each."""
    label_size = parser.sizes[3]
    # A view that is always 1 (a LeakyReLU leaves 1 as it is) adds what does not depend on the head.
    views = np.pad(to_array(parser.views), ((0, 0), (0, 1)))
    offsets = np.append(to_array(parser.views_bias), np.float32(1))
    viewed = graph.add("LeakyRelu", graph.linear(words, views, offsets), alpha=LEAKY_RELU_SLOPE)
    sizes = np.array([*parser.sizes[:3], label_size + 1])
    dependent, head, of_label, of_head = graph.add_outputs("Split", viewed, graph.constant(sizes), count=4, axis=-1)
    queries = graph.linear(dependent, to_array(parser.arc), to_array(parser.arc_head))
    of_root = graph.linear(queries, to_array(parser.root)[:, None])
    scores = graph.add("FusedMatMul", queries, head, transB=1)
    scores = graph.add("Where", inputs.diagonal, of_root, scores, rounds=False)
    padding = graph.constant(np.array(PADDING_SCORE, np.float32))
    scores = graph.add("Where", inputs.word_mask, scores, padding, rounds=False)
    heads = graph.add("ArgMax", scores, rounds=False, axis=-1, keepdims=1)
    is_root = graph.add("Equal", heads, inputs.word_positions, rounds=False)
    by_label = graph.linear(of_label, *_add_no_label(parser, label_size + 1))
    sizes = np.array([0, 0, parser.labels + 1, label_size + 1])
    by_label = graph.add("Reshape", by_label, graph.constant(sizes), rounds=False)
    rows = graph.add("Add", heads, inputs.first_rows, rounds=False)
    label_scores = graph.add("FusedMatMul", graph.gather_rows(of_head, label_size + 1, rows), by_label, transB=1)
    labels = graph.add("ArgMax", label_scores, rounds=False, axis=-1, keepdims=0)
    return is_root, heads, graph.add("Where", is_root, graph.constant(np.array(0)), labels, rounds=False)


def _add_no_label(parser: FoldedParser, size: int) -> tuple[Any, Any]:
    """Return weight and bias of the labels' scores, with a label 0 in front that is never the best."""
    weight = np.pad(to_array(parser.label), ((0, 0), (size, 0)))
    first = np.zeros(size, np.float32)
    first[-1] = PADDING_SCORE  # the last is multiplied by 1
    return weight, np.concatenate([first, to_array(parser.label_bias)])


def _add_fusion(
    graph: GraphBuilder,
    fusion: FusionGraph,
    words: str,
    cls: str,
    arcs: tuple[str, str, str],
    inputs: JoinedInputs,
) -> str:
    """Compute both graphs and fuse them (paper, equations (15) to (21)), ``[B, N, H]``."""
    parts, projected = [], {}
    weights = _list_weights(fusion)
    if weights:  # all products of the words are one
        joined = graph.add("Concat", *map(graph.constant, weights.values()), rounds=False, axis=1)
        product = graph.add("MatMul", words, joined)
        sizes = np.array([weight.shape[1] for weight in weights.values()])
        outputs = graph.add_outputs("Split", product, graph.constant(sizes), count=len(weights), axis=-1)
        projected = dict(zip(weights, outputs, strict=True))
    if fusion.semantic is not None:
        active = graph.add("LeakyRelu", projected["semantic"], alpha=0.01)
        scores = graph.add("FusedMatMul", active, active, transB=1)
        attention = graph.masked_softmax(scores, inputs.word_mask)
        parts.append(graph.add("MatMul", attention, projected["semantic"]))
    if fusion.down is not None:
        parts.append(_add_syntactic(graph, fusion, words, projected, arcs, inputs))
    if not parts:
        return words
    half = graph.constant(np.array(0.5, np.float32))
    if fusion.query is None:
        return graph.add("Mul", graph.add("Add", _fuse_unweighted(graph, fusion.fusion_mode, parts), words), half)
    semantic, syntactic = parts
    difference = graph.add("Sub", semantic, syntactic)
    query = graph.linear(cls, to_array(fusion.query))
    share = graph.add("Sigmoid", graph.add("FusedMatMul", difference, query, transB=1))
    fused = graph.add("Add", syntactic, graph.add("Mul", share, difference))
    return graph.add("Mul", graph.add("Add", fused, words), half)


def _list_weights(fusion: FusionGraph) -> dict[str, Any]:
    """Return the weights that words are multiplied by, each ``[H, …]``."""
    weights = {"semantic": fusion.semantic, "own": fusion.own}
    for name, typed in (("down", fusion.down), ("up", fusion.up)):
        weights[name] = typed.matrices if typed is not None and typed.bases else None
    return {name: to_array(weight) for name, weight in weights.items() if weight is not None}


def _fuse_unweighted(graph: GraphBuilder, mode: str, parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    if mode == "max":
        return graph.add("Max", *parts, rounds=False)
    total = graph.add("Add", *parts)
    return total if mode == "sum" else graph.add("Mul", total, graph.constant(np.array(0.5, np.float32)))


def _add_syntactic(
    graph: GraphBuilder,
    fusion: FusionGraph,
    words: str,
    projected: dict[str, str],
    arcs: tuple[str, str, str],
    inputs: JoinedInputs,
) -> str:
    """Pass messages along the dependency arcs (paper, equation (15)), ``[B, N, H]``."""
    is_root, heads, labels = arcs
    down, up = fusion.down, fusion.up
    assert down is not None, "a syntactic graph passes messages from head to dependent"
    rows = graph.add("Add", heads, inputs.first_rows, rounds=False)
    products = projected.get("down", words)
    from_head = graph.gather_rows(products, down.matrices.shape[1], rows)  # [B, N, 1, …]
    nodes = graph.add("Add", projected["own"], _apply_by_label(graph, down, from_head, labels))
    if up is not None:
        above = _apply_by_label(graph, up, projected.get("up", words), labels)
        none = graph.constant(np.array(-1))
        to_head = graph.add("Where", is_root, none, heads, rounds=False)
        to_head = graph.add("Where", inputs.word_mask_column, to_head, none, rounds=False)
        every_head = graph.add("Transpose", inputs.word_positions, rounds=False, perm=[1, 0])
        depends = graph.add("Equal", to_head, every_head, rounds=False)  # [B, dependent, head]
        depends = graph.add("Cast", depends, rounds=False, to=graph.float_type)
        count = graph.add("ReduceSum", depends, graph.constant(np.array([1])), rounds=False, keepdims=1)
        count = graph.add("Max", count, graph.constant(np.array(1.0, np.float32)), rounds=False)
        share = graph.add("Div", depends, count)
        nodes = graph.add("Add", nodes, graph.add("FusedMatMul", share, above, transA=1))
    return graph.add("Relu", nodes, rounds=False)


def _apply_by_label(graph: GraphBuilder, linear: FoldedTypedLinear, products: str, labels: str) -> str:
    """Apply the matrix of each word's label, ``[B, N, H]``; with bases, mix their products by label."""
    axis = graph.constant(np.array([2]))
    table = graph.constant(to_array(linear.mixture if linear.bases else linear.matrices))
    by_label = graph.add("Gather", table, labels, rounds=False)
    if not linear.bases:
        by_label = graph.add("Squeeze", by_label, axis, rounds=False)
    count = max(1, linear.bases)
    width = linear.matrices.shape[1] // count
    by_base = graph.add("Reshape", products, graph.constant(np.array([0, 0, count, width])), rounds=False)
    return graph.add(
        "Squeeze",
        graph.add("MatMul", *((by_label, by_base) if linear.bases else (by_base, by_label))),
        axis,
        rounds=False,
    )


def _add_entities(graph: GraphBuilder, entities: EntitiesGraph, nodes: str) -> str:
    """Score all spans (paper, equation (26)), ``[B, N, K, n_e + 1]``; each width is pooled by one operator."""
    rows = graph.add("Unsqueeze", nodes, graph.constant(np.array([1])), rounds=False)
    pooled = [rows]
    for width in range(2, entities.max_width + 1):
        pooled.append(
            graph.add("MaxPool", rows, rounds=False, kernel_shape=[width, 1], strides=[1, 1], pads=[0, 0, width - 1, 0])
        )
    stacked = pooled[0] if len(pooled) == 1 else graph.add("Concat", *pooled, rounds=False, axis=1)
    scores = graph.linear(stacked, to_array(entities.of_span), to_array(entities.of_width)[:, None])
    return graph.add("Transpose", scores, rounds=False, perm=[0, 2, 1, 3])

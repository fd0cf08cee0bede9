"""Relations as one graph of few launches; it computes what ``trimf.export.subgraphs.RelationsGraph`` computes.

No size is computed in the graph: row numbers are inputs, which ``trimf.runtime.engine.derived_inputs`` makes.

Sizes: batch B, words N, hidden size H, spans M, pairs P, ranges R, table rows G of a range, relation types n_r.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from trimf_train.model.trimf import TriMF

from ...runtime.engine.contract import BLOCK_WORDS
from ...runtime.engine.derived_inputs import SCORE_PARTS
from ..subgraphs import RelationsGraph
from .graph_builder import FloatMode, GraphBuilder, to_array


def build_relations_graph(model: TriMF, stage: int, mode: FloatMode) -> onnx.ModelProto:
    """Build the relations graph of a model (paper, equations (22) to (25) and (27)).

    Args:
        model: The trained model.
        stage: Training stage of the checkpoint; stage 1 has no trigger sensor.
        mode: How floats are computed.

    Returns:
        The graph. Its inputs are nodes ``[B, N, H]``, word_mask_row ``[B, 1, N]``, table_rows ``[R, G]``, range_widths
        ``[R]``, score_rows ``[P, 3]``, sensor_rows and span_sentences ``[M]``, pair_spans ``[P, 2]`` and pair_sentences
        ``[P]``. Its outputs, in fp32, are relation_logits ``[P, n_r]``, triggers ``[P, N]`` and word_logits
        ``[B, N, n_r]``.
    """
    graph = GraphBuilder(mode)
    relations = RelationsGraph(model, stage)
    types = relations.relation_count

    def integers(name: str, *shape: str | int) -> str:
        return graph.add_input(name, TensorProto.INT32, shape)

    nodes = graph.add_float_input("nodes", ["batch", "words", model.width])
    pooled = _pool_ranges(graph, nodes, model.width, integers("table_rows", "ranges", "rows"))
    missing = ((0, 0), (0, types * SCORE_PARTS - relations.of_ranges.shape[1]))  # without a sensor
    widths = graph.constant(np.pad(to_array(relations.of_widths), missing))
    by_width = graph.add("Gather", widths, integers("range_widths", "ranges"), rounds=False)
    scores = graph.add("Add", graph.linear(pooled, np.pad(to_array(relations.of_ranges), missing)), by_width)
    # A row for each range and each of its parts: as head, as tail, as gap, and for the trigger sensor.
    by_part = graph.add("Reshape", scores, graph.constant(np.array([-1, types])), rounds=False)
    parts = graph.add("Gather", by_part, integers("score_rows", "pairs", 3), rounds=False)
    logits = graph.add("ReduceSum", graph.single(parts), graph.constant(np.array([1])), keepdims=1)
    mask = graph.add_input("word_mask_row", TensorProto.BOOL, ["batch", 1, "words"])
    of_pair = integers("pair_sentences", "pairs")
    axis = graph.constant(np.array([1]))
    if relations.has_trigger_sensor:
        sensed = graph.add("Gather", by_part, integers("sensor_rows", "spans"), rounds=False)
        sensed = graph.add("Softmax", sensed, axis=-1)
        sensed = graph.add("Unsqueeze", sensed, axis, rounds=False)
        products = graph.linear(nodes, to_array(relations.of_words))
        sizes = graph.constant(np.array([types, types]))
        slots, contexts = graph.add_outputs("Split", products, sizes, count=2, axis=-1)
        of_span = graph.add("Gather", slots, integers("span_sentences", "spans"), rounds=False)
        similar = graph.add("FusedMatMul", sensed, of_span, transB=1)
        both = graph.single(graph.add("Gather", similar, integers("pair_spans", "pairs", 2), rounds=False))
        both = graph.add("ReduceSum", both, axis, keepdims=0)
        weights = graph.masked_softmax(both, graph.add("Gather", mask, of_pair, rounds=False))
        of_words = graph.add("Gather", contexts, of_pair, rounds=False)
        context = graph.add("MatMul", graph.half(weights), of_words)
        logits = graph.add("Add", logits, graph.single(context))
    else:
        contexts = graph.add("MatMul", nodes, graph.constant(np.zeros((model.width, types), np.float32)))
        weights = graph.add(
            "Cast", graph.add("Gather", mask, of_pair, rounds=False), rounds=False, to=TensorProto.FLOAT
        )
        weights = graph.add("Mul", weights, graph.constant(np.zeros((), np.float32), single=True), rounds=False)
    outputs: dict[str, tuple[str, list[str | int]]] = {
        "relation_logits": (graph.add("Squeeze", logits, axis, rounds=False), ["pairs", types]),
        "triggers": (graph.add("Squeeze", weights, axis, rounds=False), ["pairs", "words"]),
        "word_logits": (graph.single(contexts), ["batch", "words", types]),
    }
    for name, (source, shape) in outputs.items():
        graph.add_output(source, name, TensorProto.FLOAT, shape)
    return graph.build()


def _pool_ranges(graph: GraphBuilder, nodes: str, width: int, rows: str) -> str:
    """Pool each range by maximum, ``[R, H]``, from a table of all words, all blocks of words, and a row of zeros."""
    flat = graph.constant(np.array([-1, width]))
    words = graph.add("Reshape", nodes, flat, rounds=False)
    blocks = graph.add("Unsqueeze", nodes, graph.constant(np.array([1])), rounds=False)
    size = [BLOCK_WORDS, 1]
    blocks = graph.add("MaxPool", blocks, rounds=False, kernel_shape=size, strides=size, ceil_mode=1)
    zeros = graph.constant(np.zeros((1, width), np.float32))
    table = graph.add("Concat", words, graph.add("Reshape", blocks, flat, rounds=False), zeros, rounds=False, axis=0)
    pooled = graph.add("Gather", table, rows, rounds=False)
    return graph.add("ReduceMax", pooled, graph.constant(np.array([1])), rounds=False, keepdims=0)

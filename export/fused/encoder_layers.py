"""Transformer layers of the BERT family as fused operators: BERT, RoBERTa and MPNet (relative position bias)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trimf_train.model.encoder import CasedEmbedding

from ...runtime.engine.buckets import bucket_size
from ...runtime.engine.contract import MAX_DISTANCE
from .graph_builder import GraphBuilder, to_array

#: Encoder families whose layers can be fused, by the ``model_type`` of their configuration.
FUSED_FAMILIES = frozenset({"bert", "camembert", "mpnet", "roberta", "xlm-roberta"})

#: Fused operator of each activation function.
_ACTIVATIONS = {"gelu": "BiasGelu", "gelu_new": "FastGelu", "gelu_fast": "FastGelu", "gelu_pytorch_tanh": "FastGelu"}


class EncoderInputs(NamedTuple):
    """Inputs that the layers read.

    Attributes:
        subword_ids: ``[B, T]``, int32.
        subword_cases: Letter case of each subword, ``[B, T]``, int32; empty without letter case.
        positions: 0, 1, …, ``[T]``, int32.
        subword_counts: Number of subwords of each sentence, at least 1, ``[B]``, int32.
        distances: Distance of each pair of subwords, ``[T, T]``, int32: how far the second is behind the first, at most
            ``MAX_DISTANCE`` either way, plus ``MAX_DISTANCE``; empty without a relative position bias.
    """

    subword_ids: str
    subword_cases: str
    positions: str
    subword_counts: str
    distances: str


def explain_unfused(encoder: Any) -> str:
    """Return why the layers of an encoder cannot be fused; an empty string if they can."""
    config = encoder.config
    if config.model_type not in FUSED_FAMILIES:
        return f"the encoder family {config.model_type} has no fused form"
    if config.hidden_act not in _ACTIVATIONS:
        return f"the activation function {config.hidden_act} has no fused form"
    if getattr(config, "position_embedding_type", "absolute") not in ("absolute", None):
        return f"position embeddings of type {config.position_embedding_type} have no fused form"
    return ""


def add_encoder(graph: GraphBuilder, encoder: Any, inputs: EncoderInputs) -> list[str]:
    """Add the embeddings and all layers of an encoder.

    Args:
        graph: Graph to add to.
        encoder: Hugging Face model of one of ``FUSED_FAMILIES``.
        inputs: Inputs of the graph.

    Returns:
        The hidden states after the embeddings and after each layer, ``[B, T, H]`` each.
    """
    states = [_add_embeddings(graph, encoder.embeddings, inputs)]
    bias = _add_position_bias(graph, encoder, inputs.distances) if inputs.distances else ""
    activation = _ACTIVATIONS[encoder.config.hidden_act]
    for layer in encoder.encoder.layer:
        states.append(_add_layer(graph, layer, states[-1], inputs.subword_counts, bias, activation))
    return states


def _add_embeddings(graph: GraphBuilder, embeddings: Any, inputs: EncoderInputs) -> str:
    table = embeddings.position_embeddings
    # RoBERTa and MPNet count the positions of real subwords from behind that of padding.
    start = 0 if table.padding_idx is None else table.padding_idx + 1
    positions = to_array(table.weight)[start:]
    if getattr(embeddings, "token_type_embeddings", None) is not None:
        positions = positions + to_array(embeddings.token_type_embeddings.weight)[0]
    # A batch is padded to its bucket, which may have more positions than the encoder.
    missing = bucket_size("subwords", len(positions)) - len(positions)
    positions = np.pad(positions, ((0, missing), (0, 0)))
    words = embeddings.word_embeddings
    summed = graph.add("Gather", graph.constant(to_array(words.weight)), inputs.subword_ids, rounds=False)
    if isinstance(words, CasedEmbedding):
        cases = graph.add("Gather", graph.constant(to_array(words.casing)), inputs.subword_cases, rounds=False)
        summed = graph.add("Add", summed, cases)
    at = graph.add("Gather", graph.constant(positions), inputs.positions, rounds=False)
    norm = embeddings.LayerNorm
    weights = [graph.constant(to_array(part)) for part in (norm.weight, norm.bias)]
    return graph.add("LayerNormalization", graph.add("Add", summed, at), *weights, epsilon=norm.eps)


def _add_position_bias(graph: GraphBuilder, encoder: Any, distances: str) -> str:
    """Add the bias of each head to the attention between two positions, ``[1, heads, T, T]``."""
    every_distance = torch.arange(-MAX_DISTANCE, MAX_DISTANCE + 1)
    count = encoder.config.relative_attention_num_buckets
    buckets = encoder.encoder.relative_position_bucket(every_distance, num_buckets=count)
    table = graph.constant(to_array(encoder.encoder.relative_attention_bias.weight[buckets]))
    bias = graph.add("Transpose", graph.add("Gather", table, distances, rounds=False), rounds=False, perm=[2, 0, 1])
    return graph.add("Unsqueeze", bias, graph.constant(np.array([0])), rounds=False)


def _add_layer(graph: GraphBuilder, layer: Any, states: str, counts: str, bias: str, activation: str) -> str:
    attention = layer.attention
    if hasattr(attention, "attn"):  # MPNet
        inner, output, norm = attention.attn, attention.attn.o, attention.LayerNorm
        parts = (inner.q, inner.k, inner.v)
    else:
        inner, output, norm = attention.self, attention.output.dense, attention.output.LayerNorm
        parts = (inner.query, inner.key, inner.value)
    # Three weights that are joined when the graph is loaded can each be stored once for all graphs of a bundle.
    weight = graph.add("Concat", *(graph.constant(to_array(part.weight).T) for part in parts), rounds=False, axis=1)
    offset = graph.add("Concat", *(graph.constant(to_array(part.bias)) for part in parts), rounds=False, axis=0)
    optional = ["", bias] if bias else []
    attended = graph.add(
        "Attention", states, weight, offset, counts, *optional, num_heads=int(inner.num_attention_heads)
    )
    attended = _add_skip_norm(graph, graph.linear(attended, to_array(output.weight).T), states, norm, output.bias)
    wide = layer.intermediate.dense
    hidden = graph.linear(attended, to_array(wide.weight).T)
    hidden = graph.add(activation, hidden, graph.constant(to_array(wide.bias)))
    narrow = layer.output.dense
    product = graph.linear(hidden, to_array(narrow.weight).T)
    return _add_skip_norm(graph, product, attended, layer.output.LayerNorm, narrow.bias)


def _add_skip_norm(graph: GraphBuilder, product: str, skip: str, norm: nn.LayerNorm, bias: Tensor) -> str:
    """Add the bias of a product, the residual and a layer normalisation as one operator."""
    weights = [graph.constant(to_array(part)) for part in (norm.weight, norm.bias, bias)]
    return graph.add("SkipLayerNormalization", product, skip, *weights, epsilon=norm.eps)

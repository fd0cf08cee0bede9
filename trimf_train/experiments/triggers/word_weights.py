"""Read from a model how much it weighs each word of a sentence for a relation, by several methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trimf.runtime.decoding.pair_blocks import iterate_held_pair_blocks
from trimf.runtime.decoding.span_decoding import FloatArray
from trimf.runtime.engine.contract import MEMORIES
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.window_batching import batch_indices

from .found_relations import FoundSentence

#: Methods: the weights of the trigger sensor that results show; its attention t_ij, equation (24); the attention of the
#: relation memory in the flow at word level, equation (10); and the absolute value of subword embedding times gradient
#: of the relation's logit, maximum over the subwords of a word.
CONTRIBUTION, ATTENTION, FLOW, GRADIENT = (
    "sensor contribution", "sensor attention", "memory flow", "gradient x input",
)  # fmt: skip

#: Weights of the words of a sentence for each of its R relations, ``[R, N]``.
WeightFunction = Callable[[FoundSentence], FloatArray]


class WordWeights(NamedTuple):
    """Word weights by several methods.

    Attributes:
        weights: For each method, the weights of each sentence, ``[R, N]``.
        left_out: For each other method, why the model has no weights by it.
    """

    weights: dict[str, list[FloatArray]]
    left_out: dict[str, str]


def weigh_words(
    pipeline: Pipeline,
    sentences: Sequence[FoundSentence],
    gradients: WeightFunction | str,
    batch_size: int = 32,
) -> WordWeights:
    """Read the word weights of all relations.

    Args:
        pipeline: The model.
        sentences: Sentences with relations, each in one window.
        gradients: Function that computes gradient times input, or the reason why that method is left out.
        batch_size: Maximum number of sentences in a batch.

    Returns:
        The weights of every method that the model supports.
    """
    weights: dict[str, list[FloatArray]] = {}
    left_out: dict[str, str] = {}
    contributions = [_read_contributions(found) for found in sentences]
    attention, flow = _read_attention(pipeline, sentences, batch_size)
    if sentences and not any(rows.any() for rows in contributions):
        left_out[CONTRIBUTION] = left_out[ATTENTION] = "the model has no trigger sensor"
    else:
        weights[CONTRIBUTION] = contributions
        if attention is None or "word_logits" not in pipeline.graphs["relations"].outputs:
            left_out[ATTENTION] = "the model returns one weight of a word, which is the one that results show"
        else:
            weights[ATTENTION] = attention
    if flow is None or not any("word_flow" in graph.outputs for graph in pipeline.graphs.values()):
        left_out[FLOW] = "the model has no flow of the relation memory at word level, or was exported without --explain"
    else:
        weights[FLOW] = flow
    if isinstance(gradients, str):
        left_out[GRADIENT] = gradients
    else:
        weights[GRADIENT] = [gradients(found) for found in sentences]
    return WordWeights(weights, left_out)


def _read_contributions(found: FoundSentence) -> FloatArray:
    """Return the weights that results show, ``[R, N]``."""
    rows = np.zeros((len(found.relations), len(found.sentence.words)))
    for row, relation in zip(rows, found.relations, strict=True):
        first, values = relation.first_word, relation.trigger_weights
        row[first : first + len(values)] = values
    return rows


def _read_attention(
    pipeline: Pipeline, sentences: Sequence[FoundSentence], batch_size: int
) -> tuple[list[FloatArray] | None, list[FloatArray] | None]:
    """Return the attention of the trigger sensor and that of the relation memory; None for what the model lacks."""
    encoded = pipeline.tokenizer.encode([found.sentence.words for found in sentences])
    sensor: list[FloatArray] = [np.empty(0)] * len(sentences)
    flow: list[FloatArray] = [np.empty(0)] * len(sentences)
    has_sensor = has_flow = True
    for batch in batch_indices([len(subwords.ids) for subwords in encoded], batch_size):
        parts = [sentences[index] for index in batch]
        trees = None if pipeline.has_parser else [found.sentence for found in parts]
        arrays = pipeline.encode_sentences([encoded[index] for index in batch], trees, explain=True)
        rows = _read_sensor(pipeline, arrays, parts)
        has_sensor &= rows is not None
        word_flow = arrays.get("word_flow")
        memory = None if word_flow is None else np.asarray(word_flow)[:, MEMORIES.index("relation")]
        has_flow &= memory is not None and bool(np.any(memory))
        start = 0
        for place, index in enumerate(batch):
            count, words = len(sentences[index].relations), len(sentences[index].sentence.words)
            if rows is not None:
                sensor[index] = rows[start : start + count, :words].astype(np.float64)
            if memory is not None:
                flow[index] = np.tile(memory[place, :words].astype(np.float64), (count, 1))
            start += count
    return sensor if has_sensor else None, flow if has_flow else None


def _read_sensor(
    pipeline: Pipeline, arrays: Mapping[str, Any], sentences: Sequence[FoundSentence]
) -> FloatArray | None:
    """Return the attention of the trigger sensor to the words of a batch ``[P, N]``; None without that output."""
    spans = [
        (row, entity.start, entity.end - 1)
        for row, found in enumerate(sentences)
        for pair in found.pairs
        for entity in pair
    ]
    words, width = arrays["nodes"].shape[1:]
    parts = []
    for block in iterate_held_pair_blocks(np.array(spans, np.int64), words, width, pipeline.settings.relation_count):
        _, outputs = pipeline.run_relations(arrays, block)
        if "triggers" not in outputs:
            return None
        # The first half of a block has the given pairs in their order.
        parts.append(np.asarray(outputs["triggers"])[: len(block.pairs) // 2])
    return np.concatenate(parts)

"""Compute how much each word of a sentence contributes to a predicted relation, by several methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trimf.runtime.decoding.span_decoding import EntitySpan, RelationSpan
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.text import batch_arrays as features
from trimf.runtime.text.batch_arrays import BoolArray
from trimf.runtime.triggers.trigger_words import trigger_candidate_mask
from trimf_train.data.sentence import Sentence
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.model.pooling import pool_words

FloatArray = npt.NDArray[np.floating[Any]]

#: Names of the methods.
SENSOR, CONTRIBUTION, FLOW, GRADIENT = "trigger sensor", "sensor contribution", "relation flow", "gradient x input"

#: Methods for word weights: trigger weights t_ij of the sensor, equation (24); their contribution to the logit of the
#: relation, ``t_ij (E_g C)``, where C is the part of the relation classifier that reads the trigger context; attention
#: of the relation memory in the flow at word level, equation (10); and the absolute value of subword embedding times
#: gradient of the logit, maximum over the subwords of a word.
METHODS = (SENSOR, CONTRIBUTION, FLOW, GRADIENT)


class RelationEvidence(NamedTuple):
    """Predicted relation in a sentence of N words, with word weights.

    Attributes:
        sentence: The sentence.
        head: The head entity.
        tail: The tail entity.
        relation: The predicted relation.
        outside_entities: True for words outside all predicted entities ``[N]``.
        trigger_candidates: True for words that may be shown as triggers, a subset of ``outside_entities`` ``[N]``.
        weights: Weights of the words ``[N]`` by method.
    """

    sentence: ParsedSentence
    head: EntitySpan
    tail: EntitySpan
    relation: RelationSpan
    outside_entities: BoolArray
    trigger_candidates: BoolArray
    weights: dict[str, FloatArray]


def collect_evidence(checkpoint: Checkpoint, sentences: Sequence[Sentence]) -> list[RelationEvidence]:
    """Predict relations and compute the weights of their words.

    Sentences that do not fit into one window are skipped. Methods that the model does not support (no trigger sensor,
    no relation flow at word level) have no weights.

    Args:
        checkpoint: The model.
        sentences: Prepared sentences; their gold annotation is ignored.

    Returns:
        One entry per predicted relation.
    """
    pipeline = inference.build_pipeline(checkpoint)
    inputs = [ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []) for sentence in sentences]
    collected = []
    for sentence, result in zip(inputs, pipeline.run(inputs), strict=True):
        if result.window_count != 1 or not result.decoded.relations:
            continue
        entities = result.decoded.entities
        shown = trigger_candidate_mask(sentence.words, entities)
        free = np.ones(len(sentence.words), np.bool_)
        for entity in entities:
            free[entity.start : entity.end] = False
        relations = result.decoded.relations
        pairs = [(entities[relation.head], entities[relation.tail]) for relation in relations]
        weights = _compute_weights(
            checkpoint, pipeline, sentence, pairs, [relation.type_index for relation in relations]
        )
        for relation, (head, tail), relation_weights in zip(relations, pairs, weights, strict=True):
            collected.append(RelationEvidence(sentence, head, tail, relation, free, shown, relation_weights))
    return collected


def _compute_weights(
    checkpoint: Checkpoint,
    pipeline: Pipeline,
    sentence: ParsedSentence,
    pairs: Sequence[tuple[EntitySpan, EntitySpan]],
    labels: Sequence[int],
) -> Iterator[dict[str, FloatArray]]:
    """Yield the weights of each relation, from one forward pass and one backward pass per relation."""
    model = checkpoint.model
    (subwords,) = pipeline.tokenizer.encode([sentence.words])
    arcs = features.encode_arcs(sentence.heads, sentence.labels, pipeline.settings.dependency_label_to_id)
    batch = features.Batch(*features.pad_subwords([subwords]), *features.pad_arcs([arcs]))
    ids, mask, pieces, word_mask, heads, arc_labels = map(torch.from_numpy, batch)
    stage = checkpoint.description.stage
    table = model.encoder.get_input_embeddings()
    embedded = table(ids).detach().requires_grad_()
    # The hook makes the encoder use `embedded`, for which the gradient is computed, as the result of its look-up.
    hook = table.register_forward_hook(lambda *_: embedded)
    try:
        states, parser_states = model.encode_subwords(ids, mask)
    finally:
        hook.remove()
    if model.parser is not None:
        heads, arc_labels = model.parse(parser_states, pieces)
    flow = _relation_flow(checkpoint, states, mask, pieces)
    words, cls = model.pool_to_words(states, mask, pieces, stage)
    nodes = model.fuse_graphs(words, cls, word_mask, heads, arc_labels)
    spans = [(0, entity.start, entity.end - 1) for pair in pairs for entity in pair]
    pair_indices = torch.arange(len(spans)).view(-1, 2)
    logits, trigger_weights = model.relation_logits(nodes, word_mask, torch.tensor(spans), pair_indices, stage)
    word_logits = model.trigger_word_logits(nodes[0]) if stage == 2 and model.trigger is not None else None
    for index, label in enumerate(labels):
        gradient = torch.autograd.grad(logits[index, label], embedded, retain_graph=True)[0]
        subword_weights = (gradient * embedded).sum(-1)[0].abs()
        weights = {GRADIENT: pool_words(subword_weights[None, :, None], pieces)[0, :, 0]}
        if word_logits is not None:
            weights[SENSOR] = trigger_weights[index]
            weights[CONTRIBUTION] = trigger_weights[index] * word_logits[:, label]
        if flow is not None:
            weights[FLOW] = flow
        yield {name: weights[name].detach().float().numpy() for name in METHODS if name in weights}


def _relation_flow(checkpoint: Checkpoint, states: Tensor, mask: Tensor, pieces: Tensor) -> Tensor | None:
    """Return the attention of the relation memory to each word ``[N]``, or None if the model has no such flow."""
    model = checkpoint.model
    if checkpoint.description.stage != 2 or "relation" not in model.word_flow.weights:
        return None
    words = pool_words(model.subword_flow(states, mask.bool(), model.memory), pieces)
    return model.word_flow.attention_weights(words, pieces[:, :, 0] > 0, model.memory)["relation"][0]

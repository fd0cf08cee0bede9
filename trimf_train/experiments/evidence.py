"""Which words a relation rests on, by several measures: a weight for every word of its sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trimf.runtime import features
from trimf.runtime.decode import EntitySpan, RelationSpan
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.triggers import may_trigger
from trimf_train import inference
from trimf_train.checkpoint import Checkpoint
from trimf_train.data.sentence import Sentence
from trimf_train.model.pooling import pool_words

FloatArray = npt.NDArray[np.floating[Any]]

SENSOR, CONTRIBUTION, FLOW, GRADIENT = "trigger sensor", "sensor contribution", "relation flow", "gradient x input"
METHODS = (SENSOR, CONTRIBUTION, FLOW, GRADIENT)
"""Weights t_ij of the sensor (24); their part of the relation's logit, ``t_ij (E_g C)``; weights of the relation
memory's flow at word level (10); and the absolute product of the subword embeddings with the gradient of the logit."""


class Evidence(NamedTuple):
    """A relation found in a sentence of N words, and each method's weights ``[N]``.

    ``free`` ``[N]`` are the words of no entity, ``shown`` those of them that may be shown as triggers.
    """

    sentence: ParsedSentence
    head: EntitySpan
    tail: EntitySpan
    relation: RelationSpan
    free: npt.NDArray[np.bool_]
    shown: npt.NDArray[np.bool_]
    weights: dict[str, FloatArray]


def collect(checkpoint: Checkpoint, sentences: Sequence[Sentence]) -> list[Evidence]:
    """Every relation the checkpoint finds, in sentences that fit one window, with the weights of its words.

    A model without trigger sensor, or without relation flow at word level, has no weights by those.
    """
    pipeline = inference.pipeline(checkpoint)
    given = [ParsedSentence(one.tokens, one.heads or [], one.labels or []) for one in sentences]
    found = []
    for sentence, result in zip(given, pipeline.run(given), strict=True):
        if result.windows != 1 or not result.found.relations:
            continue
        entities = result.found.entities
        shown = may_trigger(sentence.words, entities)
        free = np.ones(len(sentence.words), np.bool_)
        for entity in entities:
            free[entity.start : entity.end] = False
        relations = result.found.relations
        pairs = [(entities[relation.head], entities[relation.tail]) for relation in relations]
        weights = _weights(checkpoint, pipeline, sentence, pairs, [relation.label for relation in relations])
        for relation, (head, tail), of_relation in zip(relations, pairs, weights, strict=True):
            found.append(Evidence(sentence, head, tail, relation, free, shown, of_relation))
    return found


def _weights(
    checkpoint: Checkpoint,
    pipeline: Pipeline,
    sentence: ParsedSentence,
    pairs: Sequence[tuple[EntitySpan, EntitySpan]],
    labels: Sequence[int],
) -> Iterator[dict[str, FloatArray]]:
    """One forward pass of a sentence, and a backward pass for each of its relations."""
    model = checkpoint.model
    (subwords,) = pipeline.tokenizer.encode([sentence.words])
    arcs = features.arcs(sentence.heads, sentence.labels, pipeline.settings.dependencies)
    batch = features.Batch(*features.pad_subwords([subwords]), *features.pad_arcs([arcs]))
    ids, mask, pieces, word_mask, heads, names = map(torch.from_numpy, batch)
    stage = checkpoint.description.stage
    table = model.encoder.get_input_embeddings()
    embedded = table(ids).detach().requires_grad_()
    # The embeddings of the subwords, seen by the encoder as its own look-up.
    hook = table.register_forward_hook(lambda *_: embedded)
    try:
        states, of_layer = model.states(ids, mask)
    finally:
        hook.remove()
    if model.parser is not None:
        heads, names = model.parse(of_layer, pieces)
    flow = _flow(checkpoint, states, mask, pieces)
    words, cls = model.flow(states, mask, pieces, stage)
    nodes = model.fuse(words, cls, word_mask, heads, names)
    ends = [(0, entity.start, entity.end - 1) for pair in pairs for entity in pair]
    numbers = torch.arange(len(ends)).view(-1, 2)
    logits, sensed = model.relation_logits(nodes, word_mask, torch.tensor(ends), numbers, stage)
    of_word = model.word_logits(nodes[0]) if stage == 2 and model.trigger is not None else None
    for number, label in enumerate(labels):
        gradient = torch.autograd.grad(logits[number, label], embedded, retain_graph=True)[0]
        of_subword = (gradient * embedded).sum(-1)[0].abs()
        found = {GRADIENT: pool_words(of_subword[None, :, None], pieces)[0, :, 0]}
        if of_word is not None:
            found[SENSOR] = sensed[number]
            found[CONTRIBUTION] = sensed[number] * of_word[:, label]
        if flow is not None:
            found[FLOW] = flow
        yield {name: found[name].detach().float().numpy() for name in METHODS if name in found}


def _flow(checkpoint: Checkpoint, states: Tensor, mask: Tensor, pieces: Tensor) -> Tensor | None:
    model = checkpoint.model
    if checkpoint.description.stage != 2 or "relation" not in model.word_flow.weights:
        return None
    words = pool_words(model.subword_flow(states, mask.bool(), model.memory), pieces)
    return model.word_flow.attention(words, pieces[:, :, 0] > 0, model.memory)["relation"][0]

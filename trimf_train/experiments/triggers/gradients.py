"""Compute gradient times input of relations, which needs a checkpoint in PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from trimf.runtime.decoding.span_decoding import FloatArray
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.text import batch_arrays as features
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.model.pooling import pool_words

from .found_relations import FoundSentence


def weigh_by_gradient(checkpoint: Checkpoint, pipeline: Pipeline, found: FoundSentence) -> FloatArray:
    """Weigh words by the absolute value of subword embedding times gradient of the logit, maximum over the subwords.

    Args:
        checkpoint: The model.
        pipeline: Its pipeline.
        found: A sentence of N words with R relations.

    Returns:
        The weights ``[R, N]``, from one forward pass and one backward pass per relation.
    """
    model, stage = checkpoint.model, checkpoint.description.stage
    sentence, device = found.sentence, next(checkpoint.model.parameters()).device
    (subwords,) = pipeline.tokenizer.encode([sentence.words])
    arcs = features.encode_arcs(sentence.heads, sentence.labels, pipeline.settings.dependency_label_to_id)
    batch = features.Batch(*features.pad_subwords([subwords]), *features.pad_arcs([arcs]))
    ids, mask, pieces, word_mask, heads, arc_labels = (torch.from_numpy(array).to(device) for array in batch)
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
    words, cls = model.pool_to_words(states, mask, pieces, stage)
    nodes = model.fuse_graphs(words, cls, word_mask, heads, arc_labels)
    spans = [(0, entity.start, entity.end - 1) for pair in found.pairs for entity in pair]
    pair_indices = torch.arange(len(spans), device=device).view(-1, 2)
    logits, _ = model.relation_logits(nodes, word_mask, torch.tensor(spans, device=device), pair_indices, stage)
    rows = []
    for index, relation in enumerate(found.relations):
        gradient = torch.autograd.grad(logits[index, relation.type_index], embedded, retain_graph=True)[0]
        weights = (gradient * embedded).sum(-1)[0].abs()
        rows.append(pool_words(weights[None, :, None], pieces)[0, :, 0].detach().float().cpu().numpy())
    return np.stack(rows).astype(np.float64)

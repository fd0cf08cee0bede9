"""The effect estimator as a PyTorch module, for training; ``trimf.runtime.triggers.effect_estimator`` is its twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trimf.runtime.triggers.effect_estimator import (
    DISTANCE_BUCKETS,
    ORDERS,
    EffectWeights,
    list_relations,
    locate_words,
)
from trimf_train.triggers.deletion_examples import DeletionExample


class EffectBatch(NamedTuple):
    """F relations with the words of their sentences, padded to N.

    Attributes:
        nodes: Nodes, ``[F, N, H]``.
        head: Pooled heads, ``[F, H]``.
        tail: Pooled tails, ``[F, H]``.
        gap: Pooled words between them, ``[F, H]``.
        winners: Whether each maximum of ``gap`` comes from a word, ``[F, N, H]``.
        types: Relation types, ``[F]``.
        to_head: Buckets of the distance to the head, ``[F, N]``.
        to_tail: Buckets of the distance to the tail, ``[F, N]``.
        order: Places relative to both spans, ``[F, N]``.
        effects: By how much the logit falls without each word, and without it and the stop word after it,
            ``[F, 2, N]``; 0 where it was not measured.
        measured: Whether the word was left out, ``[F, N]``.
        candidates: Whether the word may be shown as a trigger, ``[F, N]``.
    """

    nodes: Tensor
    head: Tensor
    tail: Tensor
    gap: Tensor
    winners: Tensor
    types: Tensor
    to_head: Tensor
    to_tail: Tensor
    order: Tensor
    effects: Tensor
    measured: Tensor
    candidates: Tensor


def build_batch(members: Sequence[tuple[DeletionExample, int]]) -> EffectBatch:
    """Build a batch from relations, each given by its sentence and its index there."""
    count, words = len(members), max(len(example.words) for example, _ in members)
    width = members[0][0].nodes.shape[1]
    nodes = np.zeros((count, words, width), np.float32)
    effects = np.full((count, 2, words), np.nan, np.float32)
    candidates = np.zeros((count, words), np.bool_)
    pooled = np.zeros((3, count, width), np.float32)
    winners = np.zeros((count, words, width), np.bool_)
    found = list_relations(
        [example.decoded.entities for example, _ in members],
        [[example.relations[index].relation] for example, index in members],
    )
    for row, (example, index) in enumerate(members):
        length = len(example.words)
        nodes[row, :length] = example.nodes
        effects[row, 0, :length] = example.relations[index].effects
        effects[row, 1, :length] = example.relations[index].phrase_effects
        candidates[row, :length] = example.candidates
        ranges = (
            (found.head_starts[row], found.head_ends[row]),
            (found.tail_starts[row], found.tail_ends[row]),
            (found.gap_starts[row], found.gap_ends[row]),
        )
        for place, (start, end) in enumerate(ranges):
            if start < end:
                pooled[place, row] = example.nodes[start:end].max(0)
        start, end = ranges[2]
        winners[row, start:end] = example.nodes[start:end] == pooled[2, row]
    to_head, to_tail, order = locate_words(words, found)
    measured = np.isfinite(effects[:, 0])
    places = (to_head, to_tail, order)
    arrays = (nodes, *pooled, winners, found.types, *places, np.nan_to_num(effects), measured, candidates)
    return EffectBatch._make(map(torch.from_numpy, arrays))


class EffectModule(nn.Module):
    """Effect estimator with the parameters of ``EffectWeights``.

    Args:
        width: Width H of the nodes.
        types: Number of relation types.
        features: Number D of features.
        dropout: Dropout of nodes in front of the features.
    """

    def __init__(self, width: int, types: int, features: int = 64, dropout: float = 0.4) -> None:
        super().__init__()
        scale = width**-0.5

        def normal(*shape: int, size: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * size)

        self.word = normal(width, features, size=scale)
        self.bias = nn.Parameter(torch.zeros(features))
        self.head = normal(width, features, size=scale)
        self.tail = normal(width, features, size=scale)
        self.relation = normal(types, features, size=0.02)
        self.head_distance = normal(DISTANCE_BUCKETS, features, size=0.02)
        self.tail_distance = normal(DISTANCE_BUCKETS, features, size=0.02)
        self.order = normal(ORDERS, features, size=0.02)
        self.local = nn.Parameter(torch.zeros(types, width))
        self.direct = nn.Parameter(torch.zeros(types, width))
        self.parts = normal(2, features, size=0.5)
        self.output = normal(features, 2, size=features**-0.5)
        self.scale = nn.Parameter(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]))
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: EffectBatch) -> Tensor:
        """Estimate both effects of each word on each relation, ``[F, 2, N]``."""
        nodes, head, tail = self.dropout(batch.nodes), self.dropout(batch.head), self.dropout(batch.tail)
        local = torch.einsum("fnh,fh->fn", batch.winners.to(nodes.dtype), batch.gap * self.local[batch.types])
        direct = torch.einsum("fnh,fh->fn", nodes, self.direct[batch.types])
        of_pairs = head @ self.head + tail @ self.tail + self.relation[batch.types]
        hidden = (
            nodes @ self.word
            + self.bias
            + of_pairs.unsqueeze(1)
            + self.head_distance[batch.to_head]
            + self.tail_distance[batch.to_tail]
            + self.order[batch.order]
            + local.unsqueeze(-1) * self.parts[0]
            + direct.unsqueeze(-1) * self.parts[1]
        )
        parts = torch.stack([local, direct, torch.ones_like(local)], 1)
        effects: Tensor = (torch.relu(hidden) @ self.output).transpose(1, 2) + self.scale.T @ parts
        return effects

    def to_weights(self) -> EffectWeights:
        """Return a copy of the weights for the runtime."""
        return EffectWeights(*(getattr(self, name).detach().numpy().copy() for name in EffectWeights._fields))

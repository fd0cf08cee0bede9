"""Training sentences read by a model as it would read any text, without being learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trimf.runtime import features
from trimf.runtime.pipeline import batches
from trimf_train.model.trimf import TriMF

#: Sentences that are read at once.
BATCH = 32


class Read(NamedTuple):
    """What a model makes of the sentences at ``places``: nodes ``[B,N,H]``, whose words are real where ``word_mask``
    is, and the logits of every span ``[B,N,K,n_e+1]``.
    """

    places: list[int]
    word_mask: Tensor
    nodes: Tensor
    entities: Tensor


@torch.inference_mode()
def read(model: TriMF, stage: int, items: Sequence[features.Item]) -> Iterator[Read]:
    """Every item once, in batches of like length, on the model's device; a parser of its own gives the arcs.

    The model is set to eval mode.
    """
    model.eval()
    device = next(model.parameters()).device
    for places in batches([len(item.subwords.ids) for item in items], BATCH):
        batch = features.pad([items[place] for place in places])
        ids, attention, pieces, mask, heads, labels = (torch.from_numpy(array).to(device) for array in batch)
        states, of_layer = model.states(ids, attention)
        if model.parser is not None:
            heads, labels = model.parse(of_layer, pieces)
        words, cls = model.flow(states, attention, pieces, stage)
        nodes = model.fuse(words, cls, mask, heads, labels)
        yield Read(places, mask, nodes, model.entity_logits(nodes, cls).float())

"""Training sentences read by a model as it would read any text, without being learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from trimf.runtime import features
from trimf.runtime.pipeline import batches
from trimf_train import inference
from trimf_train.model.trimf import TriMF

#: Sentences that are read at once.
BATCH = 32


class Read(NamedTuple):
    """What a model makes of the sentences at ``places``: the inputs and outputs of its first three subgraphs.

    Among them are ``nodes`` ``[B,N,H]``, a tensor on the model's device, and ``entity_logits`` ``[B,N,K,n_e+1]``.
    """

    places: list[int]
    arrays: dict[str, Any]


def read(model: TriMF, stage: int, items: Sequence[features.Item]) -> Iterator[Read]:
    """Every item once, in batches of like length; a parser of the model's own gives the arcs.

    The model is set to eval mode.
    """
    graphs = inference.subgraphs(model, stage)
    for places in batches([len(item.subwords.ids) for item in items], BATCH):
        arrays: dict[str, Any] = features.pad([items[place] for place in places])._asdict()
        for name in ("encoder", "fusion", "entities"):
            arrays.update(graphs[name].run(arrays))
        yield Read(places, arrays)

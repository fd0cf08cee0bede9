"""Run a model on batches of training sentences without training it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from trimf.runtime.text import batch_arrays as features
from trimf.runtime.window_batching import batch_indices
from trimf_train.model import torch_backend as inference
from trimf_train.model.trimf import TriMF

#: Maximum number of sentences per batch.
BATCH_SIZE = 32


class BatchOutputs(NamedTuple):
    """Inputs and outputs of a model's first three subgraphs for one batch.

    ``indices`` are the indices of the batch's sentences. ``arrays`` has ``nodes`` ``[B,N,H]``, a tensor on the model's
    device, and ``entity_logits`` ``[B,N,K,n_e+1]``, among others.
    """

    indices: list[int]
    arrays: dict[str, Any]


def run_in_batches(model: TriMF, stage: int, items: Sequence[features.EncodedSentence]) -> Iterator[BatchOutputs]:
    """Run a model on encoded sentences, in batches of similar length.

    Args:
        model: The model; it is set to eval mode. If it has an in-model parser, that parser's arcs replace those of the
            sentences.
        stage: Training stage that the model has gone through.
        items: Encoded sentences.

    Yields:
        The inputs and outputs of each batch; every sentence is in one batch.
    """
    graphs = inference.wrap_subgraphs(model, stage)
    for indices in batch_indices([len(item.subwords.ids) for item in items], BATCH_SIZE):
        arrays: dict[str, Any] = features.pad_batch([items[index] for index in indices])._asdict()
        for name in ("encoder", "fusion", "entities"):
            arrays.update(graphs[name].run(arrays))
        yield BatchOutputs(indices, arrays)

"""A checkpoint behind the runtime's pipeline: the PyTorch model as four subgraphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from trimf.runtime.backend import SUBGRAPHS
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.subwords import SubwordTokenizer
from trimf_train.checkpoint import Checkpoint
from trimf_train.model.trimf import TriMF

_INPUTS = {
    "encoder": ("input_ids", "attention_mask", "pieces"),
    "fusion": ("words", "cls", "word_mask", "heads", "labels"),
    "entities": ("nodes", "cls", "word_mask"),
    "relations": ("nodes", "word_mask", "spans", "pairs"),
}


class TorchSubgraph:
    """One step of the literal PyTorch model as the runtime's :class:`~trimf.runtime.backend.Subgraph`.

    Hidden states stay tensors on the model's device between steps; logits come back as numpy arrays.
    """

    def __init__(self, model: TriMF, name: str, stage: int) -> None:
        self.inputs = _INPUTS[name]
        arcs = ("heads", "labels") if name == "encoder" and model.parser is not None else ()
        self.outputs: dict[str, tuple[int | None, ...]] = dict.fromkeys(arcs, (None, None))
        self.types: dict[str, type[np.generic] | None] = {}
        self._model, self._name, self._stage = model, name, stage

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the step's outputs."""
        device = next(self._model.parameters()).device
        values = [torch.as_tensor(arrays[name]).to(device) for name in self.inputs]
        model = self._model
        with torch.inference_mode():
            if self._name == "encoder":
                input_ids, mask, pieces = values
                states, of_layer = model.states(input_ids, mask)
                words, cls = model.flow(states, mask, pieces, self._stage)
                found = {"words": words.float(), "cls": cls.float()}
                if model.parser is not None:
                    found["heads"], found["labels"] = model.parse(of_layer, pieces)
                return found
            if self._name == "fusion":
                return {"nodes": model.fuse(*values)}
            if self._name == "entities":
                return {"entity_logits": model.entity_logits(values[0], values[1]).float().cpu().numpy()}
            logits, triggers = model.relation_logits(*values, stage=self._stage)
            return {"relation_logits": logits.float().cpu().numpy(), "triggers": triggers.float().cpu().numpy()}

    def close(self) -> None:
        """Nothing to free: the model belongs to the caller."""


def open_tokenizer(tokenizer_json: str) -> SubwordTokenizer:
    """A word tokenizer from the text of a ``tokenizer.json``."""
    return SubwordTokenizer.from_bytes(tokenizer_json.encode(), "tokenizer.json")


def pipeline(checkpoint: Checkpoint, stage: int | None = None) -> Pipeline:
    """The runtime's pipeline over the checkpoint's model (set to eval mode), as trained up to ``stage``."""
    checkpoint.model.eval()
    stage = checkpoint.description.stage if stage is None else stage
    graphs = {name: TorchSubgraph(checkpoint.model, name, stage) for name in SUBGRAPHS}
    return Pipeline(graphs, open_tokenizer(checkpoint.tokenizer_json), checkpoint.description.settings)

"""A checkpoint behind the runtime's pipeline: the PyTorch model as four subgraphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trimf.runtime.backend import MEMORIES, SUBGRAPHS
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.subwords import SubwordTokenizer
from trimf_train.checkpoint import Checkpoint
from trimf_train.model.pooling import pool_words
from trimf_train.model.trimf import TriMF

_INPUTS = {
    "encoder": ("input_ids", "attention_mask", "pieces"),
    "fusion": ("words", "cls", "word_mask", "heads", "labels"),
    "entities": ("nodes", "cls", "word_mask"),
    "relations": ("nodes", "word_mask", "spans", "pairs"),
}


class TorchSubgraph:
    """One step of the literal PyTorch model as the runtime's :class:`~trimf.runtime.backend.Subgraph`.

    Hidden states stay tensors on the model's device between steps; logits and arcs come back as numpy arrays.
    """

    def __init__(self, model: TriMF, name: str, stage: int) -> None:
        self.inputs = _INPUTS[name]
        arcs = ("heads", "labels") if name == "encoder" and model.parser is not None else ()
        self.outputs: dict[str, tuple[int | None, ...]] = dict.fromkeys(arcs, (None, None))
        if name == "encoder" and stage == 2:
            flows = {"subword_flow": model.subword_flow, "word_flow": model.word_flow}
            self.outputs |= {key: (None, len(MEMORIES), None) for key, flow in flows.items() if len(flow.weights)}
        if name == "fusion" and model.fusion.weight is not None:
            self.outputs["syntactic_share"] = (None, None)
        if name == "relations":
            self.outputs["word_logits"] = (None, None, None)
        self.types: dict[str, type[np.generic] | None] = {}
        self._model, self._name, self._stage = model, name, stage

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        """Compute the step's outputs, with ``extra`` those of EXPLAINING too."""
        device = next(self._model.parameters()).device
        values = [torch.as_tensor(arrays[name]).to(device) for name in self.inputs]
        model = self._model
        with torch.inference_mode():
            if self._name == "encoder":
                input_ids, mask, pieces = values
                states, of_layer = model.states(input_ids, mask)
                words, cls = model.flow(states, mask, pieces, self._stage)
                found: dict[str, Any] = {"words": words.float(), "cls": cls.float()}
                if extra:
                    found |= self._flows(states, mask.bool(), pieces)
                if model.parser is not None:
                    heads, labels = model.parse(of_layer, pieces)
                    found |= {"heads": heads.cpu().numpy(), "labels": labels.cpu().numpy()}
                return found
            if self._name == "fusion":
                found = {"nodes": model.fuse(*values)}
                if extra and "syntactic_share" in self.outputs:
                    found["syntactic_share"] = model.fusion.syntactic_share(*values).cpu().numpy()
                return found
            if self._name == "entities":
                return {"entity_logits": model.entity_logits(values[0], values[1]).float().cpu().numpy()}
            logits, triggers = model.relation_logits(*values, stage=self._stage)
            found = {
                "relation_logits": logits,
                "triggers": triggers,
                "word_logits": model.word_logits(values[0], self._stage),
            }
            return {name: value.float().cpu().numpy() for name, value in found.items()}

    def _flows(self, states: Tensor, mask: Tensor, pieces: Tensor) -> dict[str, Any]:
        """The weights of what flows at each level; those of the words come after the flow of the subwords."""
        model = self._model
        levels = {
            "subword_flow": (model.subword_flow, states, mask),
            "word_flow": (
                model.word_flow,
                pool_words(model.subword_flow(states, mask, model.memory), pieces),
                pieces[:, :, 0] > 0,
            ),
        }
        found = {}
        for name, (flow, of_level, of_tokens) in levels.items():
            if name in self.outputs:
                weights = flow.attention(of_level, of_tokens, model.memory)
                none = torch.zeros(of_tokens.shape, device=states.device)
                found[name] = torch.stack([weights.get(memory, none) for memory in MEMORIES], 1).cpu().numpy()
        return found

    def close(self) -> None:
        """Nothing to free: the model belongs to the caller."""


def open_tokenizer(checkpoint: Checkpoint) -> SubwordTokenizer:
    """The word tokenizer of a checkpoint."""
    casing = checkpoint.description.model.encoder.casing
    return SubwordTokenizer.from_bytes(checkpoint.tokenizer_json.encode(), "tokenizer.json", casing)


def subgraphs(model: TriMF, stage: int) -> dict[str, TorchSubgraph]:
    """The four steps of a model (set to eval mode), as trained up to ``stage``."""
    model.eval()
    return {name: TorchSubgraph(model, name, stage) for name in SUBGRAPHS}


def pipeline(checkpoint: Checkpoint, stage: int | None = None) -> Pipeline:
    """The runtime's pipeline over the checkpoint's model (set to eval mode), as trained up to ``stage``."""
    graphs = subgraphs(checkpoint.model, checkpoint.description.stage if stage is None else stage)
    return Pipeline(graphs, open_tokenizer(checkpoint), checkpoint.description.settings)

"""Run a PyTorch checkpoint in the runtime's pipeline, as the four subgraphs of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trimf.runtime.decoding.span_decoding import FloatArray
from trimf.runtime.engine.contract import MEMORIES, list_subgraphs
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.text.subwords import SubwordTokenizer
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.model.pooling import pool_words
from trimf_train.model.trimf import TriMF

#: Names of the inputs of each subgraph, in order.
_INPUTS = {
    "encoder": ("input_ids", "attention_mask", "pieces"),
    "fusion": ("words", "cls", "word_mask", "heads", "labels"),
    "entities": ("nodes", "word_mask"),
    "relations": ("nodes", "word_mask", "spans", "pairs"),
}


class TorchSubgraph:
    """One step of the PyTorch model as a ``trimf.runtime.engine.contract.Subgraph`` of the runtime.

    It computes the equations of the paper as they are, without the rewrites of the exported graphs. Hidden states stay
    tensors on the model's device between steps; logits and arcs are returned as numpy arrays.

    Args:
        model: The model, in eval mode.
        name: Name of the subgraph: ``encoder``, ``fusion``, ``entities`` or ``relations``.
        stage: Training stage that the model has gone through; before stage 2 it has no flows and no trigger sensor.
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
        """Compute the outputs of this step.

        Args:
            arrays: The inputs, named as in ``inputs``; other arrays are ignored.
            extra: Also compute the outputs of ``trimf.runtime.engine.contract.EXPLAINING`` that the model has.

        Returns:
            The outputs by name.
        """
        device = next(self._model.parameters()).device
        values = [torch.as_tensor(arrays[name]).to(device) for name in self.inputs]
        model = self._model
        with torch.inference_mode():
            if self._name == "encoder":
                input_ids, mask, pieces = values
                states, parser_states = model.encode_subwords(input_ids, mask)
                words, cls = model.pool_to_words(states, mask, pieces, self._stage)
                outputs: dict[str, Any] = {"words": words.float(), "cls": cls.float()}
                if extra:
                    outputs |= self._compute_flow_weights(states, mask.bool(), pieces)
                if model.parser is not None:
                    heads, labels = model.parse(parser_states, pieces)
                    outputs |= {"heads": heads.cpu().numpy(), "labels": labels.cpu().numpy()}
                return outputs
            if self._name == "fusion":
                outputs = {"nodes": model.fuse_graphs(*values)}
                if extra and "syntactic_share" in self.outputs:
                    outputs["syntactic_share"] = model.fusion.syntactic_weight(*values).cpu().numpy()
                return outputs
            if self._name == "entities":
                return {"entity_logits": model.entity_logits(values[0]).float().cpu().numpy()}
            nodes, word_mask, spans, pairs = values
            logits, triggers = model.relation_logits(nodes, word_mask, spans, pairs, self._stage)
            outputs = {
                "relation_logits": logits,
                "triggers": triggers,
                "word_logits": model.trigger_word_logits(nodes, self._stage),
            }
            return {name: value.float().cpu().numpy() for name, value in outputs.items()}

    def score_arcs(self, arrays: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
        """Compute the scores that the in-model parser decides by; only of the encoder.

        Args:
            arrays: The inputs, named as in ``inputs``; other arrays are ignored.

        Returns:
            Scores of all arcs ``[B, N, N]``, and of the labels of each word's best arc ``[B, N, n_d]``.
        """
        device = next(self._model.parameters()).device
        input_ids, mask, pieces = (torch.as_tensor(arrays[name]).to(device) for name in self.inputs)
        with torch.inference_mode():
            _, states = self._model.encode_subwords(input_ids, mask)
            arcs, labels = self._model.score_arcs(states, pieces)
            return arcs.float().cpu().numpy(), labels.float().cpu().numpy()

    def _compute_flow_weights(self, states: Tensor, mask: Tensor, pieces: Tensor) -> dict[str, Any]:
        """Compute the flow weights of subwords ``[B,2,T]`` and of words ``[B,2,N]``, which follow the subword flow."""
        model = self._model
        levels = {
            "subword_flow": (model.subword_flow, states, mask),
            "word_flow": (
                model.word_flow,
                pool_words(model.subword_flow(states, mask, model.memory), pieces),
                pieces[:, :, 0] > 0,
            ),
        }
        outputs = {}
        for name, (flow, level_states, level_mask) in levels.items():
            if name in self.outputs:
                weights = flow.attention_weights(level_states, level_mask, model.memory)
                zeros = torch.zeros(level_mask.shape, device=states.device)
                outputs[name] = torch.stack([weights.get(memory, zeros) for memory in MEMORIES], 1).cpu().numpy()
        return outputs

    def close(self) -> None:
        """Do nothing: the model belongs to the caller."""


def load_tokenizer(checkpoint: Checkpoint) -> SubwordTokenizer:
    """Return the subword tokenizer of a checkpoint."""
    casing = checkpoint.description.model.encoder.casing
    return SubwordTokenizer.from_bytes(checkpoint.tokenizer_json.encode(), "tokenizer.json", casing)


def wrap_subgraphs(model: TriMF, stage: int) -> dict[str, TorchSubgraph]:
    """Wrap a model as the subgraphs of the runtime.

    Args:
        model: The model; it is set to eval mode.
        stage: Training stage that the model has gone through.

    Returns:
        The subgraphs by name.
    """
    model.eval()
    names = list_subgraphs(relations=len(model.memory.relation) > 0)
    return {name: TorchSubgraph(model, name, stage) for name in names}


def build_pipeline(checkpoint: Checkpoint, stage: int | None = None) -> Pipeline:
    """Build the runtime's pipeline on the model of a checkpoint.

    Args:
        checkpoint: The checkpoint; its model is set to eval mode.
        stage: Training stage that the model has gone through; default: the one recorded in the checkpoint.

    Returns:
        The pipeline, which runs on the model's device.
    """
    graphs = wrap_subgraphs(checkpoint.model, checkpoint.description.stage if stage is None else stage)
    description = checkpoint.description
    settings = description.pipeline_settings
    if checkpoint.effects is not None:
        settings = settings._replace(trigger_floor=description.trigger_floor)
    return Pipeline(graphs, load_tokenizer(checkpoint), settings, effects=checkpoint.effects)

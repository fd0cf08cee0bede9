"""Define the contract of a subgraph: the names and axes of its tensors, and how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

#: The four subgraphs in the order they run.
SUBGRAPHS = ("encoder", "fusion", "entities", "relations")

#: Encoder with in-model parser, fusion and entities as one graph, which a backend runs at one call.
JOINED = "joined"

#: The subgraphs that it joins, in the order they run.
JOINED_PARTS = SUBGRAPHS[:3]

#: Its outputs.
JOINED_OUTPUTS = ("heads", "labels", "nodes", "entity_logits")

#: The graphs of a backend that joins the first three.
JOINED_SUBGRAPHS = (JOINED, "relations")

#: File of the joined graph for CPUs, and the files that hold its weights.
JOINED_FILE = f"{JOINED}.onnx"
JOINED_WEIGHTS = tuple(f"{name}.onnx" for name in JOINED_PARTS)


def list_subgraphs(*, relations: bool, joined: bool = False) -> tuple[str, ...]:
    """List the graphs of a model, in the order they run.

    Args:
        relations: Whether the model has relation types. One without has no graph ``relations``.
        joined: List the joined graph instead of the three that it joins.

    Returns:
        ``SUBGRAPHS`` or ``JOINED_SUBGRAPHS``, with or without ``relations``.
    """
    names = JOINED_SUBGRAPHS if joined else SUBGRAPHS
    return names if relations else names[:-1]


#: Files of the fused graphs for CUDA, and the files that hold their weights.
FUSED_FILES = {name: f"{name}-fused.onnx" for name in JOINED_SUBGRAPHS}
FUSED_WEIGHTS = {JOINED: JOINED_WEIGHTS, "relations": ("relations.onnx",)}

#: A subword id is its number in the vocabulary plus this times its letter case.
CASE_MULTIPLIER = 1 << 24

#: Number of words of a block, over which the maximum is taken once for all ranges that hold it.
BLOCK_WORDS = 16

#: Largest distance between two subwords that a fused graph tells apart.
MAX_DISTANCE = 512

#: Names of the axes of every input and output, in order; None is an axis of fixed size.
AXES: dict[str, tuple[str | None, ...]] = {
    "input_ids": ("batch", "subwords"),
    "attention_mask": ("batch", "subwords"),
    "pieces": ("batch", "words", "pieces"),
    "subwords": ("batch", "subwords", None),
    "words": ("batch", "words", None),
    "cls": ("batch", None),
    "word_mask": ("batch", "words"),
    "heads": ("batch", "words"),
    "labels": ("batch", "words"),
    "nodes": ("batch", "words", None),
    "spans": ("spans", None),
    "pairs": ("pairs", None),
    "ranges": ("ranges", "rows"),
    "gaps": ("pairs",),
    "entity_logits": ("batch", "words", None, None),
    "relation_logits": ("pairs", None),
    "triggers": ("pairs", "words"),
    "word_logits": ("batch", "words", None),
    "arc_scores": ("batch", "words", "words"),
    "subword_flow": ("batch", None, "subwords"),
    "word_flow": ("batch", None, "words"),
    "syntactic_share": ("batch", "words"),
}

#: Outputs for explanations: the weight that each of ``MEMORIES`` gives to every subword and word (equation (10)),
#: and the weight of the syntactic graph at every word (equation (19)).
EXPLAINING = ("subword_flow", "word_flow", "syntactic_share")
MEMORIES = ("entity", "relation")

#: Outputs that the host reads; those of a call are copied to it together.
HOST_OUTPUTS = ("heads", "labels", "entity_logits", "relation_logits", "triggers", "word_logits")

#: Large or rarely used outputs, computed on request only, and only by the cpu backend.
EXTRA = ("arc_scores", *EXPLAINING)


class Subgraph(Protocol):
    """Compiled subgraph. Arrays may live on a device, in a form that only their backend understands.

    ``numpy.asarray`` copies an output from a device to the host.
    """

    inputs: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, type[np.generic] | None]:
        """Numpy type of every input and output; None for bfloat16, which numpy lacks and which stays on a device."""

    @property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Name and shape of every output; None where a size depends on the inputs."""

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output except ``EXTRA`` from arrays named as ``inputs``; further arrays are ignored."""

    def close(self) -> None:
        """Free the memory of the subgraph; it cannot run afterwards."""


@runtime_checkable
class AsynchronousSubgraph(Protocol):
    """Subgraph whose ``run`` returns before its work on the device is done."""

    def synchronize(self) -> None:
        """Wait until the work that the calling thread has started is done."""

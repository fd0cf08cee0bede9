"""Cut the transformer out of a bundle's graphs: the baseline that extraction is compared with on the same backend."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import onnx
from onnx import shape_inference
from onnx.utils import Extractor

from ...runtime.bundle.reader import Bundle
from ...runtime.engine.contract import FUSED_FILES, FUSED_WEIGHTS, JOINED, Subgraph
from ...runtime.engine.onnx_cpu import can_saturate
from ...runtime.errors import BundleError

#: Tensor with the transformer's last hidden states ``[batch, subwords, H]``.
HIDDEN_STATES = "subwords"
#: Inputs that the transformer needs: of ``encoder.onnx``, and of a fused graph.
TRANSFORMER_INPUTS = (
    "input_ids",
    "attention_mask",
    "subword_ids",
    "subword_cases",
    "positions",
    "subword_counts",
    "distances",
)


def load_transformer(backend: Any, bundle: Bundle, names: Collection[str]) -> Subgraph:
    """Load the transformer of a bundle, cut out of the graph that holds it where the bundle runs.

    On a backend that runs fused graphs it is fused, too: another form would be no fair baseline.

    Args:
        backend: A backend that can ``load`` a serialized model.
        bundle: The bundle.
        names: Names of the subgraphs that run.

    Returns:
        The subgraph, which takes arrays of a batch.

    Raises:
        BundleError: The graph does not show where the transformer ends.
        BackendError: The backend cannot load it.
    """
    name = "plain encoder"
    file = backend.name_file(JOINED, bundle) if JOINED in names else ""
    if file in FUSED_FILES.values():
        weights = {other: bundle.read(other) for other in FUSED_WEIGHTS[JOINED]}
        loaded: Subgraph = backend.load(name, cut_transformer(bundle.read(file), file), weights)
    else:
        options = {"saturates": can_saturate(bundle.manifest)} if backend.name == "cpu" else {}
        loaded = backend.load(name, cut_transformer(bundle.read("encoder.onnx")), **options)
    return loaded


def cut_transformer(model: bytes, file: str = "encoder.onnx") -> bytes:
    """Cut the transformer out of a graph.

    Args:
        model: Serialized ``encoder.onnx``, or fused graph that holds the encoder; its weights may be external data.
        file: Name of its file, for messages.

    Returns:
        The serialized transformer; its only output is ``HIDDEN_STATES``.

    Raises:
        BundleError: The graph does not show where the transformer ends.
    """
    encoder = onnx.load_from_string(model)
    if not any(HIDDEN_STATES in node.output for node in encoder.graph.node):
        raise BundleError(
            f"{file} has no tensor {HIDDEN_STATES!r}, which marks the end of the transformer; export the bundle again"
        )
    inputs = [value.name for value in encoder.graph.input if value.name in TRANSFORMER_INPUTS]
    part = Extractor(shape_inference.infer_shapes(encoder)).extract_model(inputs, [HIDDEN_STATES])
    return bytes(part.SerializeToString())

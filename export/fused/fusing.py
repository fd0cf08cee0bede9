"""Add the fused graphs for CUDA to a bundle, where the model has them and they agree with PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import onnx

from trimf_train.data.sentence import Sentence
from trimf_train.model.checkpoint import Checkpoint

from ...runtime.bundle.manifest import Precision
from ...runtime.engine.contract import FUSED_FILES, FUSED_WEIGHTS, JOINED
from ...runtime.engine.cpu_info import count_available_cores
from ...runtime.engine.onnx_cpu import make_session_options
from ...runtime.engine.onnx_device import OnnxGpuSubgraph
from ...runtime.engine.onnx_providers import Provider
from ...runtime.engine.onnxruntime_library import onnxruntime
from ...runtime.errors import BundleError
from ...runtime.pipeline import Pipeline
from ..parity import compare_pipelines
from ..parity_limits import check_limits
from .encoder_layers import explain_unfused
from .graph_builder import FloatMode, count_nodes
from .joined_graph import build_joined_graph
from .relations_graph import build_relations_graph
from .shared_weights import share_weights

#: Precisions that the fused operators of ONNX Runtime have on CUDA.
FUSED_PRECISIONS = ("fp32", "fp16")

#: The CPU as a device with memory of its own, to compare the fused graphs without a GPU.
_CPU = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0))


def fuse_graphs(
    checkpoint: Checkpoint,
    precision: Precision,
    reference: Pipeline,
    sentences: Sequence[Sentence],
    files: Mapping[str, bytes],
    log: Callable[[str], None],
) -> dict[str, bytes]:
    """Build the fused graphs of a checkpoint and compare them with PyTorch.

    Args:
        checkpoint: The checkpoint.
        precision: Precision of the bundle.
        reference: Pipeline of the checkpoint in PyTorch.
        sentences: Sentences to compare on.
        files: Content of the other files of the bundle, whose weights the graphs share.
        log: Called with a line of text that says what was built, or why not.

    Returns:
        Content of the files by name; empty if the model or its precision has no fused form, or the results differ from
        those of PyTorch by more than the limits.
    """
    reason = _explain_unfused(checkpoint, precision)
    if not reason:
        mode: FloatMode = "rounded" if precision == "fp16" else "fp32"
        compared = build_fused_graphs(checkpoint, mode)
        pipeline = open_fused_pipeline(compared, reference)
        try:
            report = compare_pipelines(
                reference, pipeline, checkpoint.description.labels, sentences, precision=precision
            )
            check_limits(report, precision)
        except BundleError as error:
            reason = str(error)
    if reason:
        log(f"no fused graphs for CUDA, where the separate graphs will run: {reason}")
        return {}
    shipped = build_fused_graphs(checkpoint, cast(FloatMode, precision)) if precision == "fp16" else compared
    sizes = ", ".join(f"{name} with {count_nodes(graph)} nodes" for name, graph in shipped.items())
    log(f"fused graphs for CUDA: {sizes}")
    return {
        FUSED_FILES[name]: share_weights(
            graph, {other: files[other] for other in FUSED_WEIGHTS[name]}
        ).SerializeToString(deterministic=True)
        for name, graph in shipped.items()
    }


def build_fused_graphs(checkpoint: Checkpoint, mode: FloatMode) -> dict[str, onnx.ModelProto]:
    """Build the joined graph of a checkpoint and, if the model has relation types, its relations graph, by name.

    Args:
        checkpoint: The checkpoint, of a model that has a fused form.
        mode: How floats are computed.
    """
    model, stage = checkpoint.model, checkpoint.description.stage
    graphs = {JOINED: build_joined_graph(model, stage, mode)}
    if checkpoint.description.labels.has_relations:
        graphs["relations"] = build_relations_graph(model, stage, mode)
    return graphs


def open_fused_pipeline(graphs: Mapping[str, onnx.ModelProto], reference: Pipeline) -> Pipeline:
    """Open fused graphs on the CPU, with the tokenizer and the settings of a reference pipeline.

    Args:
        graphs: The graphs by name, in fp32 or rounded.
        reference: The pipeline.
    """
    options = make_session_options(count_available_cores())
    opened = {}
    for name, graph in graphs.items():
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=[_CPU.name])
        opened[name] = OnnxGpuSubgraph(session, name, "cpu", _CPU, False)
    return Pipeline(opened, reference.tokenizer, reference.settings)


def _explain_unfused(checkpoint: Checkpoint, precision: Precision) -> str:
    """Return why a bundle has no fused graphs; an empty string if it can have them."""
    if precision not in FUSED_PRECISIONS:
        return f"the fused operators have no {precision} form"
    if checkpoint.model.parser is None:
        return "the model has no parser of its own, so the host parses between the graphs"
    return explain_unfused(checkpoint.model.encoder)

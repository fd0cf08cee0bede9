"""A subgraph module to an ONNX model: dynamic axes with stable names, no trace of the machine that exported it."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor, nn

from ..runtime.backend import AXES
from ..runtime.errors import BundleError

OPSET = 18

#: The name of the transformer's last hidden states ``[batch, subwords, H]`` in the encoder's graph.
STATES = "subwords"

#: Operators that engines run badly or not at all, and that no subgraph needs.
FORBIDDEN = frozenset({"NonZero", "Unique", "ScatterND", "ScatterElements", "If", "Loop", "Scan"})


def example_inputs(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Small inputs of every subgraph, no two axes of one size, to trace with."""

    def numbers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    def states(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    size, subwords, words = 3, 17, 11
    return {
        "input_ids": numbers(100, size, subwords),
        "attention_mask": torch.ones(size, subwords, dtype=torch.int64),
        "pieces": 1 + numbers(subwords - 1, size, words, 2),
        "words": states(size, words, width),
        "cls": states(size, width),
        "word_mask": torch.ones(size, words, dtype=torch.bool),
        "heads": numbers(words, size, words),
        "labels": numbers(2, size, words),
        "nodes": states(size, words, width),
        "spans": torch.tensor([[0, 1, 2], [0, 5, 5], [1, 0, 9], [2, 3, 3], [2, 10, 10]]),
        "pairs": torch.tensor([[0, 1], [1, 0], [3, 4], [4, 3], [0, 1], [1, 0], [0, 1]]),
        "ranges": numbers(2, 9, 6),
        "gaps": torch.tensor([5, 5, 6, 6, 7, 7, 8]),
    }


def convert(module: nn.Module, examples: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Trace a subgraph module (with ``inputs`` and ``outputs`` naming its tensors) and check what came out.

    Raises:
        BundleError: the graph holds an operator of :data:`FORBIDDEN`.
    """
    inputs, outputs = tuple(module.inputs), tuple(module.outputs)
    dynamic = tuple(
        {place: torch.export.Dim.DYNAMIC for place, axis in enumerate(AXES[name]) if axis} for name in inputs
    )
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                tuple(examples[name] for name in inputs),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    model: onnx.ModelProto = program.model_proto
    _drop_flattening(model)
    _name_axes(model)
    _name_states(model)
    _strip(model)
    onnx.checker.check_model(model)
    found = sorted({node.op_type for node in model.graph.node} & FORBIDDEN)
    if found:
        raise BundleError(
            f"the exported graph of {type(module).__name__} holds {', '.join(found)}, which no subgraph may"
        )
    return model


def _drop_flattening(model: onnx.ModelProto) -> None:
    """Drop every Reshape of a vector to a vector, which the exporter puts before a Gather."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    vectors = {one.name for one in (*graph.input, *graph.value_info) if len(one.type.tensor_type.shape.dim) == 1}
    flat = {
        one.name for one in model.graph.initializer if one.dims == [1] and onnx.numpy_helper.to_array(one).item() == -1
    }
    for node in list(model.graph.node):
        if node.op_type == "Reshape" and node.input[0] in vectors and node.input[1] in flat:
            model.graph.node.remove(node)
            _rename(model, node.output[0], node.input[0])


def _name_axes(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for axis, dimension in zip(AXES[value.name], value.type.tensor_type.shape.dim, strict=True):
            if axis:
                dimension.dim_param = axis


def _name_states(model: onnx.ModelProto) -> None:
    """Call the transformer's last hidden states :data:`STATES`: what leaves the submodule ``encoder``, if there is one.

    By that name ``trimf bench`` cuts the transformer out, to compare with. A parser may read an earlier layer, too.
    """
    inner = [node for node in model.graph.node if _scopes(node)[1:2] == ["encoder"]]
    made = [name for node in inner for name in node.output]
    read = {name for node in model.graph.node if node not in inner for name in node.input}
    leaving = [name for name in made if name in read]
    if leaving:
        _rename(model, leaving[-1], STATES)


def _scopes(node: onnx.NodeProto) -> list[str]:
    """The submodules that the exporter says a node comes from, outermost (the whole module, "") first."""
    found = {one.key: one.value for one in node.metadata_props}.get("pkg.torch.onnx.name_scopes")
    return ast.literal_eval(found) if found else []


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def _strip(model: onnx.ModelProto) -> None:
    """Drop what names this machine or differs between two exports: stack traces, intermediate shapes, versions."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.name = "trimf"
    model.doc_string = model.graph.doc_string = ""
    model.producer_name, model.producer_version = "trimf", ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for initializer in model.graph.initializer:
        initializer.doc_string = ""
        del initializer.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]

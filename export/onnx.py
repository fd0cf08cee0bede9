"""A subgraph module to an ONNX model: dynamic axes with stable names, no trace of the machine that exported it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor, nn

from ..runtime.backend import AXES
from ..runtime.errors import BundleError

OPSET = 18

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
    _name_axes(model)
    _strip(model)
    onnx.checker.check_model(model)
    found = sorted({node.op_type for node in model.graph.node} & FORBIDDEN)
    if found:
        raise BundleError(
            f"the exported graph of {type(module).__name__} holds {', '.join(found)}, which no subgraph may"
        )
    return model


def _name_axes(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for axis, dimension in zip(AXES[value.name], value.type.tensor_type.shape.dim, strict=True):
            if axis:
                dimension.dim_param = axis


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

"""Export of a subgraph module to ONNX, with named dynamic axes and without machine-specific metadata."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor

from ..runtime.engine.contract import AXES
from ..runtime.errors import BundleError
from .rewriting.gelu import order_gelus
from .subgraphs import SubgraphModule

#: ONNX opset of the fp32 graphs.
OPSET = 18

#: Name of the tensor with the transformer's last hidden states ``[B, T, H]`` in the encoder graph.
TRANSFORMER_OUTPUT = "subwords"

#: Operators that some backends run slowly or not at all; no subgraph may contain them.
FORBIDDEN_OPERATORS = frozenset({"NonZero", "Unique", "ScatterND", "ScatterElements", "If", "Loop", "Scan"})


def create_example_inputs(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Create small inputs for tracing, for all subgraphs.

    No two dynamic axes have the same size, so that the exporter cannot confuse them.

    Args:
        width: Hidden size of the model.
        generator: Source of the random values.

    Returns:
        The tensors by input name.
    """

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    def states(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    size, subwords, words = 3, 17, 11
    return {
        "input_ids": integers(100, size, subwords),
        "attention_mask": torch.ones(size, subwords, dtype=torch.int64),
        "pieces": 1 + integers(subwords - 1, size, words, 2),
        "words": states(size, words, width),
        "cls": states(size, width),
        "word_mask": torch.ones(size, words, dtype=torch.bool),
        "heads": integers(words, size, words),
        "labels": integers(2, size, words),
        "nodes": states(size, words, width),
        "spans": torch.tensor([[0, 1, 2], [0, 5, 5], [1, 0, 9], [2, 3, 3], [2, 10, 10]]),
        "pairs": torch.tensor([[0, 1], [1, 0], [3, 4], [4, 3], [0, 1], [1, 0], [0, 1]]),
        "ranges": integers(2, 9, 6),
        "gaps": torch.tensor([5, 5, 6, 6, 7, 7, 8]),
    }


def convert_to_onnx(module: SubgraphModule, examples: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Export a subgraph module to ONNX and check the graph.

    Args:
        module: Subgraph to export.
        examples: Inputs to trace with, by name.

    Returns:
        The fp32 model.

    Raises:
        BundleError: The graph contains a forbidden operator, see ``FORBIDDEN_OPERATORS``.
    """
    dynamic = tuple(
        {index: torch.export.Dim.DYNAMIC for index, axis in enumerate(AXES[name]) if axis} for name in module.inputs
    )
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                tuple(examples[name] for name in module.inputs),
                input_names=list(module.inputs),
                output_names=list(module.outputs),
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    assert program is not None, "the exporter returns a program if `dynamo` is true"
    model = program.model_proto
    _drop_flattening(model)
    _name_axes(model)
    _name_states(model)
    order_gelus(model)
    _strip_metadata(model)
    onnx.checker.check_model(model)
    forbidden = sorted({node.op_type for node in model.graph.node} & FORBIDDEN_OPERATORS)
    if forbidden:
        raise BundleError(
            f"the exported graph of {type(module).__name__} contains forbidden operators: {', '.join(forbidden)}"
        )
    return model


def _drop_flattening(model: onnx.ModelProto) -> None:
    """Remove every Reshape of a vector to a vector; the exporter inserts them before a Gather."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    vectors = {value.name for value in (*graph.input, *graph.value_info) if len(value.type.tensor_type.shape.dim) == 1}
    flat = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.dims == [1] and onnx.numpy_helper.to_array(tensor).item() == -1
    }
    for node in list(model.graph.node):
        if node.op_type == "Reshape" and node.input[0] in vectors and node.input[1] in flat:
            model.graph.node.remove(node)
            _rename_tensor(model, node.output[0], node.input[0])


def _name_axes(model: onnx.ModelProto) -> None:
    """Give the dynamic axes of the inputs and outputs their names in ``AXES``."""
    for value in (*model.graph.input, *model.graph.output):
        for axis, dimension in zip(AXES[value.name], value.type.tensor_type.shape.dim, strict=True):
            if axis:
                dimension.dim_param = axis


def _name_states(model: onnx.ModelProto) -> None:
    """Rename the output of the submodule ``encoder`` to ``TRANSFORMER_OUTPUT``, if the graph has that submodule.

    ``trimf bench`` uses the name to cut out the transformer as a baseline. If a parser reads an earlier layer, several
    tensors leave the submodule; the last is the transformer's output.
    """
    inner = [node for node in model.graph.node if _module_scopes(node)[1:2] == ["encoder"]]
    produced = [name for node in inner for name in node.output]
    read = {name for node in model.graph.node if node not in inner for name in node.input}
    leaving = [name for name in produced if name in read]
    if leaving:
        _rename_tensor(model, leaving[-1], TRANSFORMER_OUTPUT)


def _module_scopes(node: onnx.NodeProto) -> list[str]:
    """Return the nested submodules that the exporter created a node for, outermost (the root module, "") first."""
    scopes = {entry.key: entry.value for entry in node.metadata_props}.get("pkg.torch.onnx.name_scopes")
    return ast.literal_eval(scopes) if scopes else []


def _rename_tensor(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Remove metadata that identifies the machine or differs between exports: stack traces, shapes, versions."""
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

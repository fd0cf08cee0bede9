"""Encoder, fusion and entities as one model: the same as one after the other, and as ``onnx.compose`` joins them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, compose, helper

from trimf.export.half_precision import convert_to_half
from trimf.export.model_joining import join_models
from trimf.runtime.engine.contract import JOINED_OUTPUTS, JOINED_PARTS
from trimf.runtime.errors import BundleError

Models = dict[str, onnx.ModelProto]


@pytest.fixture
def parts(parsing_traced: Models) -> Models:
    """Copies to change."""
    found = {}
    for name in JOINED_PARTS:
        found[name] = onnx.ModelProto()
        found[name].CopyFrom(parsing_traced[name])
    return found


def join(parts: Models) -> onnx.ModelProto:
    return onnx.load_from_string(join_models({name: model.SerializeToString() for name, model in parts.items()}))


def compose_models(parts: Models) -> onnx.ModelProto:
    """Join the models with the package ``onnx``, which wants different names and every link named."""
    models = []
    for name in JOINED_PARTS:
        model = compose.add_prefix(parts[name], f"{name}/")
        kept = {value.name for value in (*parts[name].graph.input, *parts[name].graph.output)}
        mapping = {f"{name}/{tensor}": tensor if name == "encoder" else f"{name}:{tensor}" for tensor in kept}
        for node in model.graph.node:
            node.input[:] = [mapping.get(tensor, tensor) for tensor in node.input]
            node.output[:] = [mapping.get(tensor, tensor) for tensor in node.output]
        for value in (*model.graph.input, *model.graph.output):
            value.name = mapping[value.name]
        models.append(model)
    encoder, fusion, entities = models
    links = [(name, f"fusion:{name}") for name in ("words", "cls", "heads", "labels")]
    both = compose.merge_models(encoder, fusion, links, outputs=["heads", "labels", "fusion:nodes"])
    outputs = ["heads", "labels", "fusion:nodes", "entities:entity_logits"]
    return compose.merge_models(both, entities, [("fusion:nodes", "entities:nodes")], outputs=outputs)


@pytest.mark.parametrize("seed", range(4))
def test_results_are_those_of_the_three(
    parsing_traced: Models,
    parts: Models,
    sentence_arrays: Callable[..., Any],
    run: Callable[..., dict[str, np.ndarray]],
    seed: int,
) -> None:
    joined, composed = join(parts), compose_models(parts)
    onnx.checker.check_model(joined, full_check=True)
    arrays = sentence_arrays(2, 3 + 2 * seed, 30, seed=seed)
    known = dict(arrays)
    for name in JOINED_PARTS:
        known |= run(parsing_traced[name], known)
    for name, values in run(joined, arrays).items():
        np.testing.assert_allclose(values, known[name], rtol=1e-4, atol=1e-5)
    session = onnxruntime.InferenceSession(composed.SerializeToString())
    names = [output.name.rpartition(":")[2] for output in session.get_outputs()]
    given = {one.name: arrays[one.name.rpartition(":")[2]] for one in session.get_inputs()}
    for name, values in zip(names, session.run(None, given), strict=True):
        np.testing.assert_allclose(values, run(joined, arrays)[name], rtol=1e-4, atol=1e-5)


def test_it_has_all_nodes_and_weights_and_what_crosses_keeps_its_name(parts: Models) -> None:
    joined = join(parts)
    assert [value.name for value in joined.graph.input] == ["input_ids", "attention_mask", "pieces", "word_mask"]
    assert tuple(value.name for value in joined.graph.output) == JOINED_OUTPUTS
    assert [node.op_type for node in joined.graph.node] == [
        node.op_type for name in JOINED_PARTS for node in parts[name].graph.node
    ]
    assert [tensor.name for tensor in joined.graph.initializer] == [
        f"{name}/{tensor.name}" for name in JOINED_PARTS for tensor in parts[name].graph.initializer
    ]
    assert joined.ir_version == max(model.ir_version for model in parts.values())
    ((domain, version),) = [(one.domain, one.version) for one in joined.opset_import]
    assert (domain, version) == ("", parts["encoder"].opset_import[0].version)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_types_between_the_graphs_agree_in_half_precision(parts: Models, precision: Any) -> None:
    joined = join({name: convert_to_half(model, precision) for name, model in parts.items()})
    onnx.checker.check_model(joined, full_check=True)
    mixed = {**parts, "fusion": convert_to_half(parts["fusion"], precision)}
    kind = {"fp16": "float16", "bf16": "bfloat16"}[precision]
    with pytest.raises(
        BundleError,
        match=rf"^fusion\.onnx: takes words as {kind}, but an earlier subgraph has it as float32; export the bundle",
    ):
        join(mixed)


def test_opsets_must_agree(parts: Models) -> None:
    parts["entities"].opset_import[0].version = 9
    with pytest.raises(BundleError, match=r"^entities.onnx: has opset 9, but another subgraph has \d+; export"):
        join(parts)


def test_an_output_that_two_compute(parts: Models) -> None:
    parts["fusion"].graph.output.append(helper.make_tensor_value_info("heads", TensorProto.INT64, ["batch", "words"]))
    with pytest.raises(BundleError, match=r"^fusion\.onnx: computes heads, which an earlier subgraph computes, too"):
        join(parts)


def test_an_output_that_none_computes(parts: Models) -> None:
    del parts["entities"].graph.output[:]
    with pytest.raises(BundleError, match=r"entities\.onnx have no output entity_logits; export the bundle again"):
        join(parts)


def test_graphs_inside_nodes_are_refused(parts: Models) -> None:
    inner = helper.make_graph([], "inner", [], [])
    parts["fusion"].graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner))
    with pytest.raises(BundleError, match=r"^fusion.onnx: an operator with a graph of its own cannot be joined"):
        join(parts)


def test_functions_and_sparse_weights_are_refused(parts: Models) -> None:
    parts["encoder"].graph.sparse_initializer.add()
    with pytest.raises(BundleError, match=r"^encoder.onnx: sparse weights cannot be joined"):
        join(parts)
    parts["encoder"].functions.add(name="f")
    with pytest.raises(BundleError, match=r"^encoder.onnx: expected a model of one graph without functions"):
        join(parts)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x3a\xff"])
def test_files_that_are_no_models(parts: Models, content: bytes) -> None:
    models = {name: model.SerializeToString() for name, model in parts.items()}
    with pytest.raises(BundleError, match=r"^fusion\.onnx: .*; export the bundle again$"):
        join_models({**models, "fusion": content})


def test_names_of_all_languages_and_absent_inputs(parts: Models) -> None:
    graph = parts["entities"].graph
    for node in graph.node:
        node.output[:] = [f"é🎉{name}" if name != "entity_logits" else name for name in node.output]
        produced = {name.removeprefix("é🎉") for other in graph.node for name in other.output} - {"entity_logits"}
        node.input[:] = [f"é🎉{name}" if name in produced else name for name in node.input]
    parts["encoder"].graph.node.append(helper.make_node("Clip", ["words", "", ""], ["unused"], "node"))
    joined = join(parts)
    clip = next(node for node in joined.graph.node if node.op_type == "Clip" and node.name == "encoder/node")
    assert (list(clip.input), list(clip.output)) == (["words", "", ""], ["encoder/unused"])
    assert any(name.startswith("entities/é🎉") for node in joined.graph.node for name in node.output)

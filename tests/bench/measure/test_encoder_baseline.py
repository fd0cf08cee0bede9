"""The transformer cut out of an encoder."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trimf.bench.measure.encoder_baseline import HIDDEN_STATES, cut_transformer
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BundleError


@pytest.fixture(scope="module")
def encoder():
    return Bundle("default").read("encoder.onnx")


def test_the_cut_ends_at_the_hidden_states(encoder):
    graph = OnnxCpuBackend(1).load("plain", cut_transformer(encoder))
    ids = np.array([[101, 2023, 102], [101, 102, 0]])
    states = graph.run({"input_ids": ids, "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])})[HIDDEN_STATES]
    assert graph.inputs == ("input_ids", "attention_mask")
    assert states.shape == (2, 3, Bundle("default").manifest.sizes.hidden)
    assert np.isfinite(states).all()


def test_the_cut_leaves_out_what_follows(encoder):
    whole, part = onnx.load_from_string(encoder), onnx.load_from_string(cut_transformer(encoder))
    assert len(part.graph.node) < len(whole.graph.node)
    assert len(part.graph.initializer) < len(whole.graph.initializer)
    assert not {"words", "cls"} & {name for node in part.graph.node for name in node.output}


def graph(names):
    """input_ids cast, and then the identity, tensor by tensor."""
    nodes = [helper.make_node("Cast", ["input_ids"], [names[0]], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Identity", [one], [other]) for one, other in pairwise(names)]
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "subwords"])
    made = helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, ["batch", "subwords"])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [given], [made]), opset_imports=[helper.make_opsetid("", 18)]
    )
    return model.SerializeToString()


def test_a_named_tensor_is_taken():
    part = onnx.load_from_string(cut_transformer(graph(["a", HIDDEN_STATES, "words"])))
    assert [node.op_type for node in part.graph.node] == ["Cast", "Identity"]
    assert [value.name for value in part.graph.output] == [HIDDEN_STATES]


def test_an_encoder_without_it_is_refused():
    with pytest.raises(BundleError, match="export"):
        cut_transformer(graph(["a", "words"]))

"""The fused graphs against the modules of the separate subgraphs, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.export.activation_ranges import open_session
from trimf.export.fused.encoder_layers import explain_unfused
from trimf.export.fused.joined_graph import build_joined_graph
from trimf.export.fused.relations_graph import build_relations_graph
from trimf.export.subgraphs import build_subgraphs
from trimf.runtime.bundle.labels import Labels
from trimf.runtime.engine import buckets
from trimf.runtime.engine.derived_inputs import DERIVED, list_sources
from trimf_train.config import EncoderConfig, FlowConfig, FlowSwitches, ModelConfig, SpanConfig, SyntaxConfig
from trimf_train.model.encoder import load_encoder
from trimf_train.model.trimf import TriMF

Arrays = Mapping[str, np.ndarray]

#: The encoder computes what the separate graphs give to the others.
BETWEEN = ("words", "cls", "word_mask", "heads", "labels", "nodes")
OWN = SyntaxConfig(source="encoder", arc_dim=4, label_dim=3, bases=2)
NO_FLOW = FlowSwitches(entity=False, relation=False)
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "sum": {"flow": FlowConfig(residual="add", slots="sum")},
    "no residual": {"flow": FlowConfig(residual="none")},
    "mean": {"flow": FlowConfig(residual="mean")},
    "one memory": {"flow": FlowConfig(subword=FlowSwitches(entity=False), word=NO_FLOW)},
    "concat": {"context": "concat"},
    "no trigger": {"trigger": False},
    "no bases": {"syntax": SyntaxConfig(source="encoder", arc_dim=4, label_dim=3)},
    "both ways": {"syntax": SyntaxConfig(source="encoder", arc_dim=4, label_dim=3, inverse=True)},
    "both ways, bases": {"syntax": SyntaxConfig(source="encoder", arc_dim=4, label_dim=3, bases=2, inverse=True)},
    "first layer": {"syntax": SyntaxConfig(source="encoder", arc_dim=4, label_dim=3, layer=1)},
    **{name: {"fusion": name} for name in ("mean", "sum", "max", "syntactic", "semantic", "none")},
}


@pytest.fixture(scope="module")
def built(encoders: dict[str, str]) -> Callable[..., Any]:
    """A random model, its separate modules, and sessions of its fused graphs."""

    @cache
    def build(family: str, variant: str, stage: int = 2, casing: bool = False) -> Any:
        torch.manual_seed(3)
        settings = {"span": SpanConfig(max_width=3, width_dim=2), "syntax": OWN, **VARIANTS[variant]}
        config = ModelConfig(encoder=EncoderConfig(name=encoders[family], casing=casing), **settings)
        encoder = load_encoder(encoders[family], casing=casing)
        labels = Labels(("A", "B"), ("p", "q", "r"), ("d0", "d1", "d2", "d3"))
        model = TriMF(encoder, 16, labels, config).eval()
        for parameter in model.parameters():  # what starts at zero would hide a fault
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        model.encoder.set_attn_implementation("eager")
        graphs = build_joined_graph(model, stage, "fp32"), build_relations_graph(model, stage, "fp32")
        return model, build_subgraphs(model, stage), [open_session(graph) for graph in graphs]

    return build


def run_fused(session: Any, arrays: Arrays) -> dict[str, np.ndarray]:
    """Run a fused graph on arrays padded to their buckets, and cut the padding off."""
    names = [entry.name for entry in session.get_inputs()]
    sources = list_sources(names)
    sizes = buckets.read_axis_sizes(arrays, sources)
    padded_sizes = buckets.bucket_sizes(sizes)
    padded = {name: buckets.pad_array(np.asarray(arrays[name]), name, padded_sizes) for name in sources}
    kinds = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    feed = {}
    for entry in session.get_inputs():
        array = DERIVED[entry.name].make(padded, padded_sizes) if entry.name in DERIVED else padded[entry.name]
        feed[entry.name] = array.astype(kinds.get(entry.type, array.dtype))
    outputs = [entry.name for entry in session.get_outputs()]
    results = session.run(outputs, feed)
    return {name: buckets.remove_padding(array, name, sizes) for name, array in zip(outputs, results, strict=True)}


def run_separate(modules: Any, arrays: Arrays) -> dict[str, np.ndarray]:
    known = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in BETWEEN}
    known["word_mask"] = torch.from_numpy(arrays["word_mask"])
    with torch.no_grad():
        for module in modules.values():
            outputs = module(*(known[name] for name in module.inputs))
            known.update(zip(module.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
    return {name: value.numpy() for name, value in known.items()}


def check(model: Any, sessions: Any, modules: Any, arrays: dict[str, np.ndarray]) -> None:
    expected = run_separate(modules, arrays)
    joined, relations = sessions
    got = run_fused(joined, arrays)
    got |= run_fused(relations, {**arrays, "nodes": got["nodes"]})
    mask = arrays["word_mask"]
    for name in ("heads", "labels"):
        np.testing.assert_array_equal(got[name][mask], expected[name][mask])
    widths = np.arange(model.config.span.max_width)
    inside = np.arange(mask.shape[1])[:, None] + widths < mask.sum(1)[:, None, None]
    for name, where in (("nodes", mask), ("entity_logits", inside), ("word_logits", mask)):
        np.testing.assert_allclose(got[name][where], expected[name][where], rtol=2e-4, atol=2e-5)
    for name in ("relation_logits", "triggers"):
        np.testing.assert_allclose(got[name], expected[name], rtol=2e-4, atol=2e-5)


def make_arrays(sentence_arrays: Any, batch: int, words: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Sentences of different lengths, of which the first is the longest."""
    arrays: dict[str, np.ndarray] = sentence_arrays(batch, words, 25, seed=seed)
    lengths = np.random.default_rng(seed).integers(1, words + 1, batch)
    lengths[0] = words
    kept = np.arange(words) < lengths[:, None]
    arrays["word_mask"] = kept
    arrays["pieces"] = np.where(kept[..., None], arrays["pieces"], 0)
    arrays["attention_mask"] = (np.arange(words + 2) < lengths[:, None] + 2).astype(np.int64)
    last = lengths[arrays["spans"][:, 0]] - 1
    arrays["spans"][:, 1:] = np.minimum(arrays["spans"][:, 1:], last[:, None])
    return arrays


@pytest.fixture(scope="module")
def arrays_of(sentence_arrays: Any, ranges_of: Any) -> Callable[..., dict[str, np.ndarray]]:
    def build(batch: int, words: int, seed: int = 0) -> dict[str, np.ndarray]:
        arrays = make_arrays(sentence_arrays, batch, words, seed)
        arrays["ranges"], arrays["gaps"] = ranges_of(arrays["spans"], arrays["pairs"])
        return arrays

    return build


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant(built: Any, arrays_of: Any, variant: str, stage: int) -> None:
    model, modules, sessions = built("bert", variant, stage)
    for batch, words in ((1, 1), (3, 11), (2, 36)):
        check(model, sessions, modules, arrays_of(batch, words))


@pytest.mark.parametrize("casing", [False, True])
@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet"])
@settings(max_examples=10, deadline=None)
@given(batch=st.integers(1, 5), words=st.integers(1, 30), seed=st.integers(0, 99))
def test_every_family(built: Any, arrays_of: Any, family: str, casing: bool, batch: int, words: int, seed: int) -> None:
    model, modules, sessions = built(family, "default", 2, casing)
    check(model, sessions, modules, arrays_of(batch, words, seed))


def test_no_node_computes_a_size(built: Any) -> None:
    model, _, _ = built("bert", "default")
    for graph in (build_joined_graph(model, 2, "fp16"), build_relations_graph(model, 2, "fp16")):
        operators = {node.op_type for node in graph.graph.node}
        assert not operators & {"Shape", "Range", "Size", "ConstantOfShape", "Expand", "NonZero", "GatherND"}
        onnx.checker.check_model(graph, full_check=False)


def test_an_encoder_without_a_fused_form(encoders: dict[str, str]) -> None:
    encoder = load_encoder(encoders["bert"])
    assert explain_unfused(encoder) == ""
    encoder.config.hidden_act = "silu"
    assert explain_unfused(encoder) == "the activation function silu has no fused form"
    encoder.config.model_type = "xlnet"
    assert explain_unfused(encoder) == "the encoder family xlnet has no fused form"

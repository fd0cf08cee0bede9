"""Fused graphs in a bundle: what is written, what a device runs, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch

from trimf.bench.measure.encoder_baseline import HIDDEN_STATES, load_transformer
from trimf.export import exporter
from trimf.export.fused.fusing import build_fused_graphs, fuse_graphs, open_fused_pipeline
from trimf.export.fused.shared_weights import MIN_SHARED_BYTES, share_weights
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import onnx_gpu_backend
from trimf.runtime.engine.contract import FUSED_FILES, JOINED_SUBGRAPHS, SUBGRAPHS
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.engine.onnx_device import OnnxGpuSubgraph
from trimf.runtime.engine.onnx_device_memory import TensorPack
from trimf.runtime.engine.onnx_gpu_backend import OnnxGpuBackend
from trimf.runtime.engine.onnx_providers import PROVIDERS, Provider
from trimf.runtime.errors import InputError
from trimf.runtime.pipeline_loading import open_pipeline
from trimf_train.config import SyntaxConfig
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.prediction import gold_entity_spans
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend

FUSING = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0), uses_cuda_graphs=True, fuses=True)

#: Operators of the fused graphs. None of them runs on the host of a GPU, or depends on a size that the host computes.
ALLOWED = {
    "Add",
    "ArgMax",
    "Attention",
    "BiasGelu",
    "Cast",
    "Concat",
    "Equal",
    "FusedMatMul",
    "Gather",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "ReduceMax",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Sigmoid",
    "SkipLayerNormalization",
    "Softmax",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
}


@pytest.fixture(scope="module")
def parsing(tiny_checkpoint: Any, tiny_heads: dict[str, torch.Tensor], encoders: dict[str, str]) -> Any:
    """The heads of the trained checkpoint on an untrained encoder, with a parser that knows nothing."""
    described = tiny_checkpoint.description
    config = msgspec.structs.replace(
        described.model,
        encoder=msgspec.structs.replace(described.model.encoder, name=encoders["bert"]),
        syntax=SyntaxConfig(source="encoder", arc_dim=8, label_dim=4, bases=described.model.syntax.bases),
    )
    torch.manual_seed(2)
    made = checkpoints.create_checkpoint(
        described.labels, config, described.decode, ParserInfo(name="by-hand", source="encoder"), {}
    )
    made.model.load_state_dict(tiny_heads, strict=False)
    return made


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def fused_bundle(request: pytest.FixtureRequest, parsing: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    parsing.save(folder / "checkpoint")
    exporter.export_checkpoint(folder / "checkpoint", folder / "bundle", precision=request.param)
    return folder / "bundle"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> OnnxGpuBackend:
    """The CPU by way of device memory, on which fused graphs run and are captured."""
    monkeypatch.setitem(PROVIDERS, "fusing", FUSING)
    return OnnxGpuBackend("fusing")


@pytest.mark.slow
def test_the_transformer_of_a_benchmark_is_cut_out_of_the_joined_graph(fused_bundle: Path, device: Any) -> None:
    bundle = Bundle(fused_bundle)
    fused = load_transformer(device, bundle, JOINED_SUBGRAPHS)
    plain = load_transformer(OnnxCpuBackend(1), bundle, SUBGRAPHS)
    assert fused.inputs == plain.inputs == ("input_ids", "attention_mask")
    arrays = {"input_ids": np.array([[2, 7, 9, 3], [2, 8, 3, 0]]), "attention_mask": np.ones((2, 4), np.int64)}
    arrays["attention_mask"][1, 3] = 0
    states = [np.asarray(graph.run(arrays)[HIDDEN_STATES], np.float32) for graph in (fused, plain)]
    real = arrays["attention_mask"].astype(bool)
    tolerance = 0.05 if bundle.manifest.precision == "fp16" else 1e-5
    np.testing.assert_allclose(states[0][real], states[1][real], atol=tolerance)


@pytest.mark.slow
def test_a_device_runs_the_joined_graph(fused_bundle: Path, device: Any, sentences: list[Sentence]) -> None:
    bundle = Bundle(fused_bundle)
    words = [sentence.tokens for sentence in sentences]
    joined, separate = open_pipeline(bundle, device), open_pipeline(bundle, OnnxCpuBackend(1))
    assert tuple(joined.graphs) == JOINED_SUBGRAPHS
    for batch_size in (1, 5, 32):
        for found, expected in zip(
            joined.run_words(words, batch_size=batch_size, syntax="arcs"),
            separate.run_words(words, batch_size=batch_size, syntax="arcs"),
            strict=True,
        ):
            assert (list(found.arcs.heads), found.arcs.labels) == (list(expected.arcs.heads), expected.arcs.labels)
            for left, right in zip(found.decoded.entities, expected.decoded.entities, strict=True):
                assert left._replace(score=0) == right._replace(score=0)
                assert left.score == pytest.approx(right.score, abs=0.02)
            for left, right in zip(found.decoded.relations, expected.decoded.relations, strict=True):
                assert (left.head, left.tail, left.type_index) == (right.head, right.tail, right.type_index)
                assert left.score == pytest.approx(right.score, abs=0.02)
                assert left.trigger_weights == pytest.approx(right.trigger_weights, abs=0.02)


@pytest.mark.slow
def test_a_device_relates_given_entities(fused_bundle: Path, device: Any, sentences: list[Sentence]) -> None:
    bundle = Bundle(fused_bundle)
    words = [sentence.tokens for sentence in sentences]
    labels = bundle.manifest.labels
    entities = gold_entity_spans(sentences, labels)
    joined, separate = (open_pipeline(bundle, one) for one in (device, OnnxCpuBackend(1)))
    found, expected = (one.run_words(words, batch_size=5, entities=entities) for one in (joined, separate))
    assert sum(len(result.decoded.relations) for result in expected)
    for left, right in zip(found, expected, strict=True):
        assert left.decoded.entities == right.decoded.entities
        for one, other in zip(left.decoded.relations, right.decoded.relations, strict=True):
            assert (one.head, one.tail, one.type_index) == (other.head, other.tail, other.type_index)
            assert one.score == pytest.approx(other.score, abs=0.02)


@pytest.mark.slow
def test_one_copy_to_the_device_and_one_back(
    fused_bundle: Path, device: Any, sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = open_pipeline(Bundle(fused_bundle), device)
    events: list[str] = []
    for owner, name in ((TensorPack, "upload"), (TensorPack, "copy_to_host"), (OnnxGpuSubgraph, "_run_call")):
        real = getattr(owner, name)

        def note(*arguments: Any, _real: Any = real, _name: str = name) -> Any:
            events.append(_name)
            return _real(*arguments)

        monkeypatch.setattr(owner, name, note)
    pipeline.run_words([sentences[0].tokens])
    launch = ["upload", "_run_call", "copy_to_host"]
    assert events == launch * 2  # up to the entities, and the relations


@pytest.mark.slow
def test_another_parser_gets_the_separate_graphs(fused_bundle: Path, device: Any) -> None:
    bundle = Bundle(fused_bundle)
    assert tuple(open_pipeline(bundle, device, has_external_parser=True).graphs) == SUBGRAPHS
    with pytest.raises(InputError, match="parses by itself here; name the parser when the model is loaded"):
        open_pipeline(bundle, device).run_words([["Ann"]], list)


@pytest.mark.slow
def test_weights_are_stored_once(fused_bundle: Path) -> None:
    sizes = {name: (fused_bundle / name).stat().st_size for name in FUSED_FILES.values()}
    whole = sum((fused_bundle / f"{name}.onnx").stat().st_size for name in SUBGRAPHS)
    assert sum(sizes.values()) < whole
    graph = onnx.load(fused_bundle / FUSED_FILES["joined"], load_external_data=False).graph
    places = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    assert "encoder.onnx" in places
    assert places <= {f"{name}.onnx" for name in SUBGRAPHS}


def test_a_shared_weight_is_found_byte_by_byte() -> None:
    weight = np.random.default_rng(0).standard_normal(MIN_SHARED_BYTES // 4).astype(np.float32)
    tensors = [onnx.numpy_helper.from_array(weight, "a"), onnx.numpy_helper.from_array(weight + 1, "b")]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors))
    shared = share_weights(model, {"other": b"xy" + weight.tobytes()})
    found, kept = shared.graph.initializer
    assert {entry.key: entry.value for entry in found.external_data} == {
        "location": "other",
        "offset": "2",
        "length": str(MIN_SHARED_BYTES),
    }
    assert not kept.external_data
    assert model.graph.initializer[0].raw_data == weight.tobytes()


@pytest.mark.parametrize("mode", ["fp32", "fp16"])
def test_the_operators_are_those_of_a_device(parsing: Any, mode: Any) -> None:
    layers = parsing.model.encoder.config.num_hidden_layers
    graphs = build_fused_graphs(parsing, mode)
    counts = {}
    for name, graph in graphs.items():
        constants = {tensor.name for tensor in graph.graph.initializer}
        nodes = [node for node in graph.graph.node if not constants.issuperset(node.input)]
        assert {node.op_type for node in nodes} <= ALLOWED
        counts[name] = len(nodes)
    # Seven for each layer of the encoder.
    assert counts["joined"] - 7 * layers <= 96
    assert counts["relations"] <= 35


def test_why_there_is_none(
    parsing: Any, tiny_checkpoint: Any, sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    def fuse(checkpoint: Any, precision: Any) -> dict[str, bytes]:
        reference = torch_backend.build_pipeline(checkpoint)
        return fuse_graphs(checkpoint, precision, reference, sentences, {}, lines.append)

    assert fuse(tiny_checkpoint, "fp32") == {}
    assert fuse(parsing, "bf16") == {}
    monkeypatch.setattr(parsing.model.encoder.config, "hidden_act", "silu")
    assert fuse(parsing, "fp32") == {}
    assert [line.partition("run: ")[2] for line in lines] == [
        "the model has no parser of its own, so the host parses between the graphs",
        "the fused operators have no bf16 form",
        "the activation function silu has no fused form",
    ]


def test_graphs_that_disagree_are_left_out(
    parsing: Any, sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    reference = torch_backend.build_pipeline(parsing)
    monkeypatch.setattr("trimf.export.fused.joined_graph.LEAKY_RELU_SLOPE", 0.9)
    assert fuse_graphs(parsing, "fp32", reference, sentences, {}, lines.append) == {}
    assert "no fused graphs for CUDA, where the separate graphs will run: parity: " in lines[0]


def test_graphs_are_captured_since_another_version(monkeypatch: pytest.MonkeyPatch, parsing: Any) -> None:
    """A graph with GatherND waits for ONNX Runtime 1.32; the fused ones have none."""
    monkeypatch.setattr(onnx_gpu_backend.onnxruntime, "__version__", "1.31.1")
    assert onnx_gpu_backend._supports_cuda_graphs(onnx_gpu_backend.FUSED_CUDA_GRAPHS_SINCE)
    assert not onnx_gpu_backend._supports_cuda_graphs(onnx_gpu_backend.CUDA_GRAPHS_SINCE)


def test_a_fused_pipeline_on_the_cpu(parsing: Any, sentences: list[Sentence]) -> None:
    reference = torch_backend.build_pipeline(parsing)
    pipeline = open_fused_pipeline(build_fused_graphs(parsing, "fp32"), reference)
    words = [sentence.tokens for sentence in sentences]
    found, expected = pipeline.run_words(words), reference.run_words(words)
    assert [one.decoded.entities for one in found] == [
        [entity._replace(score=pytest.approx(entity.score, abs=1e-4)) for entity in one.decoded.entities]
        for one in expected
    ]

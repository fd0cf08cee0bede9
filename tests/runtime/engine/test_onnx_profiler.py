"""Profiles of ONNX Runtime: every node of the optimized graph, and the outputs of an ordinary session."""

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from trimf.runtime.engine.contract import JOINED, JOINED_WEIGHTS
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend, make_session_options, share_weights
from trimf.runtime.engine.onnx_gpu_backend import OnnxGpuBackend
from trimf.runtime.engine.onnx_profiler import OnnxProfiler
from trimf.runtime.engine.onnx_providers import PROVIDERS, Provider
from trimf.runtime.engine.profiled_backend import ProfiledBackend
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

SENTENCES = [["Ann", "met", "Bob", "in", "Rome"], ["x"], [], ["🎉"] * 40]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary é"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def list_optimized_nodes(bundle: Bundle, name: str, folder: Path) -> dict[str, str]:
    """Name -> operator of the nodes that ONNX Runtime makes of a graph."""
    options = make_session_options(1)
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    if name == JOINED:
        share_weights(options, {other: bundle.read(other) for other in JOINED_WEIGHTS})
    onnxruntime.InferenceSession(bundle.read(f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(folder / "optimized.onnx", load_external_data=False).graph.node
    return {node.name or f"{node.op_type}_{place}": node.op_type for place, node in enumerate(nodes)}


def run(pipeline: Pipeline, times: int = 1) -> Any:
    for _ in range(times):
        results = pipeline.run_words(SENTENCES, None, 4)
    return [result.decoded for result in results]


def test_every_node_of_the_optimized_default_bundle_has_a_time(tmp_path: Path, temporary: Path) -> None:
    bundle = Bundle(DEFAULT_BUNDLE)
    backend = ProfiledBackend(OnnxCpuBackend(1))
    pipeline = open_pipeline(bundle, backend)
    runs: dict[str, int] = dict.fromkeys(pipeline.graphs, 0)
    with pipeline.observe(lambda call: runs.update({call.name: runs[call.name] + 1})):
        results = run(pipeline, 3)
    assert repr(results) == repr(run(open_pipeline(bundle, OnnxCpuBackend(1))))
    for name, profiler in backend.profilers.items():
        times = profiler.read(1)
        assert times.runs == runs[name] - 1
        optimized = list_optimized_nodes(bundle, name, tmp_path)
        assert {node.name: node.operator for node in times.nodes} == optimized
        assert {node.provider for node in times.nodes} == {"CPUExecutionProvider"}
        assert sum(node.mean for node in times.nodes) > 0
        assert all(node.mean >= 0 and node.median >= 0 for node in times.nodes)
        with pytest.raises(BackendError, match=rf"the profile of {name}\.onnx was read before"):
            profiler.read()
    assert list(temporary.iterdir()) == []


def test_bound_buffers_are_profiled_without_cuda_graphs(
    tiny_bundle: Path, parsing_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0), uses_cuda_graphs=True)
    monkeypatch.setitem(PROVIDERS, "bound", provider)
    monkeypatch.setattr("trimf.runtime.engine.onnx_gpu_backend.CUDA_GRAPHS_SINCE", (1, 0))
    backend = ProfiledBackend(OnnxGpuBackend("bound"))
    pipeline = open_pipeline(Bundle(parsing_bundle), backend)
    assert repr(run(pipeline, 3)) == repr(run(open_pipeline(Bundle(parsing_bundle), OnnxCpuBackend(1))))
    assert not any(graph.uses_cuda_graphs for graph in pipeline.graphs.values())  # type: ignore[attr-defined]
    assert all(profiler.read().nodes for profiler in backend.profilers.values())
    assert OnnxGpuBackend("bound").open("encoder", Bundle(tiny_bundle)).uses_cuda_graphs


def test_the_graph_that_an_ordinary_run_takes_is_profiled(
    own_bundle: Path, edit_manifest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0), fuses=True)
    monkeypatch.setitem(PROVIDERS, "bound", provider)
    model = onnx.load(own_bundle / "relations.onnx")
    for place, node in enumerate(model.graph.node):
        node.name = f"fused {place}"
    onnx.save(model, own_bundle / "relations-fused.onnx")
    content = (own_bundle / "relations-fused.onnx").read_bytes()
    entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(lambda manifest: manifest["files"].update({"relations-fused.onnx": entry}))
    profiled = OnnxGpuBackend("bound").open_profiled("relations", Bundle(own_bundle))
    arrays = {"nodes": np.ones((1, 2, 4), np.float32), "word_mask": np.ones((1, 2), np.bool_)}
    arrays |= {"spans": np.array([[0, 0, 0], [0, 1, 1]]), "pairs": np.array([[0, 1]])}
    profiled.subgraph.run(arrays)
    assert any(node.name.startswith("fused ") for node in profiled.profiler.read().nodes)


def test_an_ordinary_session_is_not_profiled(tiny_bundle: Path, temporary: Path) -> None:
    subgraph = OnnxCpuBackend(1).open("fusion", Bundle(tiny_bundle))
    assert subgraph._session is not None
    assert not subgraph._session.get_session_options().enable_profiling
    assert list(temporary.iterdir()) == []


def profile_relu(name: str, runs: int) -> OnnxProfiler:
    ends = [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["b", 3]) for tensor in ("words", "nodes")]
    graph = helper.make_graph([helper.make_node("Relu", ["words"], ["nodes"], name)], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    profiler = OnnxProfiler("fusion")
    subgraph = OnnxCpuBackend(1).load("fusion", model.SerializeToString(), profiler)
    for _ in range(runs):
        subgraph.run({"words": np.ones((2, 3), np.float32)})
    return profiler


@pytest.mark.parametrize("name", ["plain", "ü🎉", "x_kernel_time", "/layer.0/mat mul", ""])
def test_names_of_nodes_are_kept(name: str) -> None:
    (node,) = profile_relu(name, 2).read().nodes
    assert node.name == (name or "Relu_0")


@pytest.mark.parametrize("name", ['quoted "name"', "a\\b", "two\nlines"])
def test_names_that_old_versions_do_not_escape_are_kept_or_an_error(name: str) -> None:
    profiler = profile_relu(name, 2)
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 32):
        with suppress(BackendError):
            assert profiler.read().nodes[0].name == name
    else:
        assert profiler.read().nodes[0].name == name


@pytest.mark.parametrize("skip", [0, 5])
def test_too_few_runs_are_an_error(skip: int) -> None:
    with pytest.raises(BackendError, match=rf"no node of fusion\.onnx in ONNX Runtime [\d.]+ has .* first {skip} do"):
        profile_relu("a", skip).read(skip)


def test_a_trace_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    profiler = profile_relu("a", 1)
    decode = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: decode(path)[:-20])  # as when the disk is full
    with pytest.raises(
        BackendError, match=r"the trace of fusion\.onnx by ONNX Runtime [\d.]+ cannot be read"
    ) as caught:
        profiler.read()
    assert "\n" not in str(caught.value)


def test_no_folder_for_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(BackendError, match=r"profiling fusion\.onnx needs a temporary folder: .*; set TMPDIR"):
        OnnxProfiler("fusion")

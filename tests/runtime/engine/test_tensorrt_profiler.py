"""Profiles of TensorRT engines on stand-ins (``fake_tensorrt``), and the real library's receiver of times."""

import pytest

from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.profiled_backend import ProfiledBackend
from trimf.runtime.engine.profiling import NodeProfiler
from trimf.runtime.engine.tensorrt_library import import_library
from trimf.runtime.engine.tensorrt_profiler import _create_receiver
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

from .fake_tensorrt import EngineSetup, answers

SENTENCES = [["Ann", "met", "Bob", "in", "Rome"], ["zz"] * 20, ["Bob"]]


def profiled(setup: EngineSetup) -> tuple[Pipeline, dict[str, NodeProfiler]]:
    """The pipeline, and the profiler of each subgraph."""
    backend = ProfiledBackend(setup.backend)
    return open_pipeline(setup.bundle, backend), backend.profilers


def test_answers_are_the_same_and_every_layer_has_a_time(both: EngineSetup, cpu: Pipeline) -> None:
    pipeline, profilers = profiled(both)
    runs: list[str] = []
    with pipeline.observe(lambda call: runs.append(call.name)):
        for size in (4, 1, 4):
            assert answers(pipeline, SENTENCES, size) == answers(cpu, SENTENCES, size)
    title = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}[both.backend.library.name]
    assert list(profilers) == list(SUBGRAPHS)
    for name, profiler in profilers.items():
        times = profiler.read(1)
        assert times.runs == runs.count(name) - 1 > 0
        assert times.nodes == [
            ("copy", "", title, 3e3, 3e3),
            ("norm", "kgen", title, 2e3, 2e3),
            ("mm", "gemm", title, 1e3, 1e3),
        ]
    pipeline.close()
    assert both.device.empty


def test_profiled_engines_use_no_cuda_graphs(both: EngineSetup) -> None:
    pipeline, _ = profiled(both)
    for _ in range(3):
        answers(pipeline, SENTENCES, 4)
    assert both.device.captures == both.device.launches == 0
    strategies = {getattr(context.how, "cuda_graph_strategy", context.how).name for context in both.trt.contexts}
    assert strategies == {"STATIC" if both.backend.library.name == "tensorrt" else "DISABLED"}
    assert len(both.trt.contexts) <= len(SUBGRAPHS) * 2  # one for each profile


def test_engines_that_are_not_profiled_have_no_profiler(both: EngineSetup) -> None:
    answers(both.pipeline(), SENTENCES, 4)
    assert all(context.profiler is None for context in both.trt.contexts)


@pytest.mark.parametrize("layers", [["mm", "norm"], []])
def test_engines_without_a_description_of_their_layers(both: EngineSetup, layers: list[str]) -> None:
    both.trt.layers = layers
    pipeline, profilers = profiled(both)
    answers(pipeline, SENTENCES, 4)
    if layers:
        assert [node[:2] for node in profilers["fusion"].read().nodes] == [("norm", ""), ("mm", "")]
    else:
        with pytest.raises(BackendError, match=r"no node of engines/fusion\S+ in TensorRT.* has a time: 1 runs"):
            profilers["fusion"].read()


def test_times_that_the_library_does_not_give(both: EngineSetup) -> None:
    pipeline, _ = profiled(both)
    both.trt.fail.add("report_to_profiler")
    with pytest.raises(BackendError, match=r"report_to_profiler failed for engines/encoder"):
        answers(pipeline, SENTENCES, 4)


def test_the_real_library_takes_the_receiver() -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the wheels of TensorRT for RTX")
    seen: list[tuple[str, float]] = []
    library = import_library("tensorrt-rtx")
    receiver = _create_receiver(library.module, lambda *layer: seen.append(layer))
    receiver.report_layer_time("mm", 1.5)
    assert isinstance(receiver, library.module.IProfiler)
    assert seen == [("mm", 1.5)]
    assert {"profiler", "enqueue_emits_profile", "report_to_profiler"} <= set(dir(library.module.IExecutionContext))

"""CUDA graphs of engines: captured by TriMF for TensorRT, by the library itself for TensorRT for RTX."""

import pytest

from trimf.runtime.pipeline import Pipeline

from .fake_tensorrt import EngineSetup, FakeTensorRt, answers


def test_a_bucket_is_captured_once_and_then_launched(tensorrt: EngineSetup, cpu: Pipeline) -> None:
    pipeline, device = tensorrt.pipeline(), tensorrt.device
    long, short = [["Ann", "met", "Bob", "in", "Rome"] * 4], [["Bob"]]
    answers(pipeline, long, 1)
    assert (device.captures, device.launches) == (4, 0)
    answers(pipeline, short, 1)
    captured, runs = device.captures, len(tensorrt.trt.runs)
    for sentences in (long, short, long, [["Kim"]]):
        assert answers(pipeline, sentences, 1) == answers(cpu, sentences, 1)
    assert device.captures == captured
    assert len(tensorrt.trt.runs) == runs
    assert device.launches > 8


def test_graphs_are_captured_anew_when_memory_moves(tensorrt: EngineSetup, cpu: Pipeline) -> None:
    pipeline, device = tensorrt.pipeline(), tensorrt.device
    for count in (1, 12, 1, 1):
        sentences = [["Ann", "met", "Bob"]] * count
        assert answers(pipeline, sentences, 12) == answers(cpu, sentences, 12)
    assert len(device.graphs) < device.captures
    assert device.launches == 4


def test_the_library_with_graphs_of_its_own_captures_them(rtx: EngineSetup) -> None:
    pipeline = rtx.pipeline()
    for count in (1, 2, 3, 4):
        answers(pipeline, [["Ann", "met", "Bob"]] * count, 4)
    assert rtx.device.captures == 0
    strategy = FakeTensorRt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert {context.how.cuda_graph_strategy for context in rtx.trt.contexts} == {strategy}
    assert len(rtx.trt.contexts) <= 8  # of four subgraphs with two profiles


@pytest.mark.parametrize("where", ["library", "device"])
def test_without_capture_it_runs_all_the_same(
    where: str, tensorrt: EngineSetup, cpu: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    (tensorrt.trt.fail if where == "library" else tensorrt.device.fail).add(
        "capture" if where == "library" else "begin_capture"
    )
    pipeline = tensorrt.pipeline()
    for _ in range(2):
        assert answers(pipeline, [["Ann", "met", "Bob"]], 1) == answers(cpu, [["Ann", "met", "Bob"]], 1)
    assert not any(graph.engine.uses_cuda_graphs for graph in pipeline.graphs.values())
    assert caplog.text.count("runs without CUDA graphs") == 4
    assert tensorrt.device.launches == 0

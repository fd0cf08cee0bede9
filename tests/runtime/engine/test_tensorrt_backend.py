"""The TensorRT backend on stand-ins (``fake_tensorrt``): answers, threads, closing, profiles and errors."""

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimf.runtime.bundle.manifest import Profile
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import cuda_memory, tensorrt_library
from trimf.runtime.engine.contract import AsynchronousSubgraph
from trimf.runtime.engine.tensorrt_backend import TensorRtBackend
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

from .fake_tensorrt import (
    BUILDERS,
    LATENCY,
    TYPES,
    EngineSetup,
    FakeDevice,
    FakeTensorRt,
    answers,
    encoder_inputs,
    with_engines,
)

WORDS = st.sampled_from(["Ann", "Bob", "Rome", "Paris", "7", "met", "in", "zz", "a" * 30])

SENTENCES = st.lists(st.lists(WORDS, max_size=40), min_size=1, max_size=14)


@pytest.mark.parametrize("builder", BUILDERS)
def test_answers_are_those_of_the_cpu(
    builder: str, cpu: Pipeline, own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = EngineSetup(own_bundle, builder)
    pipeline = setup.pipeline()
    monkeypatch.setattr(cuda_memory, "MAX_CACHED", 8)  # so that contexts come and go

    @given(SENTENCES, st.integers(1, 12))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def check(sentences: list[list[str]], batch_size: int) -> None:
        assert answers(pipeline, sentences, batch_size) == answers(cpu, sentences, batch_size)

    check()
    for graph in pipeline.graphs.values():
        graph.close()
    assert setup.device.empty


@pytest.mark.parametrize("builder", BUILDERS)
def test_arcs_of_the_encoder_do_not_leave_the_device(
    builder: str, parsing_bundle: Path, cpu: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the subwords to the logits of entities the host waits for nothing and uploads nothing."""
    setup = EngineSetup(Path(shutil.copytree(parsing_bundle, tmp_path / "parsing")), builder)
    pipeline = setup.pipeline()
    seen: list[str] = []
    for call in ("synchronize", "upload", "download"):
        original = getattr(setup.device, call)
        monkeypatch.setattr(setup.device, call, lambda *given, call=call, do=original: (seen.append(call), do(*given)))
    sentences = [["met", "zz", "met"], ["in", "met"]]  # nothing to pair
    given = answers(cpu, sentences, 4)
    for _ in range(2):  # the first time, buffers are made
        seen.clear()
        assert [
            (one.decoded.entities, one.decoded.relations) for one in pipeline.run_words(sentences, None, 4)
        ] == given
    assert seen.count("synchronize") == seen.count("download") == 1
    assert seen.index("download") == seen.count("upload")
    sentences = [["Ann", "met", "Bob", "in", "Rome", "7"], ["zz"] * 20, ["Bob"]]
    assert answers(pipeline, sentences, 4) == answers(cpu, sentences, 4)


def test_threads_give_the_answers_of_one(both: EngineSetup, cpu: Pipeline) -> None:
    pipeline = both.pipeline()
    texts = [[["Ann", "met", "Bob"]] * size + [["Rome", "7", "is", "x" * size]] * 3 for size in range(1, 9)]
    found: dict[int, list[Any]] = {}

    def work(place: int) -> None:
        found[place] = [answers(pipeline, sentences, 4) for sentences in texts[place:] + texts[:place]]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for place, answer in found.items():
        assert answer == [answers(cpu, sentences, 4) for sentences in texts[place:] + texts[:place]]
    assert both.device.empty  # a thread that ended took its memory along


def test_closing_frees_everything_and_twice_is_fine(both: EngineSetup) -> None:
    pipeline = both.pipeline()
    for count in (1, 3, 9):
        answers(pipeline, [["Ann", "met", "Bob", "in", "Rome"] * 2] * count, 12)
    assert not both.device.empty
    graphs = list(pipeline.graphs.values())
    for graph in graphs[:-1] * 2:
        graph.close()
    assert not both.device.empty
    for graph in graphs[::-1]:
        graph.close()
    assert both.device.empty
    with pytest.raises(BackendError, match=r"engines/encoder\..* is closed; load the bundle again"):
        answers(pipeline, [["Ann"]], 1)


def test_a_closed_subgraph_frees_its_own_while_others_run_on(tensorrt: EngineSetup) -> None:
    graphs = tensorrt.pipeline().graphs
    inputs = encoder_inputs()
    for name in ("encoder", "fusion"):
        inputs.update(graphs[name].run(inputs))
    assert len(tensorrt.device.graphs) == 2
    graphs["encoder"].close()
    assert len(tensorrt.device.graphs) == 1
    assert np.asarray(inputs["nodes"]).shape == (1, 2, 4)


def test_a_caller_can_wait_for_what_it_started(both: EngineSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = both.pipeline().graphs["encoder"]
    assert isinstance(encoder, AsynchronousSubgraph)
    encoder.run(encoder_inputs())
    waited: list[int] = []
    monkeypatch.setattr(both.device, "synchronize", waited.append)
    encoder.synchronize()
    assert len(waited) == 1


def test_closing_waits_for_the_threads_that_run(both: EngineSetup) -> None:
    pipeline = both.pipeline()
    started = threading.Barrier(4)
    ends: list[str] = []

    def work() -> None:
        answers(pipeline, [["Ann", "met", "Bob"]], 1)
        started.wait()
        try:
            while True:
                answers(pipeline, [["Ann", "met", "Bob"]], 1)
        except BackendError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    for graph in pipeline.graphs.values():
        graph.close()
    for thread in threads:
        thread.join()
    assert len(ends) == 3
    assert all("is closed" in end or "is no longer valid" in end for end in ends)
    assert both.device.empty


def test_a_backend_opens_again_after_it_was_closed(both: EngineSetup, cpu: Pipeline) -> None:
    for _ in range(2):
        pipeline = both.pipeline()
        assert answers(pipeline, [["Ann", "in", "Rome"]], 1) == answers(cpu, [["Ann", "in", "Rome"]], 1)
        for graph in pipeline.graphs.values():
            graph.close()
        assert both.device.empty


def test_batches_run_in_the_first_profile_that_holds_them(both: EngineSetup) -> None:
    pipeline = both.pipeline()
    answers(pipeline, [["Ann"]], 1)
    assert {profile for _, profile, _ in both.trt.runs} == {0}
    both.trt.runs.clear()
    answers(pipeline, [["Ann", "met", "Bob"]] * 9, 12)
    assert {profile for name, profile, _ in both.trt.runs if name != "relations"} == {1}
    shapes = {name: shape for _, _, found in both.trt.runs for name, shape in found.items()}
    assert shapes["input_ids"] == (12, 16)  # 16 sentences are more than the profile holds
    assert shapes["pieces"][1:] == (16, 4)
    assert shapes["spans"] == (32, 3)
    assert shapes["pairs"] == (32, 2)


def test_few_words_are_padded_to_what_the_engine_needs(own_bundle: Path, cpu: Pipeline) -> None:
    axes = {**LATENCY, "batch": (3, 4, 12), "words": (20, 20, 24), "spans": (6, 6, 512)}
    folder = with_engines(own_bundle, "tensorrt", [Profile(name="large", axes=axes)])
    device = FakeDevice()
    library = tensorrt_library.describe_library("tensorrt", FakeTensorRt(device, folder))
    pipeline = open_pipeline(Bundle(folder), TensorRtBackend(device, library))
    assert answers(pipeline, [["Ann", "met", "Bob"]], 1) == answers(cpu, [["Ann", "met", "Bob"]], 1)


def test_a_batch_too_large_for_the_engine(both: EngineSetup) -> None:
    with pytest.raises(BackendError, match=r"batch must be 1 to 12 for \S+ \(profile throughput\), got 13"):
        answers(both.pipeline(), [["Ann"]] * 13, 13)


@pytest.mark.parametrize(
    "call",
    [
        "create_execution_context",
        "set_optimization_profile_async",
        "set_input_shape",
        "set_tensor_address",
        "get_tensor_shape",
        "execute_async_v3",
    ],
)
def test_a_failing_call_of_the_library(both: EngineSetup, call: str) -> None:
    pipeline = both.pipeline()
    both.trt.fail.add(call)
    with pytest.raises(BackendError, match=rf"^TensorRT.* 10\.9\.8\.7: {call}.* failed for engines/encoder"):
        answers(pipeline, [["Ann"]], 1)
    for graph in pipeline.graphs.values():
        graph.close()
    assert both.device.empty


@pytest.mark.parametrize("call", ["create_runtime_config", "set_runtime_cache"])
def test_a_failing_call_of_the_rtx_library(rtx: EngineSetup, call: str) -> None:
    pipeline = rtx.pipeline()
    rtx.trt.fail.add(call)
    with pytest.raises(BackendError, match=f"{call} failed for engines/encoder"):
        answers(pipeline, [["Ann"]], 1)


@pytest.mark.parametrize("call", ["malloc", "create_stream", "upload", "download", "synchronize", "launch_graph"])
def test_a_failing_call_of_the_device(tensorrt: EngineSetup, call: str) -> None:
    pipeline = tensorrt.pipeline()
    if call == "launch_graph":
        answers(pipeline, [["Ann"]], 1)
    tensorrt.device.fail.add(call)
    with pytest.raises(BackendError, match=f"{call} failed"):
        answers(pipeline, [["Ann"]], 1)
    tensorrt.device.fail.clear()
    assert answers(pipeline, [["Ann"]], 1)
    for graph in pipeline.graphs.values():
        graph.close()
    assert tensorrt.device.empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word_mask": np.ones((1, 2), np.int64)}, "word_mask has type int64, but engines/fusion"),
        (
            {"words": np.ones((1, 2, 5), np.float32)},
            r"words has the padded shape \[1, 16, 5\], but .* expects \[1, 16, 4\]",
        ),
        ({"heads": np.zeros((1, 3), np.int64)}, "axis 'words': heads has size 3, another input has 2"),
    ],
)
def test_inputs_that_do_not_fit(both: EngineSetup, change: Mapping[str, Any], message: str) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs()
    inputs.update(graphs["encoder"].run(inputs))
    with pytest.raises(BackendError, match=message):
        graphs["fusion"].run({**inputs, **change})


def test_no_type_of_numpy_fits_bf16(both: EngineSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """``numpy.dtype("float64") == None`` is true, but a bfloat16 input does not take float64."""
    monkeypatch.setitem(TYPES, "tensor(float)", ("BF16", np.float32))
    fusion = both.pipeline().graphs["fusion"]
    assert fusion.types["words"] is None
    inputs = {**encoder_inputs(), "cls": np.zeros((1, 4), np.float32)}
    for dtype in (np.float64, np.float32, np.uint16):
        with pytest.raises(
            BackendError, match=rf"words has type {np.dtype(dtype)}, but engines/fusion\S+ expects BF16$"
        ):
            fusion.run({**inputs, "words": np.zeros((1, 2, 4), dtype)})


def test_host_arrays_are_taken_too(both: EngineSetup) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs(2)
    inputs.update(graphs["encoder"].run(inputs))
    expected = np.asarray(graphs["fusion"].run(inputs)["nodes"])
    inputs.update(graphs["encoder"].run(inputs))
    inputs.update({name: np.asarray(inputs[name]) for name in ("words", "cls")})
    np.testing.assert_array_equal(np.asarray(graphs["fusion"].run(inputs)["nodes"]), expected)

"""Engines of the joined graph on stand-ins (``fake_tensorrt``): results, copies, launches, order, outdated arrays."""

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimf.runtime.bundle.manifest import Profile
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import buckets, tensorrt_library
from trimf.runtime.engine.contract import HOST_OUTPUTS, JOINED, JOINED_OUTPUTS, JOINED_SUBGRAPHS, SUBGRAPHS
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.engine.tensorrt_backend import TensorRtBackend
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

from .fake_tensorrt import (
    BUILDERS,
    LATENCY,
    EngineSetup,
    FakeDevice,
    FakeTensorRt,
    answers,
    encoder_inputs,
    with_engines,
)

WORDS = st.sampled_from(["Ann", "Bob", "Rome", "Paris", "7", "met", "in", "zz", "é🎉", "a" * 30])
SENTENCES = st.lists(st.lists(WORDS, max_size=40), min_size=1, max_size=14)


@pytest.fixture(params=BUILDERS)
def joined(request: pytest.FixtureRequest, parsing_bundle: Path, tmp_path: Path) -> EngineSetup:
    """A bundle with the joined engines alone."""
    return EngineSetup(Path(shutil.copytree(parsing_bundle, tmp_path / "joined")), request.param, JOINED_SUBGRAPHS)


@pytest.fixture(scope="module")
def parsing_cpu(parsing_bundle: Path) -> Pipeline:
    return open_pipeline(Bundle(parsing_bundle), OnnxCpuBackend(1))


def own_answers(pipeline: Pipeline, sentences: Sequence[Sequence[str]], batch_size: int) -> list[Any]:
    """The results of a pipeline that parses by itself, with the arcs."""
    return [
        (
            result.decoded.entities,
            [(*relation[:4], relation.trigger_weights.tolist()) for relation in result.decoded.relations],
            result.arcs and (list(result.arcs.heads), list(result.arcs.labels)),
        )
        for result in pipeline.run_words(sentences, None, batch_size, syntax="arcs")
    ]


def test_results_are_those_of_the_cpu(joined: EngineSetup, parsing_cpu: Pipeline) -> None:
    pipeline = joined.pipeline()
    assert tuple(pipeline.graphs) == JOINED_SUBGRAPHS

    @given(SENTENCES, st.integers(1, 12))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def check(sentences: list[list[str]], batch_size: int) -> None:
        assert own_answers(pipeline, sentences, batch_size) == own_answers(parsing_cpu, sentences, batch_size)

    check()
    pipeline.close()
    assert joined.device.empty


def test_a_launch_has_one_upload_and_one_download(joined: EngineSetup) -> None:
    pipeline, device = joined.pipeline(), joined.device
    calls: list[str] = []
    sentences = [["Ann", "met", "Bob", "in", "Rome"]]
    for repeated in range(3):
        before = device.uploads, device.downloads
        calls.clear()
        with pipeline.observe(lambda call: calls.append(call.name)):
            own_answers(pipeline, sentences, 1)
        assert calls == list(JOINED_SUBGRAPHS)
        assert (device.uploads - before[0], device.downloads - before[1]) == (2, 2), f"call {repeated}"


def test_a_sentence_without_a_pair_is_one_launch(joined: EngineSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = joined.pipeline()
    seen: list[str] = []
    for call in ("upload", "synchronize", "download", "launch_graph"):
        original = getattr(joined.device, call)
        monkeypatch.setattr(joined.device, call, lambda *given, call=call, do=original: (seen.append(call), do(*given)))
    sentences = [["met", "zz", "met"]]
    own_answers(pipeline, sentences, 1)
    seen.clear()
    joined.trt.runs.clear()
    own_answers(pipeline, sentences, 1)
    launched = ["launch_graph"] if joined.backend.library.name == "tensorrt" else []
    assert seen == ["upload", *launched, "download", "synchronize"]
    assert len(joined.trt.runs) + len(launched) == 1


def test_separate_subgraphs_have_one_upload_and_one_download_too(both: EngineSetup) -> None:
    graphs, device = both.pipeline().graphs, both.device
    inputs = encoder_inputs(2)
    for name in SUBGRAPHS[:3]:
        before = device.uploads
        inputs.update(graphs[name].run(inputs))
        assert device.uploads - before == 1
    np.asarray(inputs["entity_logits"])
    assert device.downloads == 1


def test_outputs_of_a_run_share_one_download(joined: EngineSetup) -> None:
    graph = joined.pipeline().graphs[JOINED]
    outputs = graph.run(encoder_inputs(3))
    assert set(outputs) == set(JOINED_OUTPUTS)
    read = {name: np.asarray(outputs[name]) for name in JOINED_OUTPUTS if name in HOST_OUTPUTS}
    assert joined.device.downloads == 1
    assert {name: value.shape for name, value in read.items()} == {
        name: outputs[name].shape for name in ("heads", "labels", "entity_logits")
    }
    kept = {name: value.copy() for name, value in read.items()}
    changed = np.array(outputs["heads"])
    changed += 1  # a copy of the caller
    np.testing.assert_array_equal(np.asarray(outputs["heads"]), kept["heads"])
    graph.run({**encoder_inputs(3), "input_ids": np.full((3, 5), 2)})
    for name, value in read.items():  # what was read does not change under the caller
        np.testing.assert_array_equal(value, kept[name])


def test_arrays_of_an_earlier_run_are_outdated(joined: EngineSetup) -> None:
    graph = joined.pipeline().graphs[JOINED]
    earlier = graph.run(encoder_inputs())
    graph.run(encoder_inputs(3))
    for name in JOINED_OUTPUTS:
        with pytest.raises(BackendError, match=rf"{name} is no longer valid: .* copy it with numpy\.asarray before"):
            np.asarray(earlier[name])
    relations = joined.pipeline().graphs["relations"]
    pairs = {"spans": np.zeros((1, 3), np.int64), "pairs": np.zeros((1, 2), np.int64)}
    with pytest.raises(BackendError, match="nodes is no longer valid"):
        relations.run({**encoder_inputs(), **earlier, **pairs})


def test_a_run_of_another_subgraph_leaves_arrays_valid(joined: EngineSetup) -> None:
    graphs = joined.pipeline().graphs
    inputs = encoder_inputs()
    inputs.update(graphs[JOINED].run(inputs))
    inputs |= {"spans": np.zeros((1, 3), np.int64), "pairs": np.zeros((1, 2), np.int64)}
    relations = graphs["relations"].run(inputs)
    for name, array in (*relations.items(), ("entity_logits", inputs["entity_logits"]), ("nodes", inputs["nodes"])):
        assert np.asarray(array).shape == array.shape, name


def test_large_and_small_batches_by_turns(joined: EngineSetup, parsing_cpu: Pipeline) -> None:
    """Memory grows and moves, and a bucket's graph is captured anew where it did."""
    pipeline = joined.pipeline()
    for count in (1, 12, 1, 5, 12, 1, 1):
        sentences = [["Ann", "met", "Bob", "in", "Rome"][: 1 + count % 5], ["zz"] * count] * count
        assert own_answers(pipeline, sentences, 12) == own_answers(parsing_cpu, sentences, 12)


def test_work_of_several_runs_is_done_in_order(joined: EngineSetup) -> None:
    """The device is late: a second upload must not overtake the run that reads the first."""
    graph = joined.pipeline().graphs[JOINED]
    first = {**encoder_inputs(2), "input_ids": np.arange(10).reshape(2, 5)}
    expected = np.asarray(graph.run(first)["entity_logits"]).copy()
    for _ in range(3):
        graph.run({**encoder_inputs(2), "input_ids": np.full((2, 5), 7)})
        outputs = graph.run(first)
    np.testing.assert_array_equal(np.asarray(outputs["entity_logits"]), expected)


def test_threads_give_the_answers_of_one(joined: EngineSetup, parsing_cpu: Pipeline) -> None:
    pipeline = joined.pipeline()
    texts = [[["Ann", "met", "Bob"]] * size + [["Rome", "7", "is", "x" * size]] * 3 for size in range(1, 7)]
    expected = [own_answers(parsing_cpu, sentences, 4) for sentences in texts]
    found: dict[int, list[Any]] = {}

    def work(place: int) -> None:
        found[place] = [own_answers(pipeline, sentences, 4) for sentences in texts]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(3), expected)


def test_words_are_padded_to_the_subwords_within_the_profile(joined: EngineSetup) -> None:
    joined.pipeline().graphs[JOINED].run(
        {
            "input_ids": np.ones((1, 40), np.int64),
            "attention_mask": np.ones((1, 40), np.int64),
            "pieces": np.ones((1, 2, 1), np.int64),
            "word_mask": np.ones((1, 2), np.bool_),
        }
    )
    ((_, _, shapes),) = joined.trt.runs
    assert shapes["input_ids"] == (1, 48)
    assert shapes["pieces"] == (1, LATENCY["words"][2], buckets.MIN_TIED_PIECES)


def test_another_parser_takes_the_separate_engines(parsing_bundle: Path, cpu: Pipeline, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(parsing_bundle, tmp_path / "both"))
    setup = EngineSetup(folder, "tensorrt", (JOINED, *SUBGRAPHS))
    assert tuple(setup.pipeline().graphs) == JOINED_SUBGRAPHS
    pipeline = setup.pipeline(has_external_parser=True)
    assert tuple(pipeline.graphs) == SUBGRAPHS
    sentences = [["Ann", "met", "Bob", "in", "Rome"]]
    assert answers(pipeline, sentences, 1) == answers(cpu, sentences, 1)


def test_another_parser_without_the_separate_engines(joined: EngineSetup) -> None:
    with pytest.raises(BackendError, match=r"has no engine for encoder, which a parser other .* --separate"):
        joined.pipeline(has_external_parser=True)


def test_engines_of_before_run_separately(parsing_bundle: Path, parsing_cpu: Pipeline, tmp_path: Path) -> None:
    setup = EngineSetup(Path(shutil.copytree(parsing_bundle, tmp_path / "before")), "tensorrt")
    pipeline = setup.pipeline()
    assert tuple(pipeline.graphs) == SUBGRAPHS
    sentences = [["Ann", "met", "Bob", "in", "Rome"]]
    assert own_answers(pipeline, sentences, 1) == own_answers(parsing_cpu, sentences, 1)


def test_few_words_are_padded_to_what_the_engine_needs(
    parsing_bundle: Path, parsing_cpu: Pipeline, tmp_path: Path
) -> None:
    axes = {**LATENCY, "batch": (3, 4, 12), "words": (20, 20, 24), "spans": (6, 6, 512)}
    copy = Path(shutil.copytree(parsing_bundle, tmp_path / "large"))
    folder = with_engines(copy, "tensorrt", [Profile(name="large", axes=axes)], JOINED_SUBGRAPHS)
    device = FakeDevice()
    library = tensorrt_library.describe_library("tensorrt", FakeTensorRt(device, folder))
    pipeline = open_pipeline(Bundle(folder), TensorRtBackend(device, library))
    for sentences in ([["Ann", "met", "Bob"]], [["a" * 30] * 20]):
        assert own_answers(pipeline, sentences, 1) == own_answers(parsing_cpu, sentences, 1)

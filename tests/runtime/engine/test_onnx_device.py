"""ONNX Runtime with bound buffers: on the CPU as it would be on a GPU, and on a GPU where there is one."""

import itertools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import onnx_gpu_backend
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.engine.onnx_device import OnnxGpuSubgraph, OrtDeviceArray
from trimf.runtime.engine.onnx_gpu_backend import OnnxGpuBackend
from trimf.runtime.engine.onnx_providers import PROVIDERS, Provider
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

WORDS = ["Ann", "b", "C3", "x", ",", "9", "zebra", "Q", "met", "🎉", "Bob's", "Rome"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), min_size=1, max_size=6)
ON_CPU = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0), limits={"words": 24})


def chained(words: list[str]) -> ParsedSentence:
    return ParsedSentence(words, [max(i - 1, 0) for i in range(len(words))], ["chain"] * len(words))


@pytest.fixture(scope="module", autouse=True)
def _on_cpu() -> Iterator[None]:
    """Two more providers: the CPU by way of bound buffers, and the same with (there: ignored) CUDA graphs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROVIDERS, "bound", ON_CPU)
        patch.setitem(PROVIDERS, "captured", ON_CPU._replace(uses_cuda_graphs=True, limits={}))
        yield


@pytest.fixture
def _replaying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ONNX Runtime this is, it may capture graphs."""
    monkeypatch.setattr(onnx_gpu_backend, "CUDA_GRAPHS_SINCE", (1, 0))


@pytest.fixture(scope="module")
def plain(tiny_bundle: Path) -> Pipeline:
    return open_pipeline(Bundle(tiny_bundle), OnnxCpuBackend(1))


@pytest.fixture(scope="module", params=["bound", "captured", "cuda", "tensorrt-ep", "tensorrt-rtx-ep"])
def device(request: pytest.FixtureRequest, tiny_bundle: Path) -> Pipeline:
    """The tiny bundle on every provider that can run here."""
    try:
        backend = OnnxGpuBackend(request.param)
    except BackendError as error:
        pytest.skip(str(error))
    return open_pipeline(Bundle(tiny_bundle), backend)


def load(bundle: Path, subgraph: str, name: str = "bound") -> OnnxGpuSubgraph:
    return OnnxGpuBackend(name).open(subgraph, Bundle(bundle))


def batch(size: int, words: int, **changes: Any) -> dict[str, Any]:
    """Arrays for the encoder: every word is one subword, its own number in the vocabulary."""
    ids = np.tile(np.arange(words + 2) + 40, (size, 1))
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    arrays["pieces"] = np.tile(np.arange(1, words + 1)[:, None], (size, 1, 1))
    return arrays | changes


@settings(deadline=None)
@given(SENTENCES, st.integers(1, 4))
def test_results_are_those_of_the_cpu(
    plain: Pipeline, device: Pipeline, sentences: list[list[str]], batch_size: int
) -> None:
    parsed = [chained(words) for words in sentences]
    assert repr(device.run(parsed, batch_size)) == repr(plain.run(parsed, batch_size))


def test_shapes_that_come_again(plain: Pipeline, device: Pipeline) -> None:
    """Plain, captured and replayed runs of several shapes in turn, with other words each time."""
    for turn in range(5):
        for count in (1, 3, 20):
            words = list(itertools.islice(itertools.cycle(WORDS[turn:] + WORDS[:turn]), count))
            parsed = [chained(words), chained(words[::-1])]
            assert repr(device.run(parsed)) == repr(plain.run(parsed))


def test_two_threads_at_once(plain: Pipeline, device: Pipeline) -> None:
    texts = [[chained(list(words))] for words in itertools.permutations(WORDS, 3)][:200]
    expected = [repr(plain.run(text)) for text in texts]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda text: repr(device.run(text)), texts)) == expected


def test_a_sentence_alone_and_in_a_batch(device: Pipeline) -> None:
    parsed = [chained(WORDS[: 1 + place % 12]) for place in range(64)]
    together = device.run(parsed, 64)
    assert repr(together[:12]) == repr([device.run([sentence])[0] for sentence in parsed[:12]])


def test_arrays_stay_on_the_device(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, fusion = load(tiny_bundle, "encoder"), load(tiny_bundle, "fusion")
    arrays = batch(3, 5)
    out = encoder.run(arrays)
    words = out["words"]
    assert isinstance(words, OrtDeviceArray)
    assert (words.name, words.shape, out["cls"].shape) == ("words", (3, 5, 4), (3, 4))
    expected = OnnxCpuBackend(1).open("encoder", Bundle(tiny_bundle)).run(arrays)
    assert np.array_equal(words, expected["words"])
    assert np.asarray(words, np.float64).dtype == np.float64
    assert np.array(words, copy=True).shape == (3, 5, 4)
    bound = {}
    bind = fusion._bind
    monkeypatch.setattr(fusion, "_bind", lambda *place: (bound.update({place[1]: place[-1]}), bind(*place)))
    zeros = np.zeros((3, 5), np.int64)
    fusion.run({**out, "word_mask": zeros == 0, "heads": zeros, "labels": zeros})
    assert bound["words"] == words.get_address()
    starts = [bound[name] for name in ("word_mask", "heads", "labels")]
    assert [start - starts[0] for start in starts] == [0, 256, 768]  # one allocation, copied at once


def test_a_shape_keeps_its_buffers(tiny_bundle: Path) -> None:
    encoder = load(tiny_bundle, "encoder")
    places = {encoder.run(batch(3, words))["words"].get_address() for words in (3, 4, 9, 14)}
    assert len(places) == 1
    assert len(encoder._states.get_current().packs) == 3  # the inputs, words, cls
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: encoder.run(batch(3, 3))["words"]).result()
    assert other.get_address() not in places


def test_an_overwritten_array_is_no_silent_wrong_answer(tiny_bundle: Path) -> None:
    encoder = load(tiny_bundle, "encoder")
    early = encoder.run(batch(1, 3))["words"]
    kept = encoder.run(batch(2, 3))["words"]
    encoder.run(batch(1, 4))
    with pytest.raises(BackendError, match="words was overwritten by a later batch; copy it"):
        np.asarray(early)
    assert np.asarray(kept).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            batch(1, 3, input_ids=np.ones((1, 5), np.int32)),
            "input_ids has type int32, but encoder.onnx expects tensor.int64",
        ),
        (batch(1, 3, attention_mask=np.ones((1, 6), np.int64)), "axis 'subwords': attention_mask has size 6, another"),
        (batch(1, 25), "words must be <= 24 for backend 'bound', got 25; use a smaller batch_size"),
        (
            batch(1, 3, pieces=np.full((1, 3, 1), 99)),
            "cannot run encoder.onnx on backend 'bound': .*GatherND",
        ),
    ],
)
def test_arrays_that_cannot_be_run(tiny_bundle: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message) as caught:
        load(tiny_bundle, "encoder").run(arrays)
    assert "\n" not in str(caught.value)


def test_no_type_of_numpy_fits_bf16() -> None:
    """``numpy.dtype("float64") == None`` is true, but a bfloat16 input does not take float64."""
    subgraph = load_cast(TensorProto.BFLOAT16, TensorProto.FLOAT)
    assert subgraph.types["words"] is None
    for dtype in (np.float64, np.float32, np.uint16):
        with pytest.raises(
            BackendError, match=rf"words has type {np.dtype(dtype)}, but fusion\.onnx expects tensor\(bfloat16\)"
        ):
            subgraph.run({"words": np.zeros((1, 3, 4), dtype)})


def test_a_fixed_size_that_differs(tiny_bundle: Path) -> None:
    arrays = {"nodes": np.zeros((1, 3, 4), np.float32), "word_mask": np.ones((1, 3), np.bool_)}
    arrays |= {"spans": np.zeros((1, 2), np.int64), "pairs": np.zeros((1, 2), np.int64)}
    with pytest.raises(BackendError, match=r"spans has shape \(1, 2\), but relations\.onnx expects"):
        load(tiny_bundle, "relations").run(arrays)


def test_an_array_padded_for_another_backend(tiny_bundle: Path) -> None:
    out = load(tiny_bundle, "encoder", "captured").run(batch(1, 20))
    zeros = np.zeros((1, 20), np.int64)
    with pytest.raises(
        BackendError, match=r"words is padded to \(1, 32, 4\), but words must be <= 24 for backend 'bound'"
    ):
        load(tiny_bundle, "fusion").run({**out, "word_mask": zeros == 0, "heads": zeros, "labels": zeros})


def test_a_closed_subgraph(tiny_bundle: Path) -> None:
    encoder = load(tiny_bundle, "encoder")
    out = encoder.run(batch(1, 3))
    encoder.close()
    encoder.close()
    with pytest.raises(BackendError, match=r"encoder\.onnx is closed"):
        encoder.run(batch(1, 3))
    assert np.asarray(out["words"]).shape == (1, 3, 4)


@pytest.mark.usefixtures("_replaying")
def test_every_set_of_buffers_has_its_own_graph(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    run = onnxruntime.InferenceSession.run_with_iobinding

    def note(session: Any, binding: Any, options: Any) -> None:
        numbers.append(int(options.get_run_config_entry("gpu_graph_id")))
        run(session, binding, options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", note)
    encoder = load(tiny_bundle, "encoder", "captured")
    assert encoder.uses_cuda_graphs
    for size, words in [(1, 3), (1, 3), (2, 3), (1, 9), (2, 4), (2, 20)]:
        encoder.run(batch(size, words))
    assert numbers == [-1, 1, -1, -1, 1, 2, -1]  # the first replay is compared with a normal run
    for expected in ([-1, 3, -1, 3], [3, 3, 3]):  # the next thread takes over what the first has captured
        numbers.clear()
        with ThreadPoolExecutor(1) as pool:
            list(pool.map(encoder.run, [batch(1, 3)] * 3))
        assert numbers == expected


@pytest.mark.usefixtures("_replaying")
def test_a_wrong_replay_is_found(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = load(tiny_bundle, "encoder", "captured")
    run = onnxruntime.InferenceSession.run_with_iobinding
    uses: list[str] = []

    def replay_wrongly(session: Any, binding: Any, options: Any) -> None:
        run(session, binding, options)
        uses.append(options.get_run_config_entry("gpu_graph_id") if options else "")
        if uses.count("1") > 1 and uses[-1] == "1":
            (pack,) = (pack for pack in encoder._states.get_current().packs.values() if pack.name == "words")
            pack._value.update_inplace(np.zeros(pack._value.shape(), np.uint8))

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", replay_wrongly)
    for turn in range(5):
        arrays = batch(1, 3)
        arrays["input_ids"] = arrays["input_ids"] - turn
        expected = OnnxCpuBackend(1).open("encoder", Bundle(tiny_bundle)).run(arrays)["words"]
        assert np.array_equal(encoder.run(arrays)["words"], expected)
    assert uses == ["-1", "1", "-1", "1", "-1", "-1", "-1"]  # without a number, a run would be captured
    assert not encoder.uses_cuda_graphs
    assert "replays encoder.onnx wrongly from a CUDA graph" in caplog.text


@pytest.mark.usefixtures("_replaying")
def test_graphs_refused_are_runs_without(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = onnxruntime.InferenceSession

    def refuse(model: bytes, options: Any, providers: Any, **rest: Any) -> Any:
        if "enable_cuda_graph" in providers[0][1]:
            raise RuntimeError("This session cannot use\nthe graph capture feature")
        return session(model, options, providers=providers, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with caplog.at_level(logging.INFO, "trimf"):
        encoder = load(tiny_bundle, "encoder", "captured")
    assert not encoder.uses_cuda_graphs
    assert encoder.run(batch(1, 3))["words"].shape == (1, 3, 4)
    assert "encoder.onnx runs on backend 'captured' without CUDA graphs: This session cannot use the" in caplog.text


@pytest.mark.parametrize("how", ["old", "off"])
def test_graphs_turned_off(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "old":
        monkeypatch.setattr(onnx_gpu_backend, "CUDA_GRAPHS_SINCE", (99, 0))
    else:
        monkeypatch.setenv("TRIMF_CUDA_GRAPHS", "0")
    assert not load(tiny_bundle, "encoder", "captured").uses_cuda_graphs


def load_cast(taken: int, given: int) -> OnnxGpuSubgraph:
    """A fusion graph that takes words of type ``taken`` and gives them as ``nodes`` of type ``given``."""
    inside, out = (
        helper.make_tensor_value_info(name, element, ["batch", "words", 4])
        for name, element in (("words", taken), ("nodes", given))
    )
    graph = helper.make_graph([helper.make_node("Cast", ["words"], ["nodes"], to=given)], "cast", [inside], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return OnnxGpuBackend("bound").load("fusion", model.SerializeToString())


def test_fp16_comes_to_the_host_as_it_is() -> None:
    words = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    nodes = np.asarray(load_cast(TensorProto.FLOAT, TensorProto.FLOAT16).run({"words": words})["nodes"])
    assert nodes.dtype == np.float16
    assert np.array_equal(nodes, words.astype(np.float16))


def test_bf16_comes_to_the_host_as_fp32() -> None:
    words = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)
    nodes = np.asarray(load_cast(TensorProto.FLOAT, TensorProto.BFLOAT16).run({"words": words})["nodes"])
    assert nodes.dtype == np.float32
    assert np.abs(nodes - words).max() <= 2**-8 * 3  # eight bits of precision
    assert np.array_equal(nodes.view(np.uint32) & 0xFFFF, np.zeros((2, 3, 4)))


def test_weights_outside_the_file_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(np.ones(4, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "w")
    external_data_helper.set_external_data(tensor, "weights", 0, 16)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, 4]) for name in ("words", "nodes")]
    graph = helper.make_graph([helper.make_node("Add", ["words", "w"], ["nodes"])], "g", ends[:1], ends[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(BackendError, match=r"cannot load fusion\.onnx on backend 'bound': "):
        OnnxGpuBackend("bound").load("fusion", model.SerializeToString())


def test_a_file_that_is_no_model() -> None:
    with pytest.raises(BackendError, match=r"cannot load encoder\.onnx on backend 'bound': ") as caught:
        OnnxGpuBackend("bound").load("encoder", b"no model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads(threads: int) -> None:
    with pytest.raises(BackendError, match=f"threads must be >= 1, got {threads}"):
        OnnxGpuBackend("bound", threads=threads)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_session_elsewhere_is_refused(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = OnnxGpuBackend("bound")
    monkeypatch.setattr(backend, "_provider", ON_CPU._replace(name="CUDAExecutionProvider"))
    with pytest.raises(
        BackendError, match=r"could not start CUDAExecutionProvider .* fell back to CPUExecutionProvider: no NVIDIA"
    ):
        backend.open("encoder", Bundle(tiny_bundle))


def test_products_elsewhere_are_refused(tiny_bundle: Path) -> None:
    backend = OnnxGpuBackend("bound")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    real = onnxruntime.InferenceSession(
        (tiny_bundle / "relations.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    backend._provider = ON_CPU._replace(name="CUDAExecutionProvider")
    session = SimpleNamespace(
        get_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        get_provider_graph_assignment_info=real.get_provider_graph_assignment_info,
    )
    with pytest.raises(BackendError, match=r"does not run all matrix products of relations\.onnx \(MatMul on CPUExec"):
        backend._check_assignment("relations", session)

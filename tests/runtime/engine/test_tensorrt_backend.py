"""The native backend on a stand-in for TensorRT and for the device: memory is the host's, engines run their ONNX file.

The stand-in device is as lazy as a real one: work on a stream is done when the stream is synchronized, not before.
"""

import ctypes
import hashlib
import json
import logging
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimf.runtime.bundle.manifest import Engine, FileRecord, Manifest, MatmulCounts, Profile
from trimf.runtime.bundle.reader import Bundle, open_pipeline
from trimf.runtime.engine import cuda_memory, tensorrt_library
from trimf.runtime.engine.contract import AXES, SUBGRAPHS
from trimf.runtime.engine.cuda_memory import Buffer, CudaArray, Workspace
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.engine.tensorrt_backend import TensorRtBackend
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import ParsedSentence, Pipeline

BUILDERS = ("tensorrt", "tensorrt-rtx")
TYPES = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(bool)": ("BOOL", np.bool_),
}

LATENCY = {
    "batch": (1, 1, 1),
    "subwords": (3, 16, 80),
    "words": (1, 8, 24),
    "pieces": (1, 4, 64),
    "spans": (1, 4, 512),
    "pairs": (1, 8, 4096),
}
PROFILES = [Profile(name="latency", axes=LATENCY), Profile(name="throughput", axes={**LATENCY, "batch": (1, 4, 12)})]


class FakeDevice:
    """Memory that is full of ones when it is new, and streams that run late."""

    name, target, memory = "Fake GPU", "sm_89", 1 << 30

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = self.captures = self.mallocs = 0
        self.fail: set[str] = set()
        self._handles = iter(range(1, 1 << 30))

    def _may_fail(self, call: str) -> None:
        if call in self.fail:
            raise BackendError(f"{call} failed")

    def malloc(self, size: int) -> int:
        self._may_fail("malloc")
        block = ctypes.create_string_buffer(b"\xff" * size, size)
        self.blocks[ctypes.addressof(block)] = block
        self.mallocs += 1
        return ctypes.addressof(block)

    def free(self, address: int) -> None:
        del self.blocks[address]

    def stream(self) -> int:
        self._may_fail("stream")
        stream = next(self._handles)
        self.streams[stream] = []
        return stream

    def put(self, stream: int, work: Callable[[], None]) -> None:
        self.capturing.get(stream, self.streams[stream]).append(work)

    def synchronize(self, stream: int) -> None:
        self._may_fail("synchronize")
        assert stream not in self.capturing
        work, self.streams[stream] = self.streams[stream], []
        for step in work:
            step()

    def destroy(self, stream: int) -> None:
        assert not self.streams.pop(stream)

    def upload(self, array: np.ndarray, address: int, stream: int) -> None:
        self._may_fail("upload")
        size, source = array.nbytes, array.ctypes.data  # no reference: whoever uploads must keep the array
        self.put(stream, lambda: ctypes.memmove(self.inside(address, size), source, size))

    def download(self, address: int, array: np.ndarray, stream: int) -> None:
        self._may_fail("download")
        self.put(stream, lambda: ctypes.memmove(array.ctypes.data, self.inside(address, array.nbytes), array.nbytes))

    def inside(self, address: int, size: int) -> int:
        assert size <= len(self.blocks[address])
        return address

    def begin_capture(self, stream: int) -> None:
        self._may_fail("begin_capture")
        self.capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        graph = next(self._handles)
        self.graphs[graph] = self.capturing.pop(stream)
        self.captures += 1
        return graph

    def launch(self, graph: int, stream: int) -> None:
        self._may_fail("launch")
        self.launches += 1
        self.streams[stream].extend(self.graphs[graph])

    def free_graph(self, graph: int) -> None:
        del self.graphs[graph]

    @property
    def empty(self) -> bool:
        return not (self.blocks or self.streams or self.graphs or self.capturing)


def named(*names: str) -> Any:
    return Enum("Named", names)


class FakeTensorRt:
    """What the backend uses of ``tensorrt`` and ``tensorrt_rtx``; calls named in ``fail`` do."""

    __version__ = "10.9.8.7"
    ExecutionContextAllocationStrategy = named("STATIC", "USER_MANAGED")
    CudaGraphStrategy = named("DISABLED", "WHOLE_GRAPH_CAPTURE")
    EngineInvalidityDiagnostics = Enum("Diagnostics", {"VERSION_MISMATCH": 1, "UNSUPPORTED_CC": 2})

    class ILogger:
        pass

    def __init__(self, device: FakeDevice, onnx: Path) -> None:
        self.device, self.onnx = device, onnx
        self.fail: set[str] = set()
        self.validity = "VALID"
        self.contexts: list[FakeContext] = []
        self.runs: list[tuple[str, int, dict[str, tuple[int, ...]]]] = []
        self.caches: list[bytes] = []

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        def deserialize(content: bytes) -> FakeEngine | None:
            if "deserialize_cuda_engine" in self.fail:
                logger.log(SimpleNamespace(name="ERROR"), "no magic\n in these bytes")
                return None
            return FakeEngine(self, json.loads(content))

        return SimpleNamespace(
            deserialize_cuda_engine=deserialize,
            get_engine_validity=lambda _: (SimpleNamespace(name=self.validity), 2 * (self.validity != "VALID")),
        )


class FakeEngine:
    def __init__(self, library: FakeTensorRt, content: Any) -> None:
        self.library, self.subgraph, self.profiles = library, content["subgraph"], content["profiles"]
        self.session = onnxruntime.InferenceSession((library.onnx / f"{self.subgraph}.onnx").read_bytes())
        self.inputs = {entry.name: entry for entry in self.session.get_inputs()}
        self.tensors = {**self.inputs, **{entry.name: entry for entry in self.session.get_outputs()}}
        self.num_io_tensors, self.num_optimization_profiles = len(self.tensors), len(self.profiles)

    def get_tensor_name(self, place: int) -> str:
        return list(self.tensors)[place]

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name="INPUT" if name in self.inputs else "OUTPUT")

    def get_tensor_location(self, name: str) -> Any:
        return SimpleNamespace(name="DEVICE")

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=TYPES[self.tensors[name].type][0])

    def get_tensor_shape(self, name: str) -> list[int]:
        return [size if isinstance(size, int) else -1 for size in self.tensors[name].shape]

    def get_tensor_profile_shape(self, name: str, place: int) -> list[list[int]]:
        axes = self.profiles[place]
        sizes = zip(AXES[name], self.get_tensor_shape(name), strict=True)
        columns = [axes[axis] if axis else [size] * 3 for axis, size in sizes]
        return [list(row) for row in zip(*columns, strict=True)]

    def get_device_memory_size_for_profile_v2(self, place: int) -> int:
        return 1000 * (place + 1)

    def create_runtime_config(self) -> Any:
        return None if "create_runtime_config" in self.library.fail else FakeConfig(self.library)

    def create_execution_context(self, how: Any) -> Any:
        if "create_execution_context" in self.library.fail:
            return None
        context = FakeContext(self, how)
        self.library.contexts.append(context)
        return context


class FakeConfig:
    cuda_graph_strategy: Any = None

    def __init__(self, library: FakeTensorRt) -> None:
        self.library = library
        self.kernels: bytes | None = None

    def create_runtime_cache(self) -> Any:
        def deserialize(content: bytes) -> bool:
            self.library.caches.append(content)
            return content.startswith(b"kernels")

        return SimpleNamespace(deserialize=deserialize, serialize=lambda: memoryview(b"kernels 2"))

    def set_runtime_cache(self, cache: Any) -> bool:
        return "set_runtime_cache" not in self.library.fail


class FakeContext:
    def __init__(self, engine: FakeEngine, how: Any) -> None:
        self.engine, self.library, self.how = engine, engine.library, how
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.profile = 0
        self.warm = False
        self.scratch: int | None = None

    def done(self, call: str) -> bool:
        return call not in self.library.fail

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return self.done("set_optimization_profile_async")

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.engine.get_device_memory_size_for_profile_v2(self.profile)
        self.scratch = self.library.device.inside(address, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.get_tensor_profile_shape(name, self.profile)
        assert all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
        if self.shapes.get(name) != shape:
            self.shapes[name], self.warm = shape, False
        return self.done("set_input_shape")

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return self.done("set_tensor_address")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = {
            axis: size
            for known, shape in self.shapes.items()
            for axis, size in zip(AXES[known], shape, strict=True)
            if axis
        }
        fixed = self.engine.get_tensor_shape(name)
        shape = tuple(sizes[axis] if axis else size for axis, size in zip(AXES[name], fixed, strict=True))
        return shape if self.done("get_tensor_shape") else (*shape[:-1], shape[-1] + 1)

    def execute_async_v3(self, stream: int) -> bool:
        device = self.library.device
        capturing = stream in device.capturing
        managed = self.how is FakeTensorRt.ExecutionContextAllocationStrategy.USER_MANAGED
        if managed:
            device.inside(self.scratch or 0, 1)
        if not self.done("execute_async_v3") or (capturing and not (self.warm and self.done("capture"))):
            return False
        if not capturing:
            self.warm = True
            self.library.runs.append((self.engine.subgraph, self.profile, dict(self.shapes)))
        shapes, addresses = dict(self.shapes), dict(self.addresses)

        def view(name: str, shape: Sequence[int]) -> np.ndarray:
            dtype = np.dtype(TYPES[self.engine.tensors[name].type][1])
            size = math.prod(shape) * dtype.itemsize
            raw = (ctypes.c_char * size).from_address(device.inside(addresses[name], size))
            return np.frombuffer(raw, dtype).reshape(shape)

        def work() -> None:
            assert not capturing or self.shapes == shapes, "the context of a captured graph was changed"
            values = self.engine.session.run(None, {name: view(name, shape).copy() for name, shape in shapes.items()})
            for entry, value in zip(self.engine.session.get_outputs(), values, strict=True):
                view(entry.name, value.shape)[...] = value

        device.put(stream, work)
        return True


def with_engines(folder: Path, builder: str, profiles: Sequence[Profile] = PROFILES) -> Path:
    """Add engines for sm_89 to a bundle."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    (folder / "engines").mkdir()
    made = []
    for name in SUBGRAPHS:
        content = json.dumps({"subgraph": name, "profiles": [profile.axes for profile in profiles]}).encode()
        file = f"engines/{name}.{builder}.sm_89.engine"
        (folder / file).write_bytes(content)
        manifest.files[file] = FileRecord(size=len(content), sha256=hashlib.sha256(content).hexdigest())
        made.append(
            Engine(
                file=file,
                subgraph=name,
                precision="fp32",
                builder=builder,
                version=FakeTensorRt.__version__,
                target="sm_89",
                profiles=list(profiles),
                onnx_sha256=manifest.files[f"{name}.onnx"].sha256,
                products=MatmulCounts(),
            )
        )
    (folder / "manifest.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, engines=made)))
    return folder


class Setup:
    """A bundle with engines, and a backend for them on the stand-ins."""

    def __init__(self, folder: Path, builder: str) -> None:
        self.bundle = Bundle(with_engines(folder, builder))
        self.device = FakeDevice()
        self.trt = FakeTensorRt(self.device, folder)
        self.backend = TensorRtBackend(self.device, tensorrt_library.describe_library(builder, self.trt))

    def pipeline(self) -> Pipeline:
        return open_pipeline(self.bundle, self.backend)


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "trimf" / "tensorrt-rtx"


@pytest.fixture(params=BUILDERS)
def both(request: pytest.FixtureRequest, own_bundle: Path) -> Setup:
    return Setup(own_bundle, request.param)


@pytest.fixture
def plain(own_bundle: Path) -> Setup:
    return Setup(own_bundle, "tensorrt")


@pytest.fixture
def rtx(own_bundle: Path) -> Setup:
    return Setup(own_bundle, "tensorrt-rtx")


@pytest.fixture(scope="module")
def cpu(tiny_bundle: Path) -> Pipeline:
    return open_pipeline(Bundle(tiny_bundle), OnnxCpuBackend(1))


def parsed(words: Sequence[str]) -> ParsedSentence:
    return ParsedSentence(words, [max(place - 1, 0) for place in range(len(words))], ["chain"] * len(words))


def answers(pipeline: Pipeline, sentences: Sequence[Sequence[str]], batch_size: int) -> list[Any]:
    return [
        (result.found.entities, [(*relation[:4], relation.triggers.tolist()) for relation in result.found.relations])
        for result in pipeline.run([parsed(words) for words in sentences], batch_size)
    ]


WORDS = st.sampled_from(["Ann", "Bob", "Rome", "Paris", "7", "met", "in", "zz", "a" * 30])
SENTENCES = st.lists(st.lists(WORDS, max_size=40), min_size=1, max_size=14)


@pytest.mark.parametrize("builder", BUILDERS)
def test_answers_are_those_of_the_cpu(
    builder: str, cpu: Pipeline, own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(own_bundle, builder)
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
    setup = Setup(Path(shutil.copytree(parsing_bundle, tmp_path / "parsing")), builder)
    pipeline = setup.pipeline()
    seen: list[str] = []
    for call in ("synchronize", "upload", "download"):
        original = getattr(setup.device, call)
        monkeypatch.setattr(setup.device, call, lambda *given, call=call, do=original: (seen.append(call), do(*given)))
    sentences = [["met", "zz", "met"], ["in", "met"]]  # nothing to pair
    given = answers(cpu, sentences, 4)
    for _ in range(2):  # the first time, buffers are made
        seen.clear()
        assert [(one.found.entities, one.found.relations) for one in pipeline.run_words(sentences, None, 4)] == given
    assert seen.count("synchronize") == seen.count("download") == 1
    assert seen.index("download") == seen.count("upload")
    sentences = [["Ann", "met", "Bob", "in", "Rome", "7"], ["zz"] * 20, ["Bob"]]
    assert answers(pipeline, sentences, 4) == answers(cpu, sentences, 4)


def test_threads_give_the_answers_of_one(both: Setup, cpu: Pipeline) -> None:
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


def test_closing_frees_everything_and_twice_is_fine(both: Setup) -> None:
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


def test_a_closed_subgraph_frees_its_own_while_others_run_on(plain: Setup) -> None:
    graphs = plain.pipeline().graphs
    inputs = encoder_inputs()
    for name in ("encoder", "fusion"):
        inputs.update(graphs[name].run(inputs))
    assert len(plain.device.graphs) == 2
    graphs["encoder"].close()
    assert len(plain.device.graphs) == 1
    assert np.asarray(inputs["nodes"]).shape == (1, 2, 4)


def test_closing_waits_for_the_threads_that_run(both: Setup) -> None:
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


def test_a_backend_opens_again_after_it_was_closed(both: Setup, cpu: Pipeline) -> None:
    for _ in range(2):
        pipeline = both.pipeline()
        assert answers(pipeline, [["Ann", "in", "Rome"]], 1) == answers(cpu, [["Ann", "in", "Rome"]], 1)
        for graph in pipeline.graphs.values():
            graph.close()
        assert both.device.empty


def test_batches_run_in_the_first_profile_that_holds_them(both: Setup) -> None:
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


def test_a_batch_too_large_for_the_engine(both: Setup) -> None:
    with pytest.raises(BackendError, match=r"batch must be 1 to 12 for \S+ \(profile throughput\), got 13"):
        answers(both.pipeline(), [["Ann"]] * 13, 13)


def test_a_bucket_is_captured_once_and_then_launched(plain: Setup, cpu: Pipeline) -> None:
    pipeline, device = plain.pipeline(), plain.device
    long, short = [["Ann", "met", "Bob", "in", "Rome"] * 4], [["Bob"]]
    answers(pipeline, long, 1)
    assert (device.captures, device.launches) == (4, 0)
    answers(pipeline, short, 1)
    captured, runs = device.captures, len(plain.trt.runs)
    for sentences in (long, short, long, [["Kim"]]):
        assert answers(pipeline, sentences, 1) == answers(cpu, sentences, 1)
    assert device.captures == captured
    assert len(plain.trt.runs) == runs
    assert device.launches > 8


def test_graphs_are_captured_anew_when_memory_moves(plain: Setup, cpu: Pipeline) -> None:
    pipeline, device = plain.pipeline(), plain.device
    for count in (1, 12, 1, 1):
        sentences = [["Ann", "met", "Bob"]] * count
        assert answers(pipeline, sentences, 12) == answers(cpu, sentences, 12)
    assert len(device.graphs) < device.captures
    assert device.launches == 4


def test_the_library_with_graphs_of_its_own_captures_them(rtx: Setup) -> None:
    pipeline = rtx.pipeline()
    for count in (1, 2, 3, 4):
        answers(pipeline, [["Ann", "met", "Bob"]] * count, 4)
    assert rtx.device.captures == 0
    strategy = FakeTensorRt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert {context.how.cuda_graph_strategy for context in rtx.trt.contexts} == {strategy}
    assert len(rtx.trt.contexts) <= 8  # of four subgraphs with two profiles


@pytest.mark.parametrize("where", ["library", "device"])
def test_without_capture_it_runs_all_the_same(
    where: str, plain: Setup, cpu: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    (plain.trt.fail if where == "library" else plain.device.fail).add(
        "capture" if where == "library" else "begin_capture"
    )
    pipeline = plain.pipeline()
    for _ in range(2):
        assert answers(pipeline, [["Ann", "met", "Bob"]], 1) == answers(cpu, [["Ann", "met", "Bob"]], 1)
    assert not any(graph.graphs for graph in pipeline.graphs.values())
    assert caplog.text.count("runs without CUDA graphs") == 4
    assert plain.device.launches == 0


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
def test_a_failing_call_of_the_library(both: Setup, call: str) -> None:
    pipeline = both.pipeline()
    both.trt.fail.add(call)
    with pytest.raises(BackendError, match=rf"^TensorRT.* 10\.9\.8\.7: {call}.* failed for engines/encoder"):
        answers(pipeline, [["Ann"]], 1)
    for graph in pipeline.graphs.values():
        graph.close()
    assert both.device.empty


@pytest.mark.parametrize("call", ["create_runtime_config", "set_runtime_cache"])
def test_a_failing_call_of_the_rtx_library(rtx: Setup, call: str) -> None:
    pipeline = rtx.pipeline()
    rtx.trt.fail.add(call)
    with pytest.raises(BackendError, match=f"{call} failed for engines/encoder"):
        answers(pipeline, [["Ann"]], 1)


@pytest.mark.parametrize("call", ["malloc", "stream", "upload", "download", "synchronize", "launch"])
def test_a_failing_call_of_the_device(plain: Setup, call: str) -> None:
    pipeline = plain.pipeline()
    if call == "launch":
        answers(pipeline, [["Ann"]], 1)
    plain.device.fail.add(call)
    with pytest.raises(BackendError, match=f"{call} failed"):
        answers(pipeline, [["Ann"]], 1)
    plain.device.fail.clear()
    assert answers(pipeline, [["Ann"]], 1)
    for graph in pipeline.graphs.values():
        graph.close()
    assert plain.device.empty


def test_an_engine_that_cannot_be_read(both: Setup) -> None:
    both.trt.fail.add("deserialize_cuda_engine")
    with pytest.raises(BackendError, match=r"deserialize_cuda_engine failed for engines/encoder\S+: no magic in"):
        both.pipeline()


def test_an_engine_that_the_library_refuses(rtx: Setup, caplog: pytest.LogCaptureFixture) -> None:
    rtx.trt.validity = "SUBOPTIMAL"
    rtx.pipeline()
    assert "may run slowly: UNSUPPORTED_CC" in caplog.text
    rtx.trt.validity = "INVALID"
    with pytest.raises(BackendError, match=r"rejects engines/encoder\S+: UNSUPPORTED_CC; run `trimf compile`"):
        rtx.pipeline()


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (PROFILES[:1], r"number of profiles is 2, expected 1"),
        (
            [PROFILES[0], Profile(name="throughput", axes={**LATENCY, "batch": (1, 4, 64)})],
            r"batch of input_ids in profile throughput is \(1, 4, 12\), expected \(1, 4, 64\)",
        ),
        (
            [PROFILES[0], Profile(name="throughput", axes={"batch": (1, 4, 12)})],
            r"subwords of input_ids in profile throughput is \(3, 16, 80\), expected None",
        ),
    ],
)
def test_an_engine_that_is_not_what_the_manifest_says(both: Setup, stated: list[Profile], message: str) -> None:
    engines = [msgspec.structs.replace(engine, profiles=stated) for engine in both.bundle.manifest.engines]
    both.bundle.manifest = msgspec.structs.replace(both.bundle.manifest, engines=engines)
    with pytest.raises(BackendError, match=message):
        both.pipeline()


def encoder_inputs(batch: int = 1) -> dict[str, Any]:
    return {
        "input_ids": np.ones((batch, 5), np.int64),
        "attention_mask": np.ones((batch, 5), np.int64),
        "pieces": np.ones((batch, 2, 1), np.int64),
        "word_mask": np.ones((batch, 2), np.bool_),
        "heads": np.zeros((batch, 2), np.int64),
        "labels": np.zeros((batch, 2), np.int64),
    }


def test_outputs_have_their_real_shape_and_can_be_read_until_they_are_computed_again(both: Setup) -> None:
    encoder = both.pipeline().graphs["encoder"]
    words = encoder.run(encoder_inputs(3))["words"]
    assert words.shape == (3, 2, 4)
    assert np.asarray(words).shape == (3, 2, 4)
    assert np.array(words, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="cannot be read without a copy"):
        np.asarray(words, copy=False)
    encoder.run(encoder_inputs(1))
    with pytest.raises(BackendError, match=r"words is no longer valid: .* copy it with numpy\.asarray before"):
        np.asarray(words)


def test_memory_does_not_move_under_work_that_is_not_done(both: Setup) -> None:
    encoder = both.pipeline().graphs["encoder"]
    for batch in (1, 3, 12):
        words = encoder.run(encoder_inputs(batch))["words"]
    assert np.asarray(words).shape == (12, 2, 4)


def test_what_was_freed_cannot_be_read(both: Setup) -> None:
    graphs = both.pipeline().graphs
    words = graphs["encoder"].run(encoder_inputs())["words"]
    for graph in graphs.values():
        graph.close()
    with pytest.raises(BackendError, match="words is no longer valid"):
        np.asarray(words)


def test_an_array_of_another_thread(both: Setup) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs()
    inputs.update(graphs["encoder"].run(inputs))
    raised: list[BackendError] = []

    def work() -> None:
        with pytest.raises(BackendError, match=r"words belongs to another thread") as error:
            graphs["fusion"].run(inputs)
        raised.append(error.value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised


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
def test_inputs_that_do_not_fit(both: Setup, change: Mapping[str, Any], message: str) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs()
    inputs.update(graphs["encoder"].run(inputs))
    with pytest.raises(BackendError, match=message):
        graphs["fusion"].run({**inputs, **change})


def test_host_arrays_are_taken_too(both: Setup) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs(2)
    inputs.update(graphs["encoder"].run(inputs))
    expected = np.asarray(graphs["fusion"].run(inputs)["nodes"])
    inputs.update(graphs["encoder"].run(inputs))
    inputs.update({name: np.asarray(inputs[name]) for name in ("words", "cls")})
    np.testing.assert_array_equal(np.asarray(graphs["fusion"].run(inputs)["nodes"]), expected)


def test_device_arrays_padded_otherwise_than_each_other(both: Setup) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs()
    inputs.update(graphs["encoder"].run(inputs))
    inputs["cls"].padded = (8, 4)
    with pytest.raises(BackendError, match="padding of axis 'batch': cls is padded to 8, another input to 1"):
        graphs["fusion"].run(inputs)


def test_bf16_does_not_come_to_the_host() -> None:
    device = FakeDevice()
    workspace = Workspace(device)
    buffer = Buffer()
    nodes = CudaArray("nodes", buffer, workspace, (1, 16, 4), {"batch": 1, "words": 2}, None, "BF16")
    assert nodes.shape == (1, 2, 4)
    with pytest.raises(
        BackendError, match="nodes has type BF16, which numpy does not support; it can only be passed to a subgraph"
    ):
        np.asarray(nodes)


def test_uploads_that_nobody_waits_for_do_not_pile_up() -> None:
    device = FakeDevice()
    workspace = Workspace(device)
    for _ in range(3 * cuda_memory.MAX_CACHED):
        workspace.upload("heads", np.zeros((1, 16), np.int64))
        assert len(device.streams[workspace.stream]) <= cuda_memory.MAX_CACHED
    workspace.close()
    assert device.empty


@pytest.fixture
def closing(rtx: Setup) -> Iterator[Callable[[], None]]:
    def run_and_close() -> None:
        pipeline = rtx.pipeline()
        answers(pipeline, [["Ann"]], 1)
        for graph in pipeline.graphs.values():
            graph.close()

    return run_and_close


def test_compiled_kernels_are_kept_for_the_next_start(
    rtx: Setup, own_caches: Path, closing: Callable[[], None]
) -> None:
    closing()
    assert rtx.trt.caches == []
    files = sorted(own_caches.iterdir())
    assert len(files) == 4
    assert all(path.name.endswith(".sm_89.10.9.8.7") and path.read_bytes() == b"kernels 2" for path in files)
    closing()
    assert rtx.trt.caches == [b"kernels 2"] * 4
    times = [path.stat().st_mtime_ns for path in files]
    closing()
    assert times == [path.stat().st_mtime_ns for path in files]


def test_kernels_of_another_driver_are_replaced(own_caches: Path, closing: Callable[[], None]) -> None:
    closing()
    for path in own_caches.iterdir():
        path.write_bytes(b"old")
    closing()
    assert {path.read_bytes() for path in own_caches.iterdir()} == {b"kernels 2"}


def test_a_cache_folder_that_cannot_be_written(
    own_caches: Path, closing: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    own_caches.parent.parent.mkdir(parents=True)
    own_caches.parent.write_text("a file")
    with caplog.at_level(logging.WARNING, "trimf.tensorrt"):
        closing()
    assert caplog.text.count("cannot save compiled kernels") == 4


def test_kernels_are_kept_though_nobody_closes(rtx: Setup, own_caches: Path) -> None:
    encoder = rtx.backend.open("encoder", rtx.bundle)
    del encoder
    assert len(list(own_caches.iterdir())) == 1


def test_the_real_rtx_library_refuses_what_is_no_engine(own_bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="the wheels of TensorRT for RTX are not installed")
    library = tensorrt_library.import_library("tensorrt-rtx")
    bundle = Bundle(with_engines(own_bundle, "tensorrt-rtx"))
    engines = [msgspec.structs.replace(engine, version=library.version) for engine in bundle.manifest.engines]
    bundle.manifest = msgspec.structs.replace(bundle.manifest, engines=engines)
    with pytest.raises(BackendError, match=r"^TensorRT for RTX \S+ rejects engines/encoder\S+: MALFORMED_ENGINE"):
        TensorRtBackend(FakeDevice(), library).open("encoder", bundle)

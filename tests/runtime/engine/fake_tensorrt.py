"""Stand-ins for TensorRT and for the device: memory is the host's, engines run their ONNX file.

The stand-in device is as lazy as a real one: work on a stream is done when the stream is synchronized, not before.
"""

import ctypes
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnxruntime

from trimf.export.model_joining import join_models
from trimf.runtime.bundle.manifest import Engine, FileRecord, Manifest, MatmulCounts, Profile
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import tensorrt_library
from trimf.runtime.engine.contract import AXES, JOINED, JOINED_PARTS, SUBGRAPHS
from trimf.runtime.engine.engine_selection import hash_sources
from trimf.runtime.engine.tensorrt_backend import TensorRtBackend
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

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

    name, target, total_memory = "Fake GPU", "sm_89", 1 << 30

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = self.captures = self.mallocs = self.uploads = self.downloads = 0
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

    def create_stream(self) -> int:
        self._may_fail("create_stream")
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

    def destroy_stream(self, stream: int) -> None:
        assert not self.streams.pop(stream)

    def upload(self, array: np.ndarray, address: int, stream: int) -> None:
        self._may_fail("upload")
        self.uploads += 1
        size, source = array.nbytes, array.ctypes.data  # no reference: whoever uploads must keep the array
        self.put(stream, lambda: ctypes.memmove(self.inside(address, size), source, size))

    def download(self, address: int, array: np.ndarray, stream: int) -> None:
        self._may_fail("download")
        self.downloads += 1
        self.put(stream, lambda: ctypes.memmove(array.ctypes.data, self.inside(address, array.nbytes), array.nbytes))

    def inside(self, address: int, size: int) -> int:
        """Return an address if these bytes lie in one block."""
        start = max((block for block in list(self.blocks) if block <= address), default=0)
        assert start
        assert address + size <= start + len(self.blocks[start])
        return address

    def begin_capture(self, stream: int) -> None:
        self._may_fail("begin_capture")
        self.capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        graph = next(self._handles)
        self.graphs[graph] = self.capturing.pop(stream)
        self.captures += 1
        return graph

    def launch_graph(self, graph: int, stream: int) -> None:
        self._may_fail("launch_graph")
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

    LayerInformationFormat = named("ONELINE", "JSON")

    class ILogger:
        pass

    class IProfiler:
        pass

    def __init__(self, device: FakeDevice, onnx: Path) -> None:
        self.device, self.onnx = device, onnx
        self.fail: set[str] = set()
        self.validity = "VALID"
        self.contexts: list[FakeContext] = []
        self.runs: list[tuple[str, int, dict[str, tuple[int, ...]]]] = []
        self.caches: list[bytes] = []
        #: Name and type of the layers of every engine; their times are 1 ms, 2 ms and so on.
        self.layers: list[Any] = [{"Name": "mm", "LayerType": "gemm"}, {"Name": "norm", "LayerType": "kgen"}, "copy"]

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


def read_model(folder: Path, name: str) -> bytes:
    """The ONNX model of an engine."""
    if name == JOINED:
        return join_models({part: read_model(folder, part) for part in JOINED_PARTS})
    return (folder / f"{name}.onnx").read_bytes()


class FakeEngine:
    def __init__(self, library: FakeTensorRt, content: Any) -> None:
        self.library, self.subgraph, self.profiles = library, content["subgraph"], content["profiles"]
        self.session = onnxruntime.InferenceSession(read_model(library.onnx, self.subgraph))
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

    def create_engine_inspector(self) -> Any:
        text = json.dumps({"Layers": self.library.layers})
        return SimpleNamespace(get_engine_information=lambda how: text if how.name == "JSON" else "")

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
        self.profiler: Any = None
        self.enqueue_emits_profile = True
        self.unreported = 0

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

    def report_to_profiler(self) -> bool:
        """Report the layers of the last run, which must have ended."""
        if not self.done("report_to_profiler") or self.profiler is None or not self.unreported:
            return False
        assert not any(self.library.device.streams.values())
        self.unreported = 0
        for place, layer in enumerate(self.library.layers, start=1):
            self.profiler.report_layer_time(layer if isinstance(layer, str) else layer["Name"], float(place))
        return True

    def execute_async_v3(self, stream: int) -> bool:
        device = self.library.device
        assert self.profiler is None or not self.enqueue_emits_profile
        assert not self.unreported, "the times of a run were lost"
        self.unreported += self.profiler is not None
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


def with_engines(
    folder: Path, builder: str, profiles: Sequence[Profile] = PROFILES, names: Sequence[str] = SUBGRAPHS
) -> Path:
    """Add engines for sm_89 to a bundle."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    (folder / "engines").mkdir()
    made = []
    for name in names:
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
                onnx_sha256=hash_sources(name, manifest.files),
                products=MatmulCounts(),
            )
        )
    (folder / "manifest.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, engines=made)))
    return folder


class EngineSetup:
    """A bundle with engines, and a backend for them on the stand-ins."""

    def __init__(self, folder: Path, builder: str, names: Sequence[str] = SUBGRAPHS) -> None:
        self.bundle = Bundle(with_engines(folder, builder, names=names))
        self.device = FakeDevice()
        self.trt = FakeTensorRt(self.device, folder)
        self.backend = TensorRtBackend(self.device, tensorrt_library.describe_library(builder, self.trt))

    def pipeline(self, **options: Any) -> Pipeline:
        return open_pipeline(self.bundle, self.backend, **options)


def parsed(words: Sequence[str]) -> ParsedSentence:
    return ParsedSentence(words, [max(place - 1, 0) for place in range(len(words))], ["chain"] * len(words))


def answers(pipeline: Pipeline, sentences: Sequence[Sequence[str]], batch_size: int) -> list[Any]:
    return [
        (
            result.decoded.entities,
            [(*relation[:4], relation.trigger_weights.tolist()) for relation in result.decoded.relations],
        )
        for result in pipeline.run([parsed(words) for words in sentences], batch_size)
    ]


def encoder_inputs(batch: int = 1) -> dict[str, Any]:
    return {
        "input_ids": np.ones((batch, 5), np.int64),
        "attention_mask": np.ones((batch, 5), np.int64),
        "pieces": np.ones((batch, 2, 1), np.int64),
        "word_mask": np.ones((batch, 2), np.bool_),
        "heads": np.zeros((batch, 2), np.int64),
        "labels": np.zeros((batch, 2), np.int64),
    }

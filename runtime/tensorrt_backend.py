"""A bundle's own engines on NVIDIA's TensorRT or TensorRT for RTX: tensors stay on the device between subgraphs."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import buckets, engines
from .backend import AXES, SUBGRAPHS, Files
from .cuda import Device
from .cuda_memory import DeviceArray, Workspace, Workspaces
from .errors import BackendError
from .files import atomic_path
from .manifest import Builder, Engine
from .tensorrt_library import Library, cache_folder, find

_LOG = logging.getLogger("trimf.tensorrt")

#: Libraries in the order they are tried: an engine tuned on the device itself first.
_BUILDERS: tuple[Builder, ...] = ("tensorrt", "tensorrt-rtx")

#: Types of an engine's tensors as numpy has them.
_DTYPES: dict[str, type[np.generic] | None] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "BF16": None,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}

_BYTES = {kind: 2 if dtype is None else np.dtype(dtype).itemsize for kind, dtype in _DTYPES.items()}


def open_native(files: Files, reason: str | None = None) -> TensorRtBackend:
    """The backend of the library for which the bundle has all four engines; ``reason`` is why it was taken.

    Raises:
        BackendError: there is no device, no library, or no engines that fit both.
    """
    built = {engine.builder for engine in files.manifest.engines}
    if not built:
        raise BackendError(f"{files.path} has no engines; run `trimf compile {files.path}` or use backend cuda")
    device = Device()
    problems = []
    for builder in _BUILDERS:
        if builder not in built:
            continue
        try:
            library = find(builder)
            for name in SUBGRAPHS:
                engines.choose(files, name, device.target, builder, library.version)
        except BackendError as error:
            problems.append(str(error))
            continue
        return TensorRtBackend(device, library, reason or f"engines for {device.target} fit this {device.name}")
    raise BackendError("; ".join(problems))


class TensorRtBackend:
    """Runs engines of one library on one device; any number of threads may run its subgraphs at once."""

    name = "tensorrt"

    def __init__(self, device: Device, library: Library, reason: str = "asked for") -> None:
        self.device, self.library, self.reason = device, library, reason
        self.workspaces = Workspaces(device)
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def open(self, name: str, files: Files) -> TensorRtSubgraph:
        """Load the engine of a subgraph.

        Raises:
            BackendError: no engine fits this device and library, or the library refuses the one that should.
            BundleError: the engine's file is damaged.
        """
        entry = engines.choose(files, name, self.device.target, self.library.name, self.library.version)
        subgraph = TensorRtSubgraph(self, entry, files.read(entry.file))
        with self._lock:
            self._open.add(id(subgraph))
        return subgraph

    def closed(self, subgraph: TensorRtSubgraph) -> None:
        """A subgraph was closed; with the last one goes the memory that they shared."""
        with self._lock:
            self._open.discard(id(subgraph))
            if not self._open:
                self.workspaces.close()


class TensorRtSubgraph:
    """One engine. Batches are padded to buckets within a profile; outputs are :class:`DeviceArray` objects.

    Attributes:
        graphs: whether runs are captured as CUDA graphs; False once the library could not do it, which is logged.
    """

    def __init__(self, backend: TensorRtBackend, entry: Engine, content: bytes) -> None:
        self._backend, self.entry = backend, entry
        self.library, self.device = backend.library, backend.device
        self.graphs = True
        self._closed = False
        self._closing, self._making = threading.Lock(), threading.Lock()
        # The library asks that an engine's runtime outlive it.
        self._runtime: Any = self.library.module.Runtime(self.library.logger)
        self.engine: Any = self._deserialize(content)
        names = [self.engine.get_tensor_name(place) for place in range(self.engine.num_io_tensors)]
        modes = {name: self.engine.get_tensor_mode(name).name for name in names}
        self.inputs = tuple(name for name in names if modes[name] == "INPUT")
        self._shapes = {name: tuple(self.engine.get_tensor_shape(name)) for name in names}
        self.kinds = {name: self.engine.get_tensor_dtype(name).name for name in names}
        self._verify()
        self.types = {name: _DTYPES[kind] for name, kind in self.kinds.items()}
        self.outputs = {
            name: tuple(None if size < 0 else size for size in self._shapes[name])
            for name in names
            if modes[name] == "OUTPUT"
        }
        self.cache = _RuntimeCache(self, content) if self.library.runtime_cache else None

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output from arrays on the host, or on the device as a subgraph of this backend gave them.

        Raises:
            BackendError: the subgraph is closed, an input has the wrong type or shape or is too large for the engine,
                or the library or the device reports an error.
        """
        workspace = self._backend.workspaces.own()
        with workspace.lock:
            if self._closed:
                raise BackendError(f"{self.entry.file} is closed; load the bundle again")
            real = buckets.sizes(arrays, self.inputs)
            profile, padded = self._bucket(arrays, real)
            shapes = {name: buckets.shape(name, padded, self._shapes[name]) for name in self._shapes}
            addresses = {name: self._place(workspace, name, arrays[name], shapes[name], padded) for name in self.inputs}
            outputs = {
                name: workspace.buffer(name, math.prod(shapes[name]) * _BYTES[self.kinds[name]])
                for name in self.outputs
            }
            addresses.update((name, buffer.address) for name, buffer in outputs.items())
            self._runner(workspace, profile, padded).run(workspace, shapes, addresses)
            return {
                name: DeviceArray(
                    name, buffer, workspace, shapes[name], real, _DTYPES[self.kinds[name]], self.kinds[name]
                )
                for name, buffer in outputs.items()
            }

    def close(self) -> None:
        """Free the engine and what threads hold for it; a second time there is nothing left to free."""
        with self._closing:
            if self._closed:
                return
            self._closed = True  # before the locks: a run that did not see it is waited for
            for workspace in self._backend.workspaces.every():
                with workspace.lock:
                    workspace.release(lambda key: isinstance(key, tuple) and key[0] == id(self))
            if self.cache:
                self.cache.save()
            self.cache = self.engine = self._runtime = None
        self._backend.closed(self)

    def check(self, done: bool, call: str, tensor: str = "") -> None:
        """Refuse to go on after a call of the library that failed.

        Raises:
            BackendError: it did.
        """
        if not done:
            of = f" of {tensor}" if tensor else ""
            raise BackendError(f"{self.library.title}: {call}{of} failed for {self.entry.file}: {self._said()}")

    def _said(self) -> str:
        return self.library.last_error() or "it gave no reason"

    def _bucket(self, arrays: Mapping[str, Any], real: Mapping[str, int]) -> tuple[int, dict[str, int]]:
        """The profile for a batch, and the sizes to pad it to; what lies on the device is padded already."""
        kept: dict[str, int] = {}
        for name in self.inputs:
            if isinstance(arrays[name], DeviceArray):
                for axis, size in zip(AXES[name], arrays[name].padded, strict=True):
                    if axis and kept.setdefault(axis, size) != size:
                        raise BackendError(f"{name} is padded to {size} {axis}, another input to {kept[axis]}")
        profile = engines.profile_for(self.entry, real, kept)
        axes = self.entry.profiles[profile].axes
        limits = {axis: axes[axis][2] for axis in real}
        return profile, {
            axis: kept.get(axis, max(size, axes[axis][0])) for axis, size in buckets.buckets(real, limits).items()
        }

    def _place(
        self, workspace: Workspace, name: str, array: Any, shape: tuple[int, ...], padded: Mapping[str, int]
    ) -> int:
        """The address of an input on the device."""
        on_device = isinstance(array, DeviceArray)
        array = array if on_device else np.asarray(array)
        same = array.kind == self.kinds[name] if on_device else array.dtype == _DTYPES[self.kinds[name]]
        if not same:
            given = array.kind if on_device else array.dtype
            raise BackendError(f"{name} is {given}, but {self.entry.file} takes {self.kinds[name]}")
        found = array.padded if on_device else buckets.shape(name, padded, array.shape)
        if found != shape:
            raise BackendError(f"{name} has shape {list(found)}, but {self.entry.file} takes {list(shape)}")
        if on_device:
            return int(array.address(workspace))
        return workspace.upload(name, buckets.pad(array, name, padded))

    def _runner(self, workspace: Workspace, profile: int, padded: Mapping[str, int]) -> _Runner:
        own = self.library.own_cuda_graphs
        # A captured graph is bound to the state of its execution context, so each bucket has its own.
        key = (id(self), profile, *(() if own else sorted(padded.items())))

        def make() -> _Runner:
            with self._making:
                return (_Runner if own else _CapturingRunner)(self, workspace, profile)

        return workspace.held(key, make)

    def _deserialize(self, content: bytes) -> Any:
        if self.library.engine_validity:
            validity, diagnostics = self._runtime.get_engine_validity(content)
            causes = [
                name
                for name, cause in self.library.module.EngineInvalidityDiagnostics.__members__.items()
                if int(diagnostics) & int(cause.value)
            ]
            if validity.name == "INVALID":
                refusal = f"{self.library.title} refuses {self.entry.file}: {', '.join(causes) or self._said()}"
                raise BackendError(f"{refusal}; run `trimf compile` here or use backend cuda")
            if validity.name == "SUBOPTIMAL":
                _LOG.warning("%s runs slower than it could here: %s", self.entry.file, ", ".join(causes))
        engine = self._runtime.deserialize_cuda_engine(content)
        self.check(engine is not None, "deserialize_cuda_engine")
        return engine

    def _verify(self) -> None:
        """Refuse an engine whose tensors or profiles are not what the runtime and the manifest say."""
        engine, profiles = self.engine, self.entry.profiles
        self._expect("number of profiles", engine.num_optimization_profiles, len(profiles))
        for name, shape in self._shapes.items():
            if name not in AXES or self.kinds[name] not in _DTYPES:
                raise BackendError(f"{self.entry.file}: tensor {name} of {self.kinds[name]} is not known")
            self._expect(f"{name}'s location", engine.get_tensor_location(name).name, "DEVICE")
            named = tuple(axis is not None for axis in AXES[name])
            self._expect(f"{name}'s dynamic axes", tuple(size < 0 for size in shape), named)
            for place, profile in enumerate(profiles if name in self.inputs else ()):
                found = zip(*engine.get_tensor_profile_shape(name, place), strict=True)
                for axis, limits in zip(AXES[name], found, strict=True):
                    if axis is not None:
                        self._expect(f"{name}'s {axis} in profile {profile.name}", limits, profile.axes.get(axis))

    def _expect(self, what: str, found: Any, stated: Any) -> None:
        if found != stated:
            raise BackendError(
                f"{self.entry.file}: {what} is {found}, but should be {stated}; run `trimf compile` again"
            )


class _Runner:
    """An execution context of one thread and one profile; the library captures its CUDA graphs by itself."""

    def __init__(self, subgraph: TensorRtSubgraph, workspace: Workspace, profile: int) -> None:
        self.subgraph = subgraph
        self.context: Any = self._create()
        subgraph.check(self.context is not None, "create_execution_context")
        chosen = self.context.set_optimization_profile_async(profile, workspace.stream)
        subgraph.check(chosen, "set_optimization_profile_async")

    def run(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Put one batch on the thread's stream; inputs and outputs have those padded shapes and lie there."""
        self._bind(shapes, addresses)
        self._execute(workspace)

    def close(self) -> None:
        """Free the context."""
        self.context = None

    def _create(self) -> Any:
        subgraph = self.subgraph
        config = subgraph.engine.create_runtime_config()
        subgraph.check(config is not None, "create_runtime_config")
        config.cuda_graph_strategy = subgraph.library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if subgraph.cache:
            subgraph.check(config.set_runtime_cache(subgraph.cache.cache), "set_runtime_cache")
        return subgraph.engine.create_execution_context(config)

    def _bind(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        context, check = self.context, self.subgraph.check
        for name in self.subgraph.inputs:
            check(context.set_input_shape(name, shapes[name]), "set_input_shape", name)
        for name, address in addresses.items():
            check(context.set_tensor_address(name, address), "set_tensor_address", name)
        for name in self.subgraph.outputs:  # the library would write past the end of a buffer that is too small
            found = tuple(context.get_tensor_shape(name))
            check(found == shapes[name], f"get_tensor_shape (it says {found}, not {shapes[name]})", name)

    def _execute(self, workspace: Workspace) -> None:
        self.subgraph.check(self.context.execute_async_v3(workspace.stream), "execute_async_v3")


class _CapturingRunner(_Runner):
    """An execution context of one thread and one bucket, and from its second run on the CUDA graph of the first."""

    def __init__(self, subgraph: TensorRtSubgraph, workspace: Workspace, profile: int) -> None:
        super().__init__(subgraph, workspace, profile)
        self._scratch = int(subgraph.engine.get_device_memory_size_for_profile_v2(profile))
        self._graph: int | None = None
        self._captured: dict[str, int] = {}

    def run(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """See :meth:`_Runner.run`."""
        device, stream = workspace.device, workspace.stream
        scratch = workspace.buffer("scratch", self._scratch).address
        used = {"scratch": scratch, **addresses}
        if self._graph is not None and self._captured == used:
            device.launch(self._graph, stream)
            return
        self._drop()  # a buffer has grown since, and lies elsewhere
        self.context.set_device_memory(scratch, self._scratch)
        self._bind(shapes, addresses)
        self._execute(workspace)  # warm: new shapes make the library prepare what cannot be captured
        if self.subgraph.graphs:
            self._capture(workspace)
            self._captured = used

    def close(self) -> None:
        """Free the context and its graph."""
        self._drop()
        super().close()

    def _create(self) -> Any:
        # Contexts of a thread never run at once, so they share the memory for what they compute on the way.
        strategy = self.subgraph.library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        return self.subgraph.engine.create_execution_context(strategy)

    def _capture(self, workspace: Workspace) -> None:
        device, stream = workspace.device, workspace.stream
        try:
            device.begin_capture(stream)
            try:
                self._execute(workspace)
            finally:
                graph = device.end_capture(stream)
        except BackendError as error:
            self.subgraph.graphs = False
            _LOG.warning("%s runs without CUDA graphs, which is slower: %s", self.subgraph.entry.file, error)
        else:
            self._graph = graph

    def _drop(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self.subgraph.device.free_graph(graph)


class _RuntimeCache:
    """Kernels that TensorRT for RTX compiled for this device, kept between processes in the user's cache folder."""

    def __init__(self, subgraph: TensorRtSubgraph, content: bytes) -> None:
        library = subgraph.library
        self._config = subgraph.engine.create_runtime_config()
        self.cache: Any = self._config.create_runtime_cache()
        subgraph.check(self.cache is not None, "create_runtime_cache")
        engine = hashlib.sha256(content).hexdigest()
        path = cache_folder() / library.name / f"{engine}.{subgraph.device.target}.{library.version}"
        known = path.read_bytes() if path.is_file() else b""
        if known and not self.cache.deserialize(known):
            _LOG.info("%s is of another driver or device; its kernels are compiled anew", path)
        # Also when nobody closes the extractor: at the end of the process at the latest.
        self.save = weakref.finalize(self, _save, self.cache, path, known)


def _save(cache: Any, path: Path, known: bytes) -> None:
    """Keep a cache that has become another; a folder that cannot be written costs only the next start's time."""
    content = bytes(cache.serialize() or b"")
    if content in (b"", known):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        _LOG.warning("%s: compiled kernels cannot be kept: %s", path, error)

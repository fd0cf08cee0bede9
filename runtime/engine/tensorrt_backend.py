"""Run the engines of a bundle with TensorRT or TensorRT for RTX; tensors stay on the device between subgraphs."""

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

from ..bundle.manifest import Builder, Engine
from ..errors import BackendError, InputError
from ..files.atomic import atomic_path
from . import buckets
from .backend import BundleFiles
from .cache import CACHE_WAIT_SECONDS, user_cache_folder
from .contract import AXES, SUBGRAPHS
from .cuda import CudaDevice
from .cuda_memory import CudaArray, Workspace, Workspaces
from .engine_selection import select_engine, select_profile
from .tensorrt_library import TensorRtLibrary, import_library

_LOG = logging.getLogger("trimf.tensorrt")

#: Libraries in the order they are tried; TensorRT comes first, because its engines are tuned on the device itself.
_BUILDERS: tuple[Builder, ...] = ("tensorrt", "tensorrt-rtx")

#: TensorRT's name of an element type -> numpy type; None for bfloat16, which numpy lacks.
_DTYPES: dict[str, type[np.generic] | None] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "BF16": None,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}

#: TensorRT's name of an element type -> size of an element in bytes.
_ITEM_SIZES = {kind: 2 if dtype is None else np.dtype(dtype).itemsize for kind, dtype in _DTYPES.items()}


def open_tensorrt(files: BundleFiles, reason: str | None = None) -> TensorRtBackend:
    """Open the backend of the library for which the bundle has engines of all subgraphs.

    Args:
        files: The bundle.
        reason: Why the backend was selected, for display; by default that the engines match the device.

    Raises:
        BackendError: If there is no device, no library, or no set of engines that fits both.
    """
    builders = {engine.builder for engine in files.manifest.engines}
    if not builders:
        raise BackendError(f"{files.path} has no engines; run `trimf compile {files.path}` or use the cuda backend")
    device = CudaDevice()
    problems = []
    for builder in _BUILDERS:
        if builder not in builders:
            continue
        try:
            library = import_library(builder)
            for name in SUBGRAPHS:
                select_engine(files, name, device.target, builder, library.version)
        except BackendError as error:
            problems.append(str(error))
            continue
        return TensorRtBackend(device, library, reason or f"the bundle has {device.target} engines for {device.name}")
    raise BackendError("; ".join(problems))


class TensorRtBackend:
    """Backend for the engines of one library on one device; any number of threads may run its subgraphs at once.

    Args:
        device: The CUDA device.
        library: The library.
        reason: Why this backend was selected, for display.

    Attributes:
        workspaces: Streams and buffers of the threads that run subgraphs.
    """

    name = "tensorrt"

    def __init__(self, device: CudaDevice, library: TensorRtLibrary, reason: str = "requested") -> None:
        self.device, self.library, self.reason = device, library, reason
        self.workspaces = Workspaces(device)
        self._open_subgraphs: set[int] = set()
        self._lock = threading.Lock()

    def open(self, name: str, files: BundleFiles) -> TensorRtSubgraph:
        """Load the engine of a subgraph.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: If no engine fits this device and library, or the library rejects the engine.
            BundleError: If the engine's file is damaged.
        """
        entry = select_engine(files, name, self.device.target, self.library.name, self.library.version)
        subgraph = TensorRtSubgraph(self, entry, files.read(entry.file))
        with self._lock:
            self._open_subgraphs.add(id(subgraph))
        return subgraph

    def release_subgraph(self, subgraph: TensorRtSubgraph) -> None:
        """Record that a subgraph was closed; closing the last one frees the memory that all of them share."""
        with self._lock:
            self._open_subgraphs.discard(id(subgraph))
            if not self._open_subgraphs:
                self.workspaces.close()


class TensorRtSubgraph:
    """Engine of one subgraph. Batches are padded to buckets within a profile; outputs are ``CudaArray`` objects.

    Attributes:
        manifest_entry: The engine's entry in the manifest.
        file: Name of the engine file.
        library: Library that runs the engine.
        device: Device that runs the engine.
        uses_cuda_graphs: True if runs are captured as CUDA graphs; set to False, with a warning, when a capture fails.
        engine: The engine as an object of the library.
        inputs: Names of the inputs.
        element_types: Name of an input or output -> TensorRT's name of its element type.
        types: Name of an input or output -> numpy type; None for bfloat16.
        outputs: Name of an output -> shape, with None for axes whose size depends on the inputs.
        runtime_cache: Cache of compiled kernels; None if the library has no such cache.
    """

    def __init__(self, backend: TensorRtBackend, manifest_entry: Engine, content: bytes) -> None:
        """Load an engine.

        Args:
            backend: Backend that opens the subgraph.
            manifest_entry: The engine's entry in the manifest.
        file: Name of the engine file.
            content: Content of the engine file.

        Raises:
            BackendError: If the library rejects the engine, or it differs from its entry.
        """
        self._backend, self.manifest_entry, self.file = backend, manifest_entry, manifest_entry.file
        self.library, self.device = backend.library, backend.device
        self.uses_cuda_graphs = True
        self._closed = False
        self._close_lock, self._runner_lock = threading.Lock(), threading.Lock()
        # The library requires that the runtime of an engine outlives the engine.
        self._runtime: Any = self.library.module.Runtime(self.library.logger)
        self.engine: Any = self._deserialize_engine(content)
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        modes = {name: self.engine.get_tensor_mode(name).name for name in names}
        self.inputs = tuple(name for name in names if modes[name] == "INPUT")
        self._shapes = {name: tuple(self.engine.get_tensor_shape(name)) for name in names}
        self.element_types = {name: self.engine.get_tensor_dtype(name).name for name in names}
        self._verify_engine()
        self.types = {name: _DTYPES[element_type] for name, element_type in self.element_types.items()}
        self.outputs = {
            name: tuple(None if size < 0 else size for size in self._shapes[name])
            for name in names
            if modes[name] == "OUTPUT"
        }
        self.runtime_cache = _RuntimeCache(self, content) if self.library.traits.runtime_cache else None

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute all outputs of the subgraph.

        Args:
            arrays: Input name -> array on the host, or ``CudaArray`` from a subgraph of the same backend; arrays
                that are not inputs are ignored.

        Returns:
            Output name -> ``CudaArray``.

        Raises:
            BackendError: If the subgraph is closed, an input has the wrong type or shape or is too large for the
                engine, or the library or the device reports an error.
        """
        workspace = self._backend.workspaces.get_current()
        with workspace.lock:
            if self._closed:
                raise BackendError(f"{self.file} is closed; load the bundle again")
            real_sizes = buckets.read_axis_sizes(arrays, self.inputs)
            profile, padded_sizes = self._choose_profile(arrays, real_sizes)
            shapes = {name: buckets.resolve_shape(name, padded_sizes, self._shapes[name]) for name in self._shapes}
            addresses = {
                name: self._put_on_device(workspace, name, arrays[name], shapes[name], padded_sizes)
                for name in self.inputs
            }
            outputs = {
                name: workspace.reserve_buffer(name, math.prod(shapes[name]) * _ITEM_SIZES[self.element_types[name]])
                for name in self.outputs
            }
            addresses.update((name, buffer.address) for name, buffer in outputs.items())
            self._get_runner(workspace, profile, padded_sizes).run(workspace, shapes, addresses)
            return {
                name: CudaArray(
                    name, buffer, workspace, shapes[name], real_sizes, self.types[name], self.element_types[name]
                )
                for name, buffer in outputs.items()
            }

    def close(self) -> None:
        """Free the engine and the resources that threads hold for it; closing again has no effect."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True  # before taking the workspace locks, which wait for runs that did not see it
            for workspace in self._backend.workspaces.list_alive():
                with workspace.lock:
                    workspace.close_cached(lambda key: isinstance(key, tuple) and key[0] == id(self))
            if self.runtime_cache:
                self.runtime_cache.save()
            self.runtime_cache = self.engine = self._runtime = None
        self._backend.release_subgraph(self)

    def check_call(self, succeeded: bool, call: str, tensor: str = "") -> None:
        """Raise an error if a call of the library failed.

        Args:
            succeeded: True if the call succeeded.
            call: Name of the called function.
            tensor: Tensor that the call was about, if any.

        Raises:
            BackendError: If the call failed; the message contains the reason that the library logged.
        """
        if not succeeded:
            of_tensor = f" of {tensor}" if tensor else ""
            reason = self._last_error()
            raise BackendError(f"{self.library.title}: {call}{of_tensor} failed for {self.file}: {reason}")

    def _last_error(self) -> str:
        return self.library.pop_last_error() or "no reason given"

    def _choose_profile(self, arrays: Mapping[str, Any], real_sizes: Mapping[str, int]) -> tuple[int, dict[str, int]]:
        """Return the profile for a batch and the sizes to pad it to; arrays on the device keep their padding."""
        fixed_sizes: dict[str, int] = {}
        for name in self.inputs:
            if isinstance(arrays[name], CudaArray):
                for axis, size in zip(AXES[name], arrays[name].padded_shape, strict=True):
                    if axis and fixed_sizes.setdefault(axis, size) != size:
                        raise BackendError(
                            f"inputs disagree on the padding of axis {axis!r}: {name} is padded to {size}, "
                            f"another input to {fixed_sizes[axis]}"
                        )
        profile = select_profile(self.manifest_entry, real_sizes, fixed_sizes)
        axes = self.manifest_entry.profiles[profile].axes
        limits = {axis: axes[axis][2] for axis in real_sizes}
        return profile, {
            axis: fixed_sizes.get(axis, max(size, axes[axis][0]))
            for axis, size in buckets.bucket_sizes(real_sizes, limits).items()
        }

    def _put_on_device(
        self, workspace: Workspace, name: str, array: Any, shape: tuple[int, ...], padded_sizes: Mapping[str, int]
    ) -> int:
        """Check an input, upload it unless it is on the device already, and return its device address."""
        on_device = isinstance(array, CudaArray)
        array = array if on_device else np.asarray(array)
        element_type, dtype = self.element_types[name], self.types[name]
        if on_device:
            actual_type, fits = array.element_type, array.element_type == element_type
        else:  # without a numpy type nothing fits; ``np.dtype("float64") == None`` is True
            actual_type, fits = array.dtype, dtype is not None and array.dtype == dtype
        if not fits:
            raise BackendError(f"{name} has type {actual_type}, but {self.file} expects {element_type}")
        actual_shape = array.padded_shape if on_device else buckets.resolve_shape(name, padded_sizes, array.shape)
        if actual_shape != shape:
            raise BackendError(
                f"{name} has the padded shape {list(actual_shape)}, but {self.file} expects {list(shape)}"
            )
        if on_device:
            return int(array.get_address(workspace))
        return workspace.upload(name, buckets.pad_array(array, name, padded_sizes))

    def _get_runner(self, workspace: Workspace, profile: int, padded_sizes: Mapping[str, int]) -> _Runner:
        """Return this thread's execution context for a profile and, if TriMF captures the graphs, for a bucket."""
        library_captures = self.library.traits.captures_cuda_graphs
        # A captured graph depends on the state of its execution context, so each bucket has its own context.
        key = (id(self), profile, *(() if library_captures else sorted(padded_sizes.items())))

        def make_runner() -> _Runner:
            with self._runner_lock:
                return (_Runner if library_captures else _CapturingRunner)(self, workspace, profile)

        return workspace.get_or_create(key, make_runner)

    def _deserialize_engine(self, content: bytes) -> Any:
        """Create the engine from its file's content, asking the library first whether this device can run it."""
        if self.library.traits.engine_validity:
            validity, diagnostics = self._runtime.get_engine_validity(content)
            causes = [
                name
                for name, cause in self.library.module.EngineInvalidityDiagnostics.__members__.items()
                if int(diagnostics) & int(cause.value)
            ]
            if validity.name == "INVALID":
                reason = ", ".join(causes) or self._last_error()
                raise BackendError(
                    f"{self.library.title} rejects {self.file}: {reason}; "
                    "run `trimf compile` on this machine or use the cuda backend"
                )
            if validity.name == "SUBOPTIMAL":
                _LOG.warning(
                    "%s is not optimal for this device and may run slowly: %s",
                    self.file,
                    ", ".join(causes),
                )
        engine = self._runtime.deserialize_cuda_engine(content)
        self.check_call(engine is not None, "deserialize_cuda_engine")
        return engine

    def _verify_engine(self) -> None:
        """Check that the tensors and profiles of the engine are those that the runtime and the manifest expect."""
        engine, profiles = self.engine, self.manifest_entry.profiles
        self._expect_equal("number of profiles", engine.num_optimization_profiles, len(profiles))
        for name, shape in self._shapes.items():
            if name not in AXES or self.element_types[name] not in _DTYPES:
                raise BackendError(
                    f"{self.file}: unknown tensor {name} of type {self.element_types[name]}; run `trimf compile` again"
                )
            self._expect_equal(f"location of {name}", engine.get_tensor_location(name).name, "DEVICE")
            named = tuple(axis is not None for axis in AXES[name])
            self._expect_equal(f"dynamic axes of {name}", tuple(size < 0 for size in shape), named)
            for index, profile in enumerate(profiles if name in self.inputs else ()):
                actual = zip(*engine.get_tensor_profile_shape(name, index), strict=True)
                for axis, limits in zip(AXES[name], actual, strict=True):
                    if axis is not None:
                        self._expect_equal(
                            f"{axis} of {name} in profile {profile.name}", limits, profile.axes.get(axis)
                        )

    def _expect_equal(self, subject: str, actual: Any, expected: Any) -> None:
        if actual != expected:
            raise BackendError(f"{self.file}: {subject} is {actual}, expected {expected}; run `trimf compile` again")


class _Runner:
    """Execution context of one thread and one profile, for a library that captures CUDA graphs itself."""

    def __init__(self, subgraph: TensorRtSubgraph, workspace: Workspace, profile: int) -> None:
        self.subgraph = subgraph
        self.context: Any = self._create_context()
        subgraph.check_call(self.context is not None, "create_execution_context")
        succeeded = self.context.set_optimization_profile_async(profile, workspace.stream)
        subgraph.check_call(succeeded, "set_optimization_profile_async")

    def run(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Enqueue one batch on the thread's stream.

        Args:
            workspace: Workspace of the calling thread.
            shapes: Name of an input or output -> padded shape.
            addresses: Name of an input or output -> device address.
        """
        self._bind_tensors(shapes, addresses)
        self._enqueue_batch(workspace)

    def close(self) -> None:
        """Free the context."""
        self.context = None

    def _create_context(self) -> Any:
        subgraph = self.subgraph
        config = subgraph.engine.create_runtime_config()
        subgraph.check_call(config is not None, "create_runtime_config")
        config.cuda_graph_strategy = subgraph.library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if subgraph.runtime_cache:
            subgraph.check_call(config.set_runtime_cache(subgraph.runtime_cache.cache), "set_runtime_cache")
        return subgraph.engine.create_execution_context(config)

    def _bind_tensors(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        context, check = self.context, self.subgraph.check_call
        for name in self.subgraph.inputs:
            check(context.set_input_shape(name, shapes[name]), "set_input_shape", name)
        for name, address in addresses.items():
            check(context.set_tensor_address(name, address), "set_tensor_address", name)
        for name in self.subgraph.outputs:  # the library would write past the end of a buffer that is too small
            actual = tuple(context.get_tensor_shape(name))
            check(actual == shapes[name], f"get_tensor_shape (got {actual}, expected {shapes[name]})", name)

    def _enqueue_batch(self, workspace: Workspace) -> None:
        self.subgraph.check_call(self.context.execute_async_v3(workspace.stream), "execute_async_v3")


class _CapturingRunner(_Runner):
    """Execution context of one thread and one bucket; the first run is captured as a CUDA graph, which is replayed."""

    def __init__(self, subgraph: TensorRtSubgraph, workspace: Workspace, profile: int) -> None:
        super().__init__(subgraph, workspace, profile)
        self._scratch_size = int(subgraph.engine.get_device_memory_size_for_profile_v2(profile))
        self._graph: int | None = None
        self._captured_addresses: dict[str, int] = {}

    def run(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Enqueue one batch as ``_Runner.run`` does, by launching the captured graph if its addresses match."""
        device, stream = workspace.device, workspace.stream
        scratch = workspace.reserve_buffer("scratch", self._scratch_size).address
        used_addresses = {"scratch": scratch, **addresses}
        if self._graph is not None and self._captured_addresses == used_addresses:
            device.launch_graph(self._graph, stream)
            return
        self._free_graph()  # a buffer has grown and moved since the capture
        self.context.set_device_memory(scratch, self._scratch_size)
        self._bind_tensors(shapes, addresses)
        self._enqueue_batch(workspace)  # warm-up: for new shapes, the library does work that cannot be captured
        if self.subgraph.uses_cuda_graphs:
            self._capture_graph(workspace)
            self._captured_addresses = used_addresses

    def close(self) -> None:
        """Free the context and its graph."""
        self._free_graph()
        super().close()

    def _create_context(self) -> Any:
        # The contexts of a thread never run at the same time, so they share the memory for intermediate results.
        strategy = self.subgraph.library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        return self.subgraph.engine.create_execution_context(strategy)

    def _capture_graph(self, workspace: Workspace) -> None:
        device, stream = workspace.device, workspace.stream
        try:
            device.begin_capture(stream)
            try:
                self._enqueue_batch(workspace)
            finally:
                graph = device.end_capture(stream)
        except BackendError as error:
            self.subgraph.uses_cuda_graphs = False
            _LOG.warning("%s runs without CUDA graphs, which is slower: %s", self.subgraph.file, error)
        else:
            self._graph = graph

    def _free_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self.subgraph.device.free_graph(graph)


class _RuntimeCache:
    """Kernels that TensorRT for RTX compiled for this device, stored in the user's cache folder between processes."""

    def __init__(self, subgraph: TensorRtSubgraph, content: bytes) -> None:
        library = subgraph.library
        self._config = subgraph.engine.create_runtime_config()
        self.cache: Any = self._config.create_runtime_cache()
        subgraph.check_call(self.cache is not None, "create_runtime_cache")
        engine_sha256 = hashlib.sha256(content).hexdigest()
        path = user_cache_folder() / library.name / f"{engine_sha256}.{subgraph.device.target}.{library.version}"
        saved = path.read_bytes() if path.is_file() else b""
        if saved and not self.cache.deserialize(saved):
            _LOG.info("%s was saved with another driver or device; the kernels are compiled again", path)
        # Also saves if nobody closes the extractor: at the end of the process at the latest.
        self.save = weakref.finalize(self, _save_cache, self.cache, path, saved)


def _save_cache(cache: Any, path: Path, saved: bytes) -> None:
    """Save a cache that has changed; failure to write it only makes the next start slower."""
    content = bytes(cache.serialize() or b"")
    if content in (b"", saved):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, wait=CACHE_WAIT_SECONDS) as temporary:
            temporary.write_bytes(content)
    except (InputError, OSError) as error:
        _LOG.warning("%s: cannot save compiled kernels: %s", path, error)

"""Run the engines of a bundle with TensorRT or TensorRT for RTX.

Arrays are padded to buckets (``buckets``). The inputs of a call that come from the host are one allocation and one
copy, and so are its outputs that the host reads. Arrays that one subgraph passes to the next stay on the device.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..bundle.manifest import Builder, Engine
from ..errors import BackendError
from . import buckets
from .backend import BundleFiles
from .contract import AXES, HOST_OUTPUTS, JOINED
from .cuda import CudaDevice
from .cuda_memory import Buffer, CudaArray, Workspace, Workspaces
from .engine_selection import select_engine, select_profile, select_subgraphs
from .gpu_guidance import explain_missing_engines
from .profiling import ProfiledSubgraph
from .tensor_layout import count_bytes, lay_out, view_tensor
from .tensorrt_contexts import CapturingContext, ExecutionContext
from .tensorrt_engine import TensorRtEngine
from .tensorrt_kernel_cache import KernelCache
from .tensorrt_library import TensorRtLibrary, import_library
from .tensorrt_profiler import LayerProfiler, ProfiledContext

#: Libraries in the order they are tried; TensorRT comes first, because its engines are tuned on the device itself.
_BUILDERS: tuple[Builder, ...] = ("tensorrt", "tensorrt-rtx")


class _OutputPlace(NamedTuple):
    """Place of an output: its buffer, its first byte in it, and the number of bytes written to the buffer."""

    buffer: Buffer
    offset: int
    buffer_size: int


def open_tensorrt(
    files: BundleFiles, reason: str | None = None, *, has_external_parser: bool = False
) -> TensorRtBackend:
    """Open the backend of the library for which the bundle has engines of all subgraphs.

    Args:
        files: The bundle.
        reason: Why the backend was selected, for display; by default that the engines match the device.
        has_external_parser: Whether a parser of the caller parses the sentences, for which there must be the separate
            engines.

    Raises:
        BackendError: If there is no device, no library, or no set of engines that fits both.
    """
    builders = {engine.builder for engine in files.manifest.engines}
    if not builders:
        raise BackendError(explain_missing_engines(files.path, files.manifest.precision))
    device = CudaDevice()
    problems = []
    for builder in _BUILDERS:
        if builder not in builders:
            continue
        try:
            library = import_library(builder)
            select_subgraphs(files, not has_external_parser, device.target, builder, library.version)
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

    def choose_subgraphs(self, files: BundleFiles, uses_model_parser: bool) -> tuple[str, ...]:
        """Return the names of the graphs to open: the joined ones if the bundle has their engines for this device.

        Args:
            files: The bundle.
            uses_model_parser: Whether sentences are parsed by the model itself.

        Raises:
            BackendError: If neither set of engines is complete and fits.
        """
        return select_subgraphs(files, uses_model_parser, self.device.target, self.library.name, self.library.version)

    def name_file(self, name: str, files: BundleFiles) -> str:
        """Return the name of the engine of a subgraph.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: If no engine fits this device and library.
        """
        return self._select(name, files).file

    def open(self, name: str, files: BundleFiles) -> TensorRtSubgraph:
        """Load the engine of a subgraph.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: If no engine fits this device and library, or the library rejects the engine.
            BundleError: If the engine's file is damaged.
        """
        entry = self._select(name, files)
        subgraph = TensorRtSubgraph(self, entry, files.read(entry.file))
        with self._lock:
            self._open_subgraphs.add(id(subgraph))
        return subgraph

    def open_profiled(self, name: str, files: BundleFiles) -> ProfiledSubgraph:
        """Load the engine of a subgraph together with a profiler of its layers.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: If no engine fits this device and library, or the library rejects the engine.
            BundleError: If the engine's file is damaged.
        """
        subgraph = self.open(name, files)
        return ProfiledSubgraph(subgraph, subgraph.start_profiling())

    def release_subgraph(self, subgraph: TensorRtSubgraph) -> None:
        """Record that a subgraph was closed; closing the last one frees the memory that all of them share."""
        with self._lock:
            self._open_subgraphs.discard(id(subgraph))
            if not self._open_subgraphs:
                self.workspaces.close()

    def _select(self, name: str, files: BundleFiles) -> Engine:
        return select_engine(files, name, self.device.target, self.library.name, self.library.version)


class TensorRtSubgraph:
    """Engine of one subgraph. Batches are padded to buckets within a profile; outputs are ``CudaArray`` objects.

    Attributes:
        engine: The loaded engine.
    """

    def __init__(self, backend: TensorRtBackend, manifest_entry: Engine, content: bytes) -> None:
        """Load an engine.

        Args:
            backend: Backend that opens the subgraph.
            manifest_entry: The engine's entry in the manifest.
            content: Content of the engine file.

        Raises:
            BackendError: If the library rejects the engine, or it differs from its entry.
        """
        self._backend, self._name = backend, manifest_entry.subgraph
        self._closed = False
        self._close_lock, self._context_lock = threading.Lock(), threading.Lock()
        self.engine = TensorRtEngine(backend.library, backend.device, manifest_entry, content)
        self.inputs = self.engine.inputs
        has_kernel_cache = backend.library.traits.runtime_cache
        self._kernel_cache = KernelCache(self.engine, content) if has_kernel_cache else None
        self._profiler: LayerProfiler | None = None

    @property
    def types(self) -> Mapping[str, type[np.generic] | None]:
        """Numpy type of every input and output; None for bfloat16."""
        return self.engine.types

    @property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Name and shape of every output, with None for axes whose size depends on the inputs."""
        return self.engine.outputs

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
        engine, workspace = self.engine, self._backend.workspaces.get_current()
        with workspace.lock:
            if self._closed:
                raise BackendError(f"{engine.file} is closed; load the bundle again")
            real_sizes = buckets.read_axis_sizes(arrays, self.inputs)
            profile, padded_sizes = self._choose_profile(arrays, real_sizes)
            shapes = {name: buckets.resolve_shape(name, padded_sizes, shape) for name, shape in engine.shapes.items()}
            addresses = self._put_on_device(workspace, arrays, shapes, padded_sizes)
            outputs = self._reserve_outputs(workspace, shapes)
            addresses.update((name, place.buffer.address + place.offset) for name, place in outputs.items())
            self._get_context(workspace, profile, padded_sizes).run(workspace, shapes, addresses)
            return {
                name: CudaArray(
                    name,
                    place.buffer,
                    workspace,
                    shapes[name],
                    real_sizes,
                    engine.types[name],
                    engine.element_types[name],
                    place.offset,
                    place.buffer_size,
                )
                for name, place in outputs.items()
            }

    def start_profiling(self) -> LayerProfiler:
        """Take the time of every layer from now on, to be called before the first run; one thread may run it then."""
        self._profiler = LayerProfiler(self.engine)
        return self._profiler

    def synchronize(self) -> None:
        """Wait until the work that the calling thread has started is done; each thread has one stream."""
        workspace = self._backend.workspaces.get_current()
        with workspace.lock:
            workspace.synchronize()

    def close(self) -> None:
        """Free the engine and the resources that threads hold for it; closing again has no effect."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True  # before taking the workspace locks, which wait for runs that did not see it
            for workspace in self._backend.workspaces.list_alive():
                with workspace.lock:
                    workspace.close_cached(lambda key: isinstance(key, tuple) and key[0] == id(self))
            if self._kernel_cache:
                self._kernel_cache.save()
            self._kernel_cache = None
            self.engine.close()
        self._backend.release_subgraph(self)

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
        profile = select_profile(self.engine.manifest_entry, real_sizes, fixed_sizes)
        axes = self.engine.manifest_entry.profiles[profile].axes
        limits = {axis: axes[axis][2] for axis in real_sizes}
        choose = buckets.tie_bucket_sizes if self._name == JOINED else buckets.bucket_sizes
        return profile, {
            axis: fixed_sizes.get(axis, min(max(size, axes[axis][0]), limits[axis]))
            for axis, size in choose(real_sizes, limits).items()
        }

    def _put_on_device(
        self,
        workspace: Workspace,
        arrays: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        padded_sizes: Mapping[str, int],
    ) -> dict[str, int]:
        """Check the inputs, copy those on the host to the device at once, and return all addresses."""
        addresses: dict[str, int] = {}
        contents: dict[str, npt.NDArray[Any]] = {}
        for name in self.inputs:
            array = self._check_input(name, arrays[name], shapes[name], padded_sizes)
            if isinstance(array, CudaArray):
                addresses[name] = array.get_address(workspace)
            else:
                contents[name] = buckets.pad_array(array, name, padded_sizes)
        if contents:
            layout = lay_out({name: content.nbytes for name, content in contents.items()})
            packed = np.zeros(layout.byte_count, np.uint8)
            for name, content in contents.items():
                view_tensor(packed, layout.offsets[name], content.shape, content.dtype)[...] = content
            address = workspace.upload((self._name, "inputs"), packed)
            addresses.update((name, address + offset) for name, offset in layout.offsets.items())
        return addresses

    def _reserve_outputs(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, _OutputPlace]:
        """Return the place of each output; those that the host reads share a buffer."""
        sizes = {name: count_bytes(shapes[name], self.engine.types[name]) for name in self.engine.outputs}
        read = {name: size for name, size in sizes.items() if name in HOST_OUTPUTS}
        groups = [read, *({name: size} for name, size in sizes.items() if name not in read)]
        places: dict[str, _OutputPlace] = {}
        for group in filter(None, groups):
            layout = lay_out(group)
            buffer = workspace.reserve_buffer((self._name, *group), layout.byte_count)
            places |= {name: _OutputPlace(buffer, offset, layout.byte_count) for name, offset in layout.offsets.items()}
        return places

    def _check_input(self, name: str, array: Any, shape: tuple[int, ...], padded_sizes: Mapping[str, int]) -> Any:
        """Return an input, on the host as a numpy array, if it has the type and the shape that the engine expects."""
        on_device = isinstance(array, CudaArray)
        array = array if on_device else np.asarray(array)
        element_type, dtype = self.engine.element_types[name], self.engine.types[name]
        if on_device:
            actual_type, fits = array.element_type, array.element_type == element_type
        else:  # without a numpy type nothing fits; ``np.dtype("float64") == None`` is True
            actual_type, fits = array.dtype, dtype is not None and array.dtype == dtype
        if not fits:
            raise BackendError(f"{name} has type {actual_type}, but {self.engine.file} expects {element_type}")
        actual_shape = array.padded_shape if on_device else buckets.resolve_shape(name, padded_sizes, array.shape)
        if actual_shape != shape:
            raise BackendError(
                f"{name} has the padded shape {list(actual_shape)}, but {self.engine.file} expects {list(shape)}"
            )
        return array

    def _get_context(self, workspace: Workspace, profile: int, padded_sizes: Mapping[str, int]) -> ExecutionContext:
        """Return this thread's execution context for a profile and, if TriMF captures the graphs, for a bucket."""
        library_captures = self._backend.library.traits.captures_cuda_graphs
        # A captured graph depends on the state of its execution context, so each bucket has its own context.
        serves_all_shapes = library_captures or self._profiler is not None
        key = (id(self), profile, *(() if serves_all_shapes else sorted(padded_sizes.items())))

        def create_context() -> ExecutionContext:
            with self._context_lock:
                if self._profiler:
                    return ProfiledContext(self.engine, self._kernel_cache, workspace, profile, self._profiler)
                kind = ExecutionContext if library_captures else CapturingContext
                return kind(self.engine, self._kernel_cache, workspace, profile)

        return workspace.get_or_create(key, create_context)

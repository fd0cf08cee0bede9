"""Run subgraphs with ONNX Runtime on a GPU: arrays that stay on the device, fixed buffers and CUDA graphs.

Arrays are padded to buckets (``buckets``) and bound to one buffer per shape, whose address never changes. Arrays
that one subgraph passes to the next stay on the device.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, one_line
from . import buckets
from .backend import BundleFiles, resolve_thread_count
from .contract import AXES, EXTRA
from .onnx_cpu import ELEMENT_TYPES, make_session_options
from .onnx_providers import PROVIDERS, Provider
from .onnxruntime_library import onnxruntime

_LOG = logging.getLogger("trimf")

#: Held while allocating on the device, copying or running. CUDA aborts the capture of a graph if another thread of the
#: process does any of these meanwhile, and two threads must not run a capturing session at the same time.
_DEVICE_LOCK = threading.Lock()

#: First ONNX Runtime version whose GatherND and batched MatMul replay correctly from a CUDA graph. Earlier versions
#: read host memory that was freed after the capture (pull requests 32120 and 32121 of microsoft/onnxruntime). The
#: environment variable TRIMF_CUDA_GRAPHS=0 disables CUDA graphs.
CUDA_GRAPHS_SINCE = (1, 32)


class _DeviceBuffer:
    """Device memory of one tensor in one shape; ``write_count`` counts the writes."""

    def __init__(self, value: onnxruntime.OrtValue) -> None:
        self.value, self.write_count = value, 0


class OrtDeviceArray:
    """Output on the device; ``numpy.asarray`` copies it to the host.

    It is valid until its subgraph runs with the same padded shape again; later use raises BackendError.

    Attributes:
        name: Name of the tensor.
        shape: Shape without padding.
    """

    def __init__(self, name: str, buffer: _DeviceBuffer, real_sizes: Mapping[str, int]) -> None:
        """Describe the tensor just written to a buffer; ``real_sizes`` maps axis names to sizes without padding."""
        self.name, self._buffer, self._write_count = name, buffer, buffer.write_count
        self._padded_shape = tuple(buffer.value.shape())
        self._real_sizes = dict(real_sizes)
        self.shape = buckets.resolve_shape(name, real_sizes, self._padded_shape)

    def get_ort_value(self, padded_shape: tuple[int, ...]) -> onnxruntime.OrtValue:
        """Return the value on the device, to be bound as an input.

        Args:
            padded_shape: Padded shape that the input must have.

        Raises:
            BackendError: If the array was overwritten or is padded to another shape.
        """
        if self._buffer.write_count != self._write_count:
            raise BackendError(
                f"{self.name} was overwritten by a later batch; copy it with numpy.asarray before running that batch"
            )
        if self._padded_shape != padded_shape:
            raise BackendError(
                f"{self.name} is padded to {self._padded_shape}, but this subgraph expects {padded_shape}"
            )
        return self._buffer.value

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        value = self.get_ort_value(self._padded_shape)
        if ELEMENT_TYPES[value.data_type()][1] is None:
            raise BackendError(
                f"{self.name} has type {value.data_type()}, which numpy does not support; "
                "it can only be passed to a subgraph"
            )
        with _DEVICE_LOCK:
            host = buckets.remove_padding(value.numpy(), self.name, self._real_sizes)
        return host.astype(dtype or host.dtype, copy=bool(copy))


class _ThreadState(threading.local):
    """Resources of one thread for running a session: I/O binding, buffers, and run options of captured runs."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.binding = session.io_binding()
        self.buffers: dict[tuple[str, tuple[int, ...]], _DeviceBuffer] = {}
        self.captured_runs: dict[tuple[int, ...], onnxruntime.RunOptions] = {}


class OnnxGpuSubgraph:
    """Subgraph in an ONNX Runtime session on a GPU; threads may share it, and their runs take turns.

    Attributes:
        uses_cuda_graphs: True if runs are captured as CUDA graphs, one for each set of buffers.
        inputs: Names of the inputs.
        types: Name of an input or output -> numpy type; None for bfloat16.
        outputs: Name of an output -> shape, with None for axes whose size depends on the inputs.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, name: str, backend: str, provider: Provider, uses_cuda_graphs: bool
    ) -> None:
        """Wrap a session.

        Args:
            session: The session.
            name: Name of the subgraph.
            backend: Name of the backend, for messages.
            provider: Execution provider of the session.
            uses_cuda_graphs: True if the session can capture CUDA graphs.

        Raises:
            BackendError: If the ONNX file has a tensor that is not listed in ``AXES``.
        """
        self._session: onnxruntime.InferenceSession | None = session
        self._name, self._backend, self._provider, self.uses_cuda_graphs = name, backend, provider, uses_cuda_graphs
        self._thread_state = _ThreadState(session)
        self._graph_ids = itertools.count(1)
        self._types = {entry.name: entry.type for entry in (*session.get_inputs(), *session.get_outputs())}
        if unknown := sorted(set(self._types) - set(AXES)):
            raise BackendError(f"{name}.onnx has an unknown tensor {unknown[0]!r}; expected only {', '.join(AXES)}")
        self._shapes = {entry.name: tuple(entry.shape) for entry in session.get_inputs()}
        self.inputs = tuple(self._shapes)
        self.types = {name: ELEMENT_TYPES[kind][1] for name, kind in self._types.items()}
        self.outputs: dict[str, tuple[int | None, ...]] = {
            entry.name: tuple(size if isinstance(size, int) else None for size in entry.shape)
            for entry in session.get_outputs()
            if entry.name not in EXTRA
        }

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs of the subgraph, except those in ``EXTRA``.

        Args:
            arrays: Input name -> array on the host, or ``OrtDeviceArray``; arrays that are not inputs are ignored.

        Returns:
            Output name -> ``OrtDeviceArray``.

        Raises:
            BackendError: If the subgraph was closed; if an array is missing, too large, of the wrong type or
                inconsistent with the others; or if ONNX Runtime fails.
        """
        real_sizes = buckets.read_axis_sizes(arrays, self.inputs)
        limits = self._provider.limits
        for axis, size in real_sizes.items():
            if size > limits.get(axis, size):
                raise BackendError(
                    f"{axis} must be <= {limits[axis]} for backend {self._backend!r}, got {size}; "
                    "use a smaller batch_size, or the cuda or cpu backend"
                )
        padded_sizes = buckets.bucket_sizes(real_sizes, limits)
        with _DEVICE_LOCK:
            session = self._session
            if session is None:
                raise BackendError(f"{self._name}.onnx is closed; load the bundle again")
            try:
                return self._run_with_binding(session, arrays, real_sizes, padded_sizes)
            except BackendError:
                raise
            except Exception as error:
                hint = "; set TRIMF_CUDA_GRAPHS=0 to disable CUDA graphs" if self.uses_cuda_graphs else ""
                raise BackendError(
                    f"ONNX Runtime {onnxruntime.__version__} cannot run {self._name}.onnx on backend "
                    f"{self._backend!r}: {one_line(error)}{hint}"
                ) from error

    def _run_with_binding(
        self,
        session: onnxruntime.InferenceSession,
        arrays: Mapping[str, Any],
        real_sizes: Mapping[str, int],
        padded_sizes: Mapping[str, int],
    ) -> dict[str, Any]:
        """Bind inputs and outputs to device buffers and run the session."""
        state = self._thread_state
        addresses = []
        for name in self.inputs:
            array = arrays[name]
            if isinstance(array, OrtDeviceArray):
                value = array.get_ort_value(buckets.resolve_shape(name, padded_sizes, array.shape))
            else:
                value = self._upload_input(array, name, padded_sizes)
            state.binding.bind_ortvalue_input(name, value)
            addresses.append(value.data_ptr())
        outputs = {
            name: self._get_buffer(name, buckets.resolve_shape(name, padded_sizes, self.outputs[name]))
            for name in self.outputs
        }
        for name, buffer in outputs.items():
            state.binding.bind_ortvalue_output(name, buffer.value)
            addresses.append(buffer.value.data_ptr())
            buffer.write_count += 1
        session.run_with_iobinding(state.binding, self._choose_run_options((*padded_sizes.values(), *addresses)))
        state.binding.synchronize_outputs()
        return {name: OrtDeviceArray(name, buffer, real_sizes) for name, buffer in outputs.items()}

    def _upload_input(
        self, array: npt.NDArray[Any], name: str, padded_sizes: Mapping[str, int]
    ) -> onnxruntime.OrtValue:
        """Check an input on the host, pad it and copy it to its buffer on the device."""
        dtype = self.types[name]
        if dtype is None or array.dtype != dtype:  # ``np.dtype("float64") != None`` is False
            raise BackendError(f"{name} has type {array.dtype}, but {self._name}.onnx expects {self._types[name]}")
        grown = np.ascontiguousarray(buckets.pad_array(array, name, padded_sizes))
        for size, expected in zip(grown.shape, self._shapes[name], strict=True):
            if isinstance(expected, int) and size != expected:
                raise BackendError(
                    f"{name} has shape {array.shape}, but {self._name}.onnx expects {self._shapes[name]}"
                )
        value = self._get_buffer(name, grown.shape).value
        value.update_inplace(grown)
        return value

    def _get_buffer(self, name: str, shape: tuple[int, ...]) -> _DeviceBuffer:
        """Return this thread's buffer for a tensor of one shape, allocating it when first needed."""
        pool = self._thread_state.buffers
        if (name, shape) not in pool:
            element = ELEMENT_TYPES[self._types[name]][0]
            pool[name, shape] = _DeviceBuffer(
                onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), element, *self._provider.device)
            )
        return pool[name, shape]

    def _choose_run_options(self, key: tuple[int, ...]) -> onnxruntime.RunOptions | None:
        """Return the options for running with a set of buffers: run normally once, then capture, then replay."""
        if not self.uses_cuda_graphs:
            return None
        captured_runs = self._thread_state.captured_runs
        if key not in captured_runs:
            captured_runs[key] = _make_run_options(next(self._graph_ids))
            return _make_run_options(-1)
        return captured_runs[key]

    def close(self) -> None:
        """Free the session and the buffers of every thread; closing again has no effect."""
        with _DEVICE_LOCK:
            if self._session is not None:
                self._session = None
                del self._thread_state


class OnnxGpuBackend:
    """ONNX Runtime on a GPU, with one of the execution providers in ``PROVIDERS``.

    Args:
        name: Name of the backend, a key of ``PROVIDERS``.
        reason: Why this backend was selected, for display.
        threads: Number of intra-op threads for nodes that run on the CPU; 1 by default.

    Raises:
        BackendError: If the provider is not installed or has no device, or if ``threads`` is not positive.
    """

    def __init__(self, name: str, reason: str = "requested", threads: int | None = None) -> None:
        self.name, self.reason = name, reason
        self.threads = resolve_thread_count(threads, 1)
        self._provider = PROVIDERS[name]
        self._devices = self._provider.prepare()

    def open(self, name: str, files: BundleFiles) -> OnnxGpuSubgraph:
        """Load a subgraph of a bundle.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: See ``load``.
            BundleError: If the file is missing or damaged.
        """
        return self.load(name, files.read(f"{name}.onnx"))

    def load(self, name: str, model: bytes) -> OnnxGpuSubgraph:
        """Load a subgraph from the bytes of its ONNX file.

        Args:
            name: Name of the subgraph.
            model: Content of the ONNX file; weights outside the file are refused.

        Raises:
            BackendError: If ONNX Runtime cannot load it, falls back to another provider, or assigns one of its matrix
                products to another provider.
        """
        with _DEVICE_LOCK:
            use_cuda_graphs = self._provider.uses_cuda_graphs and _supports_cuda_graphs()
            session, uses_cuda_graphs = self._create_session(name, model, use_cuda_graphs)
        self._check_assignment(name, session)
        return OnnxGpuSubgraph(session, name, self.name, self._provider, uses_cuda_graphs)

    def _create_session(
        self, name: str, model: bytes, use_cuda_graphs: bool
    ) -> tuple[onnxruntime.InferenceSession, bool]:
        """Create a session, without CUDA graphs if it cannot capture them; also return whether it captures them."""
        provider = self._provider
        options = make_session_options(self.threads)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            settings = provider.make_options(model) | ({"enable_cuda_graph": "1"} if use_cuda_graphs else {})
            providers: list[Any] | None = [(provider.name, settings), *provider.fallback_providers]
            if self._devices:
                options.add_provider_for_devices(self._devices, settings)
                providers = None
            session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except BackendError:
            raise
        except Exception as error:
            if use_cuda_graphs:
                _LOG.info("%s.onnx runs on backend %r without CUDA graphs: %s", name, self.name, one_line(error))
                return self._create_session(name, model, False)
            version = onnxruntime.__version__
            raise BackendError(
                f"ONNX Runtime {version} cannot load {name}.onnx on backend {self.name!r}: {one_line(error)}"
            ) from error
        return session, use_cuda_graphs

    def _check_assignment(self, name: str, session: onnxruntime.InferenceSession) -> None:
        """Check that the session uses the requested provider, and for all of its matrix products."""
        expected, actual = self._provider.name, session.get_providers()[0]
        if actual != expected:
            raise BackendError(
                f"ONNX Runtime {onnxruntime.__version__} could not start {expected} for {name}.onnx and fell back to "
                f"{actual}: no NVIDIA device or driver, or incompatible CUDA, cuDNN or TensorRT libraries; "
                "check nvidia-smi, or use the cpu backend"
            )
        if not hasattr(session, "get_provider_graph_assignment_info"):
            _LOG.warning(
                "ONNX Runtime %s does not report which provider runs which node of %s.onnx",
                onnxruntime.__version__,
                name,
            )
            return
        misplaced = sorted(
            {
                f"{node.op_type} on {part.ep_name}"
                for part in session.get_provider_graph_assignment_info()
                for node in part.get_nodes()
                if part.ep_name != expected and ("MatMul" in node.op_type or node.op_type == "Gemm")
            }
        )
        if misplaced:
            raise BackendError(
                f"{expected} does not run all matrix products of {name}.onnx ({', '.join(misplaced)}); "
                "use the cpu backend, or a bundle exported for GPUs (--fp16 or fp32)"
            )


def _supports_cuda_graphs() -> bool:
    """Return True if this ONNX Runtime replays CUDA graphs correctly and the user did not disable them."""
    if os.environ.get("TRIMF_CUDA_GRAPHS") == "0":
        return False
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < CUDA_GRAPHS_SINCE:
        _LOG.info(
            "CUDA graphs are disabled: they need ONNX Runtime %d.%d or later, got %d.%d", *CUDA_GRAPHS_SINCE, *version
        )
    return version >= CUDA_GRAPHS_SINCE


def _make_run_options(graph_id: int) -> onnxruntime.RunOptions:
    """Return the options of a run that is captured as, or replayed from, a CUDA graph; -1 runs without a graph."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options

"""ONNX Runtime on a GPU: device-resident arrays, fixed buffers and CUDA graphs around a session.

Arrays are padded to buckets (:mod:`.buckets`) and bound to buffers whose address is fixed for a shape; what one
subgraph hands to the next stays on the device.
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

from . import buckets
from .backend import AXES, EXTRA, Files, thread_count
from .errors import BackendError, line
from .onnx_backend import ELEMENTS, session_options
from .onnx_providers import PROVIDERS, Provider
from .onnxruntime_library import onnxruntime

_LOG = logging.getLogger("trimf")

#: Held by whoever allocates on the device, copies or runs: CUDA aborts the capture of a graph when another thread of
#: the process does any of these meanwhile, and a session that captures may not be run by two threads at once.
_DEVICE = threading.Lock()

#: The first ONNX Runtime whose GatherND and batched MatMul replay rightly from a CUDA graph; before, they read host
#: memory that was freed after the capture (pull requests 32120 and 32121 of microsoft/onnxruntime). The environment
#: variable TRIMF_CUDA_GRAPHS=0 turns graphs off.
GRAPHS_SINCE = (1, 32)


class _Buffer:
    """A place on the device for one tensor of one shape, and how often it was written."""

    def __init__(self, value: onnxruntime.OrtValue) -> None:
        self.value, self.writes = value, 0


class DeviceArray:
    """An output on the device; ``numpy.asarray`` copies it to the host. Its subgraph's next run of that shape ends it.

    Attributes:
        name: of the tensor.
        shape: without padding.
    """

    def __init__(self, name: str, buffer: _Buffer, real: Mapping[str, int]) -> None:
        self.name, self._buffer, self._writes = name, buffer, buffer.writes
        self._padded = tuple(buffer.value.shape())
        self._real = dict(real)
        self.shape = buckets.shape(name, real, self._padded)

    def bind(self, padded: tuple[int, ...]) -> onnxruntime.OrtValue:
        """The value on the device, to bind as an input of shape ``padded``.

        Raises:
            BackendError: it was overwritten, or is padded to another shape.
        """
        if self._buffer.writes != self._writes:
            raise BackendError(f"{self.name} was overwritten by a later batch; copy it to the host before that runs")
        if self._padded != padded:
            raise BackendError(f"{self.name} is padded to {self._padded}, but this subgraph takes {padded}")
        return self._buffer.value

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        value = self.bind(self._padded)
        if ELEMENTS[value.data_type()][1] is None:
            raise BackendError(f"{self.name} is {value.data_type()}, which numpy lacks; it stays on the device")
        with _DEVICE:
            host = buckets.cut(value.numpy(), self.name, self._real)
        return host.astype(dtype or host.dtype, copy=bool(copy))


class _Thread(threading.local):
    """What a thread needs to run a session: its binding, its buffers, and the options of its captured runs."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.binding = session.io_binding()
        self.buffers: dict[tuple[str, tuple[int, ...]], _Buffer] = {}
        self.runs: dict[tuple[int, ...], onnxruntime.RunOptions] = {}


class DeviceSubgraph:
    """A subgraph as an ONNX Runtime session on a device; many threads may run it, one after the other.

    Attributes:
        graphs: whether runs are captured as CUDA graphs, one for each set of buffers.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, name: str, backend: str, provider: Provider, graphs: bool
    ) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._name, self._backend, self._provider, self.graphs = name, backend, provider, graphs
        self._thread = _Thread(session)
        self._ids = itertools.count(1)
        self._types = {entry.name: entry.type for entry in (*session.get_inputs(), *session.get_outputs())}
        if strange := sorted(set(self._types) - set(AXES)):
            raise BackendError(f"{name}.onnx has a tensor {strange[0]!r}; those of a subgraph are {', '.join(AXES)}")
        self._shapes = {entry.name: tuple(entry.shape) for entry in session.get_inputs()}
        self.inputs = tuple(self._shapes)
        self.types = {name: ELEMENTS[kind][1] for name, kind in self._types.items()}
        self.outputs: dict[str, tuple[int | None, ...]] = {
            entry.name: tuple(size if isinstance(size, int) else None for size in entry.shape)
            for entry in session.get_outputs()
            if entry.name not in EXTRA
        }

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output, as a :class:`DeviceArray` each.

        Raises:
            BackendError: the subgraph was closed; an array is missing, too large, of another type, or does not fit the
                others; or ONNX Runtime fails.
        """
        real = buckets.sizes(arrays, self.inputs)
        limits = self._provider.limits
        for axis, size in real.items():
            if size > limits.get(axis, size):
                raise BackendError(
                    f"{size} {axis}, but backend {self._backend!r} takes at most {limits[axis]}; "
                    "give a smaller batch_size, or use backend 'cuda' or 'cpu'"
                )
        padded = buckets.buckets(real, limits)
        with _DEVICE:
            session = self._session
            if session is None:
                raise BackendError(f"{self._name}.onnx is closed; load the bundle again")
            try:
                return self._run(session, arrays, real, padded)
            except BackendError:
                raise
            except Exception as error:
                raise BackendError(
                    f"ONNX Runtime {onnxruntime.__version__} cannot run {self._name}.onnx on backend "
                    f"{self._backend!r}: {line(error)}" + "; TRIMF_CUDA_GRAPHS=0 turns CUDA graphs off" * self.graphs
                ) from error

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        arrays: Mapping[str, Any],
        real: Mapping[str, int],
        padded: Mapping[str, int],
    ) -> dict[str, Any]:
        thread = self._thread
        addresses = []
        for name in self.inputs:
            array = arrays[name]
            if isinstance(array, DeviceArray):
                value = array.bind(buckets.shape(name, padded, array.shape))
            else:
                value = self._upload(array, name, padded)
            thread.binding.bind_ortvalue_input(name, value)
            addresses.append(value.data_ptr())
        outputs = {name: self._buffer(name, buckets.shape(name, padded, self.outputs[name])) for name in self.outputs}
        for name, buffer in outputs.items():
            thread.binding.bind_ortvalue_output(name, buffer.value)
            addresses.append(buffer.value.data_ptr())
            buffer.writes += 1
        session.run_with_iobinding(thread.binding, self._options((*padded.values(), *addresses)))
        thread.binding.synchronize_outputs()
        return {name: DeviceArray(name, buffer, real) for name, buffer in outputs.items()}

    def _upload(self, array: npt.NDArray[Any], name: str, padded: Mapping[str, int]) -> onnxruntime.OrtValue:
        kind = self._types[name]
        if array.dtype != ELEMENTS[kind][1]:
            raise BackendError(f"{name} is {array.dtype}, but {self._name}.onnx takes {kind}")
        grown = np.ascontiguousarray(buckets.pad(array, name, padded))
        for size, stated in zip(grown.shape, self._shapes[name], strict=True):
            if isinstance(stated, int) and size != stated:
                raise BackendError(f"{name} has shape {array.shape}, but {self._name}.onnx takes {self._shapes[name]}")
        value = self._buffer(name, grown.shape).value
        value.update_inplace(grown)
        return value

    def _buffer(self, name: str, shape: tuple[int, ...]) -> _Buffer:
        pool = self._thread.buffers
        if (name, shape) not in pool:
            element = ELEMENTS[self._types[name]][0]
            pool[name, shape] = _Buffer(
                onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), element, *self._provider.place)
            )
        return pool[name, shape]

    def _options(self, key: tuple[int, ...]) -> onnxruntime.RunOptions | None:
        """A set of buffers runs plainly the first time, is captured the second time and replayed from then on."""
        if not self.graphs:
            return None
        runs = self._thread.runs
        if key not in runs:
            runs[key] = _graph(next(self._ids))
            return _graph(-1)
        return runs[key]

    def close(self) -> None:
        """Free the session and the buffers of every thread; a second time there is nothing left to free."""
        with _DEVICE:
            if self._session is not None:
                self._session = None
                del self._thread


class DeviceBackend:
    """ONNX Runtime on a GPU by one of :data:`PROVIDERS`, with ``threads`` threads (1) for what stays on the CPU.

    Raises:
        BackendError: the provider is not installed or has no device, or ``threads`` is not positive.
    """

    def __init__(self, name: str, reason: str = "asked for", threads: int | None = None) -> None:
        self.name, self.reason = name, reason
        self.threads = thread_count(threads, 1)
        self._provider = PROVIDERS[name]
        self._devices = self._provider.ready()

    def open(self, name: str, files: Files) -> DeviceSubgraph:
        """Load a subgraph of a bundle; raises as :meth:`load` does."""
        return self.load(name, files.read(f"{name}.onnx"))

    def load(self, name: str, model: bytes) -> DeviceSubgraph:
        """Load a subgraph from the bytes of its ONNX file; weights outside the file cannot be reached.

        Raises:
            BackendError: ONNX Runtime cannot load it, or would run it or a matrix product of it elsewhere.
        """
        with _DEVICE:
            session, graphs = self._start(name, model, self._provider.graphs and _replays())
        self._check(name, session)
        return DeviceSubgraph(session, name, self.name, self._provider, graphs)

    def _start(self, name: str, model: bytes, graphs: bool) -> tuple[onnxruntime.InferenceSession, bool]:
        provider = self._provider
        options = session_options(self.threads)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            settings = provider.options(model) | ({"enable_cuda_graph": "1"} if graphs else {})
            chosen: list[Any] | None = [(provider.name, settings), *provider.after]
            if self._devices:
                options.add_provider_for_devices(self._devices, settings)
                chosen = None
            return onnxruntime.InferenceSession(model, options, providers=chosen, enable_fallback=0), graphs
        except BackendError:
            raise
        except Exception as error:
            if graphs:
                _LOG.info("%s.onnx runs on backend %r without CUDA graphs: %s", name, self.name, line(error))
                return self._start(name, model, False)
            version = onnxruntime.__version__
            raise BackendError(
                f"ONNX Runtime {version} cannot load {name}.onnx on backend {self.name!r}: {line(error)}"
            ) from error

    def _check(self, name: str, session: onnxruntime.InferenceSession) -> None:
        wanted, first = self._provider.name, session.get_providers()[0]
        if first != wanted:
            raise BackendError(
                f"{name}.onnx was to run on {wanted}, but ONNX Runtime {onnxruntime.__version__} could not start it "
                f"and took {first}: no NVIDIA device or driver, or libraries of another CUDA, cuDNN or TensorRT; "
                "check nvidia-smi, or use backend 'cpu'"
            )
        if not hasattr(session, "get_provider_graph_assignment_info"):
            _LOG.warning("ONNX Runtime %s cannot say what of %s.onnx runs where", onnxruntime.__version__, name)
            return
        astray = sorted(
            {
                f"{node.op_type} on {part.ep_name}"
                for part in session.get_provider_graph_assignment_info()
                for node in part.get_nodes()
                if part.ep_name != wanted and ("MatMul" in node.op_type or node.op_type == "Gemm")
            }
        )
        if astray:
            raise BackendError(
                f"{wanted} leaves matrix products of {name}.onnx to others: {', '.join(astray)}; "
                "use backend 'cpu', or a bundle exported for GPUs (--fp16 or fp32)"
            )


def _replays() -> bool:
    if os.environ.get("TRIMF_CUDA_GRAPHS") == "0":
        return False
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < GRAPHS_SINCE:
        _LOG.info("CUDA graphs are off: they need ONNX Runtime %d.%d, this is %d.%d", *GRAPHS_SINCE, *version)
    return version >= GRAPHS_SINCE


def _graph(number: int) -> onnxruntime.RunOptions:
    """Options of a run that is captured as, or replayed from, a CUDA graph; -1 runs plainly."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options

"""Run subgraphs with ONNX Runtime on a GPU: arrays that stay on the device, fixed buffers and CUDA graphs.

Arrays are padded to buckets (``buckets``). The inputs of a call that come from the host are one allocation and one
copy, and so are its outputs that the host reads. Arrays that one subgraph passes to the next stay on the device.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, one_line
from . import buckets
from .contract import AXES, EXTRA, HOST_OUTPUTS
from .derived_inputs import DERIVED, SOURCE_TYPES, list_sources
from .onnx_cpu import ELEMENT_TYPES
from .onnx_device_calls import PreparedCall, RunStates
from .onnx_device_memory import DEVICE_LOCK, OrtDeviceArray, TensorPack
from .onnx_providers import Provider
from .onnxruntime_library import onnxruntime

_LOG = logging.getLogger("trimf")

#: Largest difference between a replayed and a normal run, relative to the largest value of the output.
MAX_REPLAY_DIFFERENCE = 0.01

#: Number of sets of buffers whose runs a thread captures; each costs device memory, and unusual sizes are rare.
MAX_CAPTURED = 512


class OnnxGpuSubgraph:
    """Subgraph in an ONNX Runtime session on a GPU; threads may share it, and their runs take turns.

    Attributes:
        uses_cuda_graphs: True if runs are captured as CUDA graphs, one for each set of buffers.
        inputs: Names of the arrays that it needs.
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
            BackendError: If the ONNX file has a tensor that is listed in neither ``AXES`` nor ``DERIVED``.
        """
        self._session: onnxruntime.InferenceSession | None = session
        self._name, self._backend, self._provider, self.uses_cuda_graphs = name, backend, provider, uses_cuda_graphs
        self._without_graph = -1 if uses_cuda_graphs else None
        self._states = RunStates()
        self._next_graph_id = itertools.count(1)
        self._elements = {entry.name: entry.type for entry in (*session.get_inputs(), *session.get_outputs())}
        if unknown := sorted(set(self._elements) - AXES.keys() - DERIVED.keys()):
            raise BackendError(f"{name}.onnx has an unknown tensor {unknown[0]!r}; expected only {', '.join(AXES)}")
        self._shapes = {entry.name: tuple(entry.shape) for entry in session.get_inputs()}
        self._is_fused = not DERIVED.keys().isdisjoint(self._shapes)
        self.inputs = list_sources(self._shapes)
        self.types = {name: ELEMENT_TYPES[kind][1] for name, kind in self._elements.items()}
        self.types |= {name: SOURCE_TYPES[name] for name in self.inputs if name not in self._shapes}
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
        choose = buckets.tie_bucket_sizes if self._is_fused else buckets.bucket_sizes
        padded_sizes = choose(real_sizes, limits)
        for name in self.inputs:
            if isinstance(arrays[name], OrtDeviceArray):
                self._keep_padding(arrays[name], padded_sizes)
        with DEVICE_LOCK:
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

    def _keep_padding(self, array: OrtDeviceArray, padded_sizes: dict[str, int]) -> None:
        """Take over the padding of an array that is on the device already."""
        for axis, size in zip(AXES[array.name], array.padded_shape, strict=True):
            if axis is None:
                continue
            limit = self._provider.limits.get(axis, size)
            if size > limit:
                raise BackendError(
                    f"{array.name} is padded to {array.padded_shape}, but {axis} must be <= {limit} for backend "
                    f"{self._backend!r}"
                )
            padded_sizes[axis] = size

    def _run_with_binding(
        self,
        session: onnxruntime.InferenceSession,
        arrays: Mapping[str, Any],
        real_sizes: Mapping[str, int],
        padded_sizes: Mapping[str, int],
    ) -> dict[str, Any]:
        """Put the inputs into device memory and run the session on it."""
        on_device = {name: arrays[name] for name in self._shapes if isinstance(arrays.get(name), OrtDeviceArray)}
        contents = self._make_inputs(arrays, on_device, padded_sizes)
        calls = self._states.get_current().calls
        key = (*padded_sizes.values(), *(array.get_address() for array in on_device.values()))
        call = calls.get(key)
        is_new = call is None
        if call is None:
            call = calls[key] = self._prepare_call(session, contents, on_device, padded_sizes)
        for name, content in contents.items():
            call.staging[name][...] = content
        call.uploaded.upload()
        self._run_call(session, call, is_new)
        for pack in set(call.packs.values()):
            pack.write_count += 1
        return {name: OrtDeviceArray(name, call.packs[name], real_sizes) for name in self.outputs}

    def _prepare_call(
        self,
        session: onnxruntime.InferenceSession,
        contents: Mapping[str, npt.NDArray[Any]],
        on_device: Mapping[str, OrtDeviceArray],
        padded_sizes: Mapping[str, int],
    ) -> PreparedCall:
        """Allocate what a call of new sizes needs, and bind it."""
        uploaded = self._get_pack(list(contents), {name: content.shape for name, content in contents.items()})
        call = PreparedCall(session.io_binding(), uploaded, self._get_output_packs(padded_sizes))
        for name in self._shapes:
            if name in on_device:
                array = on_device[name]
                address, element, shape = array.get_address(), self._elements[name], array.padded_shape
            else:
                address, (element, shape, _) = uploaded.get_address(name), uploaded.slots[name]
            self._bind(call.binding.bind_input, name, element, shape, address)
        for name, pack in call.packs.items():
            element, shape, _ = pack.slots[name]
            self._bind(call.binding.bind_output, name, element, shape, pack.get_address(name))
        return call

    def _bind(self, bind: Callable[..., None], name: str, element: str, shape: tuple[int, ...], address: int) -> None:
        """Bind an input or output to an address on the device."""
        kind, index = self._provider.device[:2]
        bind(name, "cuda" if kind == "gpu" else kind, index, ELEMENT_TYPES[element][0], shape, address)

    def _make_inputs(
        self, arrays: Mapping[str, Any], on_device: Mapping[str, Any], padded_sizes: Mapping[str, int]
    ) -> dict[str, npt.NDArray[Any]]:
        """Check the inputs on the host, and pad them or derive them."""
        names = [name for name in self._shapes if name not in on_device]
        padded = {
            name: buckets.pad_array(self._check_input(arrays[name], name), name, padded_sizes)
            for name in list_sources(names)
            if not isinstance(arrays[name], OrtDeviceArray)
        }
        return {name: DERIVED[name].make(padded, padded_sizes) if name in DERIVED else padded[name] for name in names}

    def _check_input(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return an input on the host if it has the type and the fixed sizes of the graph."""
        if name not in self._shapes:  # a fused graph converts the types of what its inputs are made from
            return array
        dtype = self.types[name]
        if dtype is None or array.dtype != dtype:  # ``np.dtype("float64") != None`` is False
            raise BackendError(f"{name} has type {array.dtype}, but {self._name}.onnx expects {self._elements[name]}")
        for size, expected in zip(array.shape, self._shapes[name], strict=True):
            if isinstance(expected, int) and size != expected:
                raise BackendError(
                    f"{name} has shape {array.shape}, but {self._name}.onnx expects {self._shapes[name]}"
                )
        return array

    def _get_output_packs(self, padded_sizes: Mapping[str, int]) -> dict[str, TensorPack]:
        """Return the device memory of each output; those that the host reads share it."""
        shapes = {name: buckets.resolve_shape(name, padded_sizes, shape) for name, shape in self.outputs.items()}
        read = [name for name in shapes if name in HOST_OUTPUTS]
        packs = {name: self._get_pack([name], shapes) for name in shapes if name not in HOST_OUTPUTS}
        return packs | dict.fromkeys(read, self._get_pack(read, shapes)) if read else packs

    def _get_pack(self, names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> TensorPack:
        """Return this thread's device memory for tensors of these shapes, allocating it when first needed."""
        packs = self._states.get_current().packs
        key = tuple((name, shapes[name]) for name in names)
        if key not in packs:
            tensors = ((name, self._elements[name], shapes[name]) for name in names)
            packs[key] = TensorPack(tensors, self._provider.device)
        return packs[key]

    def _run_call(self, session: onnxruntime.InferenceSession, call: PreparedCall, is_new: bool) -> None:
        """Run normally the first time, then captured as a CUDA graph, then replayed.

        The first replay is compared with a normal run: an operator may not replay what it computed.
        """
        is_over_limit = call.graph_id == 0 and len(self._states.get_current().calls) > MAX_CAPTURED
        if not self.uses_cuda_graphs or is_new or is_over_limit:
            _run_once(session, call, self._without_graph)
        elif call.graph_id == 0:
            call.graph_id = next(self._next_graph_id)
            _run_once(session, call, call.graph_id)
        elif call.is_checked:
            _run_once(session, call, call.graph_id)
        else:
            _run_once(session, call, self._without_graph)
            expected = self._copy_floats(call.packs)
            _run_once(session, call, call.graph_id)
            call.is_checked = True
            if not _are_close(expected, self._copy_floats(call.packs)):
                self.uses_cuda_graphs = False
                _LOG.warning(
                    "ONNX Runtime %s replays %s.onnx wrongly from a CUDA graph; it runs without CUDA graphs",
                    onnxruntime.__version__,
                    self._name,
                )
                _run_once(session, call, self._without_graph)

    def _copy_floats(self, packs: Mapping[str, TensorPack]) -> dict[str, npt.NDArray[Any]]:
        """Copy all outputs of a float type that numpy has to the host."""
        copies = {}
        for pack in set(packs.values()):
            pack.write_count += 1  # what was copied before is outdated
        for name, pack in packs.items():
            dtype = self.types[name]
            if dtype is not None and np.issubdtype(dtype, np.floating):
                copies[name] = pack.download(name).astype(np.float32)
        return copies

    def close(self) -> None:
        """Free the session and the buffers of every thread; closing again has no effect."""
        with DEVICE_LOCK:
            if self._session is not None:
                self._session = None
                del self._states


def _run_once(session: onnxruntime.InferenceSession, call: PreparedCall, graph_id: int | None) -> None:
    """Run the session and wait for it.

    -1 runs without a CUDA graph a session that can capture them, which would capture a run without any number.
    """
    session.run_with_iobinding(call.binding, None if graph_id is None else _make_run_options(graph_id))
    call.binding.synchronize_outputs()


def _are_close(expected: Mapping[str, npt.NDArray[Any]], replayed: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Return True if the outputs of two runs are the same but for rounding; what is no number must be none in both."""
    return all(
        np.allclose(
            replayed[name],
            values,
            rtol=0,
            atol=MAX_REPLAY_DIFFERENCE * float(np.abs(np.nan_to_num(values)).max(initial=1e-6)),
            equal_nan=True,
        )
        for name, values in expected.items()
    )


def _make_run_options(graph_id: int) -> onnxruntime.RunOptions:
    """Return the options of a run that is captured as, or replayed from, a CUDA graph; -1 runs without a graph."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options

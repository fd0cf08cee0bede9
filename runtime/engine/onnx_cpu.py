"""Run subgraphs with ONNX Runtime on the CPU."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import numpy as np

from ..bundle.manifest import Manifest
from ..errors import BackendError, BundleError, one_line
from .backend import BundleFiles, resolve_thread_count
from .contract import EXTRA, JOINED, JOINED_FILE, JOINED_WEIGHTS, list_subgraphs
from .cpu_info import count_available_cores, has_saturating_int8_matmul
from .engine_selection import hash_sources
from .onnx_profiler import OnnxProfiler
from .onnxruntime_library import onnxruntime
from .profiling import ProfiledSubgraph

_PROVIDER = "CPUExecutionProvider"

#: Entry in the metadata of the joined graph: the hash of the files that it was made from, see ``hash_sources``.
SOURCES_KEY = "trimf_sources"

#: Optimizer of ONNX Runtime that makes CPUs slower: its SkipLayerNormalization takes several times as long there as the
#: addition and the layer normalisation that it replaces.
SLOW_FUSIONS = "SkipLayerNormFusion"

#: Sessions that are in use.
_sessions: WeakSet[onnxruntime.InferenceSession] = WeakSet()

#: ONNX Runtime's name of an element type -> its number in ONNX and its numpy type (None for bfloat16, which numpy
#: lacks).
ELEMENT_TYPES: dict[str, tuple[int, type[np.generic] | None]] = {
    "tensor(float)": (1, np.float32),
    "tensor(int32)": (6, np.int32),
    "tensor(int64)": (7, np.int64),
    "tensor(bool)": (9, np.bool_),
    "tensor(float16)": (10, np.float16),
    "tensor(bfloat16)": (16, None),
}


def make_session_options(threads: int, *, saturates: bool = True) -> onnxruntime.SessionOptions:
    """Return the options that all sessions share: only errors are logged, and weights outside the file are refused.

    Args:
        threads: Number of intra-op threads.
        saturates: Whether int8 matrix products of the graph may saturate on a CPU without VNNI, which then computes
            them in the exact mode.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if saturates and has_saturating_int8_matmul():
        options.add_session_config_entry("session.x64quantprecision", "1")
    # For a model loaded from bytes, ONNX Runtime would look for external weights in the current folder. No file can
    # exist below os.devnull.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def share_weights(options: onnxruntime.SessionOptions, weights: Mapping[str, bytes]) -> None:
    """Let a session take weights from files in memory.

    Args:
        options: Options of the session.
        weights: Content of the files by name.
    """
    if weights:
        sizes = [len(content) for content in weights.values()]
        options.add_external_initializers_from_files_in_memory(list(weights), list(weights.values()), sizes)


def _keep_sessions() -> None:
    """Keep all sessions until the process ends.

    A forked process has none of the threads of its parent, and a session that is freed waits for its threads: the
    process would hang or crash when it frees one.
    """
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_keep_sessions)


def can_saturate(manifest: Manifest) -> bool:
    """Return True if int8 matrix products of a bundle may saturate on a CPU without VNNI.

    Args:
        manifest: Manifest of the bundle.
    """
    return manifest.quantization is not None and manifest.quantization.saturates


class OnnxCpuSubgraph:
    """Subgraph in an ONNX Runtime session on the CPU; any number of threads may run it at once.

    Attributes:
        inputs: Names of the inputs.
        types: Name of an input or output -> numpy type; None for bfloat16.
        outputs: Name of an output -> shape, with None for axes whose size depends on the inputs.
        metadata: Metadata of the ONNX file.
    """

    def __init__(self, session: onnxruntime.InferenceSession, name: str) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        _sessions.add(session)
        self._name = name
        self.inputs = tuple(entry.name for entry in session.get_inputs())
        self.types = {
            entry.name: ELEMENT_TYPES[entry.type][1] for entry in (*session.get_inputs(), *session.get_outputs())
        }
        self.outputs = {
            entry.name: tuple(size if isinstance(size, int) else None for size in entry.shape)
            for entry in session.get_outputs()
        }
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        """Compute the outputs of the subgraph.

        Args:
            arrays: Input name -> array; arrays that are not inputs are ignored.
            extra: Also compute the outputs in ``EXTRA``.

        Returns:
            Output name -> numpy array.

        Raises:
            BackendError: If the subgraph was closed or ONNX Runtime fails.
        """
        session = self._session
        if session is None:
            raise BackendError(f"{self._name}.onnx is closed; load the bundle again")
        names = [name for name in self.outputs if extra or name not in EXTRA]
        try:
            values = session.run(names, {name: arrays[name] for name in self.inputs})
        except Exception as error:
            version = onnxruntime.__version__
            raise BackendError(f"ONNX Runtime {version} cannot run {self._name}.onnx: {one_line(error)}") from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Free the session; closing again has no effect."""
        self._session = None


class OnnxCpuBackend:
    """ONNX Runtime with its CPU execution provider.

    Args:
        threads: Number of intra-op threads; by default all cores that the process may use.
        reason: Why this backend was selected, for display.
        optimize: False runs the nodes of a graph exactly as written, without graph optimizations. That is slower and
            serves as the reference for other backends.

    Raises:
        BackendError: If ``threads`` is not positive.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None, reason: str = "requested", *, optimize: bool = True) -> None:
        self._optimize = optimize
        self.threads = resolve_thread_count(threads, count_available_cores())
        self.reason = reason

    def choose_subgraphs(self, files: BundleFiles, uses_model_parser: bool) -> tuple[str, ...]:
        """Return the names of the graphs to open: the joined ones where the bundle has them.

        Without graph optimizations the separate ones run, which others are compared with.

        Args:
            files: The bundle.
            uses_model_parser: Whether sentences are parsed by the model itself.
        """
        joined = uses_model_parser and self._optimize and JOINED_FILE in files.manifest.files
        return list_subgraphs(relations=files.manifest.labels.has_relations, joined=joined)

    def name_file(self, name: str, files: BundleFiles) -> str:
        """Return the name of the ONNX file of a subgraph.

        Args:
            name: Name of the subgraph.
            files: The bundle.
        """
        return f"{name}.onnx"

    def open(self, name: str, files: BundleFiles) -> OnnxCpuSubgraph:
        """Load a subgraph of a bundle.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: If ONNX Runtime cannot load it or selects another provider.
            BundleError: If a file is missing or damaged, or the joined graph was made from other files.
        """
        return self._open(name, files, None)

    def open_profiled(self, name: str, files: BundleFiles) -> ProfiledSubgraph:
        """Load a subgraph of a bundle together with a profiler of its nodes.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: If ONNX Runtime cannot load it or selects another provider.
            BundleError: If a file is missing or damaged, or the joined graph was made from other files.
        """
        profiler = OnnxProfiler(name)
        return ProfiledSubgraph(self._open(name, files, profiler), profiler)

    def _open(self, name: str, files: BundleFiles, profiler: OnnxProfiler | None) -> OnnxCpuSubgraph:
        model = files.read(self.name_file(name, files))
        saturates = can_saturate(files.manifest)
        if name != JOINED:
            return self.load(name, model, profiler, saturates=saturates)
        weights = {other: files.read(other) for other in JOINED_WEIGHTS}
        subgraph = self.load(name, model, profiler, weights, saturates=saturates)
        if subgraph.metadata.get(SOURCES_KEY) != hash_sources(JOINED, files.manifest.files):
            raise BundleError(
                f"{files.path}/{JOINED_FILE} was not made from the bundle's {', '.join(JOINED_WEIGHTS)}, whose weights "
                "it takes; export the bundle again"
            )
        return subgraph

    def load(
        self,
        name: str,
        model: bytes,
        profiler: OnnxProfiler | None = None,
        weights: Mapping[str, bytes] | None = None,
        *,
        saturates: bool = True,
    ) -> OnnxCpuSubgraph:
        """Load a subgraph from the bytes of its ONNX file.

        Args:
            name: Name of the subgraph.
            model: Content of the ONNX file; weights outside the file are refused.
            profiler: Profiler of the session, if it is to be profiled.
            weights: Content of the other files of the bundle that it may take weights from, by name.
            saturates: Whether its int8 matrix products may saturate on a CPU without VNNI.

        Raises:
            BackendError: If ONNX Runtime cannot load it or selects another provider.
        """
        options = make_session_options(self.threads, saturates=saturates)
        # Memory patterns, one per input shape ever seen, cost memory and save no time. The memory arena does save time
        # on long sentences: without it, every large buffer is mapped anew.
        options.enable_mem_pattern = False
        options.add_session_config_entry("optimization.disable_specified_optimizers", SLOW_FUSIONS)
        if not self._optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profiler:
            profiler.configure(options)
        share_weights(options, weights or {})
        try:
            session = onnxruntime.InferenceSession(model, options, providers=[_PROVIDER])
        except Exception as error:
            version = onnxruntime.__version__
            raise BackendError(f"ONNX Runtime {version} cannot load {name}.onnx: {one_line(error)}") from error
        session._model_bytes = None  # kept for ``set_providers``, which nobody calls
        provider = session.get_providers()[0]
        if provider != _PROVIDER:
            raise BackendError(f"{name}.onnx must run on {_PROVIDER}, but ONNX Runtime selected {provider}")
        if profiler:
            profiler.attach(session)
        return OnnxCpuSubgraph(session, name)

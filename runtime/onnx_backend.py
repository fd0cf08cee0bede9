"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .backend import EXTRA, Files, thread_count
from .cores import available_cores, overflows
from .errors import BackendError, line
from .onnxruntime_library import onnxruntime

_PROVIDER = "CPUExecutionProvider"

#: ONNX Runtime's name of an element type -> its number in ONNX, and its numpy type (which bfloat16 lacks).
ELEMENTS: dict[str, tuple[int, type[np.generic] | None]] = {
    "tensor(float)": (1, np.float32),
    "tensor(int32)": (6, np.int32),
    "tensor(int64)": (7, np.int64),
    "tensor(bool)": (9, np.bool_),
    "tensor(float16)": (10, np.float16),
    "tensor(bfloat16)": (16, None),
}


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options of every session: so many threads for one operation, only errors logged, no weights outside the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if overflows():
        options.add_session_config_entry("session.x64quantprecision", "1")
    # A model given as bytes would find external weights below the current folder; nothing lies below this one.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


class OnnxSubgraph:
    """A subgraph as an ONNX Runtime session; any number of threads may run it at once."""

    def __init__(self, session: onnxruntime.InferenceSession, name: str) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._name = name
        self.inputs = tuple(entry.name for entry in session.get_inputs())
        self.types = {entry.name: ELEMENTS[entry.type][1] for entry in (*session.get_inputs(), *session.get_outputs())}
        self.outputs = {
            entry.name: tuple(size if isinstance(size, int) else None for size in entry.shape)
            for entry in session.get_outputs()
        }

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        """Compute every output, those of :data:`EXTRA` only with ``extra``, as numpy arrays.

        Raises:
            BackendError: the subgraph was closed, or ONNX Runtime fails.
        """
        session = self._session
        if session is None:
            raise BackendError(f"{self._name}.onnx is closed; load the bundle again")
        names = [name for name in self.outputs if extra or name not in EXTRA]
        try:
            values = session.run(names, {name: arrays[name] for name in self.inputs})
        except Exception as error:
            version = onnxruntime.__version__
            raise BackendError(f"ONNX Runtime {version} cannot run {self._name}.onnx: {line(error)}") from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Free the session; a second time there is nothing left to free."""
        self._session = None


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU provider with ``threads`` threads for one operation.

    With ``optimize`` false it runs a graph's nodes as they are written: slower, and what others are compared with.

    Raises:
        BackendError: ``threads`` is not positive.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None, reason: str = "asked for", *, optimize: bool = True) -> None:
        self._optimize = optimize
        self.threads = thread_count(threads, available_cores())
        self.reason = reason

    def open(self, name: str, files: Files) -> OnnxSubgraph:
        """Load a subgraph of a bundle; raises as :meth:`load` does."""
        return self.load(name, files.read(f"{name}.onnx"))

    def load(self, name: str, model: bytes) -> OnnxSubgraph:
        """Load a subgraph from the bytes of its ONNX file; weights outside the file cannot be reached.

        Raises:
            BackendError: ONNX Runtime cannot load it or would run it elsewhere.
        """
        options = session_options(self.threads)
        # Patterns, one for every shape a batch ever had, cost memory and save no time. The arena does, where a sentence
        # is long: without it every large buffer is mapped anew.
        options.enable_mem_pattern = False
        if not self._optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(model, options, providers=[_PROVIDER])
        except Exception as error:
            version = onnxruntime.__version__
            raise BackendError(f"ONNX Runtime {version} cannot load {name}.onnx: {line(error)}") from error
        if session.get_providers()[0] != _PROVIDER:
            raise BackendError(f"{name}.onnx was to run on {_PROVIDER}, but runs on {session.get_providers()[0]}")
        return OnnxSubgraph(session, name)

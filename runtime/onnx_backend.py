"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import onnxruntime

from .backend import Files
from .errors import BackendError

_PROVIDER = "CPUExecutionProvider"


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(threads: int | None, default: int) -> int:
    """``threads``, or ``default`` where it is None.

    Raises:
        BackendError: ``threads`` is not positive.
    """
    if threads is not None and threads < 1:
        raise BackendError(f"threads = {threads}, but at least 1 is needed")
    return threads or default


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options of every session: so many threads for one operation, only errors logged, no weights outside the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A model given as bytes would find external weights below the current folder; nothing lies below this one.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


class OnnxSubgraph:
    """A subgraph as an ONNX Runtime session; any number of threads may run it at once."""

    def __init__(self, session: onnxruntime.InferenceSession, name: str) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._name = name
        self.inputs = tuple(entry.name for entry in session.get_inputs())
        self.outputs = {
            entry.name: tuple(size if isinstance(size, int) else None for size in entry.shape)
            for entry in session.get_outputs()
        }

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output, as numpy arrays.

        Raises:
            BackendError: the subgraph was closed.
        """
        session = self._session
        if session is None:
            raise BackendError(f"{self._name}.onnx is closed; load the bundle again")
        values = session.run(list(self.outputs), {name: arrays[name] for name in self.inputs})
        return dict(zip(self.outputs, values, strict=True))

    def close(self) -> None:
        """Free the session; a second time there is nothing left to free."""
        self._session = None


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU provider with ``threads`` threads for one operation.

    Raises:
        BackendError: ``threads`` is not positive.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None, reason: str = "asked for") -> None:
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
        try:
            session = onnxruntime.InferenceSession(model, session_options(self.threads), providers=[_PROVIDER])
        except Exception as error:
            reason = " ".join(str(error).split())
            raise BackendError(f"ONNX Runtime {onnxruntime.__version__} cannot load {name}.onnx: {reason}") from error
        if session.get_providers()[0] != _PROVIDER:
            raise BackendError(f"{name}.onnx was to run on {_PROVIDER}, but runs on {session.get_providers()[0]}")
        return OnnxSubgraph(session, name)

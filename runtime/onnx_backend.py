"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import onnxruntime

from .errors import BackendError

_PROVIDER = "CPUExecutionProvider"


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxSubgraph:
    """A subgraph as an ONNX Runtime session; any number of threads may run it at once."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = tuple(entry.name for entry in session.get_inputs())
        self._outputs = [entry.name for entry in session.get_outputs()]

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output, as numpy arrays."""
        values = self._session.run(self._outputs, {name: arrays[name] for name in self.inputs})
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Free the session."""
        del self._session


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU provider with ``threads`` threads for one operation.

    Raises:
        BackendError: ``threads`` is not positive.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise BackendError(f"threads = {threads}, but at least 1 is needed")
        self.threads = threads or available_cores()

    def open(self, name: str, model: bytes) -> OnnxSubgraph:
        """Load a subgraph from the bytes of its ONNX file; weights outside the file cannot be reached.

        Raises:
            BackendError: ONNX Runtime cannot load it or would run it elsewhere.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(model, options, providers=[_PROVIDER])
        except Exception as error:
            raise BackendError(f"ONNX Runtime {onnxruntime.__version__} cannot load {name}.onnx: {error}") from error
        if session.get_providers()[0] != _PROVIDER:
            raise BackendError(f"{name}.onnx was to run on {_PROVIDER}, but runs on {session.get_providers()[0]}")
        return OnnxSubgraph(session)

"""Keep what a thread needs for running a session: calls bound to device memory, and the memory itself."""

from __future__ import annotations

import threading
from typing import Any

from .onnx_device_memory import TensorPack
from .onnxruntime_library import onnxruntime


class PreparedCall:
    """Run with one set of device memory, to which the session's inputs and outputs are bound.

    Attributes:
        binding: The binding.
        uploaded: Inputs that come from the host.
        staging: Host memory of each of them.
        packs: Device memory of each output.
        graph_id: Number of the CUDA graph that the run was captured as; 0 before.
        is_checked: Whether a replay was compared with a normal run.
    """

    def __init__(self, binding: onnxruntime.IOBinding, uploaded: TensorPack, packs: dict[str, TensorPack]) -> None:
        self.binding, self.uploaded, self.packs = binding, uploaded, packs
        self.staging = {name: uploaded.get_staging(name) for name in uploaded.slots}
        self.graph_id = 0
        self.is_checked = False


class RunState:
    """Resources of one thread for running a session: its calls by sizes and addresses, and its device memory."""

    def __init__(self) -> None:
        self.calls: dict[tuple[int, ...], PreparedCall] = {}
        self.packs: dict[tuple[Any, ...], TensorPack] = {}


class _Lease:
    """Hold of a thread on a state; when the thread has ended, another takes the state over, with what it captured."""

    def __init__(self, state: RunState, idle: list[RunState]) -> None:
        self.state, self._idle = state, idle

    def __del__(self) -> None:
        self._idle.append(self.state)


class RunStates:
    """States of the threads that run a session, each with device memory of its own."""

    def __init__(self) -> None:
        self._idle: list[RunState] = []
        self._thread = threading.local()

    def get_current(self) -> RunState:
        """Return the state of the calling thread."""
        lease: _Lease | None = getattr(self._thread, "lease", None)
        if lease is None:
            state = self._idle.pop() if self._idle else RunState()
            lease = self._thread.lease = _Lease(state, self._idle)
        return lease.state

"""What of a call goes to and from a GPU, and waiting for it; on a CPU both are nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

#: Where the runtime copies: module, class and method, in which direction.
_COPIES = (
    ("cuda_memory", "Workspace", "upload", "host-to-device"),
    ("cuda_memory", "DeviceArray", "__array__", "device-to-host"),
    ("onnx_device_backend", "DeviceSubgraph", "_upload", "host-to-device"),
    ("onnx_device_backend", "DeviceArray", "__array__", "device-to-host"),
)


class Event(NamedTuple):
    """A copy of the tensor ``name`` between two times (``time.perf_counter``)."""

    way: str
    name: str
    start: float
    end: float


@contextmanager
def copies(events: list[Event]) -> Iterator[None]:
    """Add to ``events`` every copy that the runtime makes inside; each is waited for.

    Only modules that the backend loaded are looked at: on a CPU nothing is replaced.
    """
    package = __package__.rpartition(".")[0]
    with ExitStack() as undo:
        for module, holder, method, way in _COPIES:
            loaded = sys.modules.get(f"{package}.runtime.{module}")
            if loaded is not None:
                owner = getattr(loaded, holder)
                undo.callback(setattr, owner, method, getattr(owner, method))
                setattr(owner, method, _timed(getattr(owner, method), way, events))
        yield


def wait(graph: Any) -> None:
    """Wait until a subgraph's work is done. ONNX Runtime waits by itself; TensorRT's stream belongs to the thread."""
    backend: Any = getattr(graph, "_backend", None)
    if hasattr(backend, "workspaces"):
        workspace = backend.workspaces.own()
        with workspace.lock:
            workspace.synchronize()


def _timed(copy: Callable[..., Any], way: str, events: list[Event]) -> Callable[..., Any]:
    def timed(holder: Any, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        copied = copy(holder, *arguments, **options)
        if hasattr(holder, "synchronize"):
            holder.synchronize()
        name = holder.name if way == "device-to-host" else _name(arguments)
        events.append(Event(way, name, start, time.perf_counter()))
        return copied

    return timed


def _name(arguments: tuple[Any, ...]) -> str:
    """The tensor's name: an upload is given it together with the array."""
    return next((one for one in arguments if isinstance(one, str)), "")

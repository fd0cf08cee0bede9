"""Timing of copies to and from a GPU, and waiting for its work; on a CPU there is neither."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

#: Methods of the runtime that copy: module, class, method, and direction of the copy.
_COPY_METHODS = (
    ("cuda_memory", "Workspace", "upload", "host-to-device"),
    ("cuda_memory", "DeviceArray", "__array__", "device-to-host"),
    ("onnx_device_backend", "DeviceSubgraph", "_upload_input", "host-to-device"),
    ("onnx_device_backend", "DeviceArray", "__array__", "device-to-host"),
)


class CopyEvent(NamedTuple):
    """A copy of a tensor between host and device.

    Attributes:
        way: Direction, "host-to-device" or "device-to-host".
        name: Name of the tensor.
        start: Start of the copy (``time.perf_counter``).
        end: End of the copy.
    """

    way: str
    name: str
    start: float
    end: float


@contextmanager
def record_copies(events: list[CopyEvent]) -> Iterator[None]:
    """Record every copy that the runtime makes inside the block, waiting for each copy to finish.

    Only modules that the backend has already imported are instrumented: on a CPU nothing is replaced.

    Args:
        events: List to append the copies to.
    """
    package = __package__.rpartition(".")[0]
    with ExitStack() as undo:
        for module, class_name, method, way in _COPY_METHODS:
            loaded = sys.modules.get(f"{package}.runtime.{module}")
            if loaded is not None:
                owner = getattr(loaded, class_name)
                undo.callback(setattr, owner, method, getattr(owner, method))
                setattr(owner, method, _time_copies(getattr(owner, method), way, events))
        yield


def wait_for_subgraph(graph: Any) -> None:
    """Wait until the work of a subgraph is done.

    ONNX Runtime waits by itself; the native TensorRT backend has one stream per thread.

    Args:
        graph: A subgraph that the calling thread has run.
    """
    backend: Any = getattr(graph, "_backend", None)
    if hasattr(backend, "workspaces"):
        workspace = backend.workspaces.own()
        with workspace.lock:
            workspace.synchronize()


def _time_copies(copy: Callable[..., Any], way: str, events: list[CopyEvent]) -> Callable[..., Any]:
    """Wrap a copying method so that it waits for the copy and appends an event."""

    def timed(holder: Any, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        copied = copy(holder, *arguments, **options)
        if hasattr(holder, "synchronize"):
            holder.synchronize()
        name = holder.name if way == "device-to-host" else _find_tensor_name(arguments)
        events.append(CopyEvent(way, name, start, time.perf_counter()))
        return copied

    return timed


def _find_tensor_name(arguments: tuple[Any, ...]) -> str:
    """Return the tensor's name, which an upload takes together with the array, in either order."""
    return next((argument for argument in arguments if isinstance(argument, str)), "")

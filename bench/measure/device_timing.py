"""Timing of copies to and from a GPU, and waiting for its work; on a CPU there is neither."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple

from ...runtime.engine.contract import AsynchronousSubgraph

#: Direction of a copy.
Direction = Literal["host-to-device", "device-to-host"]


class CopyEvent(NamedTuple):
    """A copy of a tensor between host and device.

    Attributes:
        direction: Direction of the copy.
        name: Name of the tensor.
        start: Start of the copy (``time.perf_counter``).
        end: End of the copy.
    """

    direction: Direction
    name: str
    start: float
    end: float


@contextmanager
def record_copies(events: list[CopyEvent]) -> Iterator[None]:
    """Record every copy that the runtime makes inside the block, waiting for each copy to finish.

    Args:
        events: List to append the copies to.
    """
    with ExitStack() as undo:
        for owner, method, direction in _list_copy_methods():
            undo.callback(setattr, owner, method.__name__, method)
            setattr(owner, method.__name__, _time_copies(method, direction, events))
        yield


def _list_copy_methods() -> list[tuple[type, Callable[..., Any], Direction]]:
    """List the methods of the runtime that copy: class, method and direction.

    Those for ONNX Runtime are left out if the process has not imported it, because importing it takes long.
    """
    from ...runtime.engine.cuda_memory import CudaArray, Workspace

    methods: list[tuple[type, Callable[..., Any], Direction]] = [
        (Workspace, Workspace.upload, "host-to-device"),
        (CudaArray, CudaArray.__array__, "device-to-host"),
    ]
    if "onnxruntime" in sys.modules:
        from ...runtime.engine.onnx_device_memory import TensorPack

        methods += [
            (TensorPack, TensorPack.upload, "host-to-device"),
            (TensorPack, TensorPack.copy_to_host, "device-to-host"),
        ]
    return methods


def wait_for_subgraph(graph: Any) -> None:
    """Wait until the work of a subgraph is done.

    ONNX Runtime waits by itself.

    Args:
        graph: A subgraph that the calling thread has run.
    """
    if isinstance(graph, AsynchronousSubgraph):
        graph.synchronize()


def _time_copies(copy: Callable[..., Any], direction: Direction, events: list[CopyEvent]) -> Callable[..., Any]:
    """Wrap a copying method so that it waits for the copy and appends an event."""

    def timed(holder: Any, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        copied = copy(holder, *arguments, **options)
        if hasattr(holder, "synchronize"):
            holder.synchronize()
        name = holder.name if hasattr(holder, "name") else _find_tensor_name(arguments)
        events.append(CopyEvent(direction, name, start, time.perf_counter()))
        return copied

    return timed


def _find_tensor_name(arguments: tuple[Any, ...]) -> str:
    """Return the tensor's name, which an upload takes together with the array, in either order."""
    return next((argument for argument in arguments if isinstance(argument, str)), "")

"""Manage the device memory of each thread: its CUDA stream, its buffers, and the arrays in these buffers.

What a call of a subgraph takes from the host is one buffer and one copy, and so is what the host reads of its outputs.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import BackendError
from . import buckets
from .cuda import CudaDevice
from .tensor_layout import count_bytes, view_tensor

#: Limit per thread on the objects that ``Workspace.get_or_create`` keeps (the least recently used is closed first), and
#: on the uploads that may be in progress.
MAX_CACHED = 128


class Closeable(Protocol):
    """Object that holds device resources."""

    def close(self) -> None:
        """Free the resources."""


_T = TypeVar("_T", bound=Closeable)


class Buffer:
    """Growable device memory of tensors that are written together.

    Attributes:
        address: Address on the device; 0 if nothing is allocated.
        size: Number of bytes allocated.
        write_count: Number of times that it was written; arrays compare it to tell if they are outdated.
        content: Copy on the host of what was written last, if it was downloaded.
    """

    __slots__ = ("address", "content", "size", "write_count")

    def __init__(self) -> None:
        self.address = self.size = self.write_count = 0
        self.content: npt.NDArray[np.uint8] | None = None

    def invalidate(self) -> None:
        """Make the arrays in the buffer outdated."""
        self.write_count += 1
        self.content = None


class Workspace:
    """Stream and buffers of one thread.

    Work on the stream runs in order, so each run of a subgraph may use the buffers of the run before.

    Attributes:
        device: The device that owns the memory.
        lock: To be held while the workspace is in use, so that no other thread frees it.
        stream: The CUDA stream.
    """

    def __init__(self, device: CudaDevice) -> None:
        self.device = device
        self.lock = threading.Lock()
        self._buffers: dict[Hashable, Buffer] = {}
        self._cached_objects: dict[Hashable, Any] = {}
        self._pending_uploads: list[npt.NDArray[Any]] = []
        self._closed = False
        self.stream = device.create_stream()

    def reserve_buffer(self, key: Hashable, size: int) -> Buffer:
        """Return a buffer for writing; arrays that used it before become invalid.

        Args:
            key: Key of the buffer.
            size: Required size in bytes; a smaller buffer is reallocated.

        Raises:
            BackendError: If CUDA reports an error, such as too little memory.
        """
        buffer = self._buffers.setdefault(key, Buffer())
        buffer.invalidate()
        if buffer.size < size:
            self.synchronize()
            address, buffer.address, buffer.size = buffer.address, 0, 0
            if address:
                self.device.free(address)
            capacity = 1 << max(size - 1, 255).bit_length()
            buffer.address, buffer.size = self.device.malloc(capacity), capacity
        return buffer

    def upload(self, key: Hashable, array: npt.NDArray[Any]) -> int:
        """Enqueue a copy of a host array to a buffer.

        Args:
            key: Key of the buffer.
            array: Array to copy, which must not change until the copy is done.

        Returns:
            The address of the buffer.

        Raises:
            BackendError: If CUDA reports an error.
        """
        array = np.ascontiguousarray(array)
        if len(self._pending_uploads) == MAX_CACHED:
            self.synchronize()
        buffer = self.reserve_buffer(key, array.nbytes)
        self._pending_uploads.append(array)  # must stay alive until the copy is done
        self.device.upload(array, buffer.address, self.stream)
        return buffer.address

    def download(self, buffer: Buffer, size: int) -> npt.NDArray[np.uint8]:
        """Return what a buffer holds; the first call after a run waits for all enqueued work and copies it to the host.

        Args:
            buffer: Buffer to read.
            size: Number of bytes that the last run wrote to it.

        Raises:
            BackendError: If CUDA reports an error.
        """
        if buffer.content is None:
            content = np.empty(size, np.uint8)
            self.device.download(buffer.address, content, self.stream)
            self.synchronize()
            buffer.content = content
        return buffer.content

    def synchronize(self) -> None:
        """Wait for all work of this thread."""
        self.device.synchronize(self.stream)
        self._pending_uploads.clear()

    def get_or_create(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the cached object of a key, creating it if needed.

        At most ``MAX_CACHED`` objects are cached; the least recently used is closed when there are more.

        Args:
            key: Cache key.
            make: Creates the object if the key is not cached.
        """
        cached: _T = self._cached_objects.pop(key) if key in self._cached_objects else make()
        self._cached_objects[key] = cached
        if len(self._cached_objects) > MAX_CACHED:
            oldest = next(iter(self._cached_objects))
            self.close_cached(lambda cached_key: cached_key == oldest)
        return cached

    def close_cached(self, matches: Callable[[Hashable], bool]) -> None:
        """Close the cached objects whose key satisfies ``matches``."""
        keys = [key for key in self._cached_objects if matches(key)]
        if keys:
            self.synchronize()
        for key in keys:
            self._cached_objects.pop(key).close()

    def close(self) -> None:
        """Free everything; closing again has no effect."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self.close_cached(lambda _: True)
            self.synchronize()
            for buffer in self._buffers.values():
                buffer.invalidate()
                if buffer.address:
                    self.device.free(buffer.address)
            self._buffers.clear()
            self.device.destroy_stream(self.stream)

    def __del__(self) -> None:
        """Free the memory of a thread that ended or of a backend that was never closed, except at interpreter exit."""
        if not sys.is_finalizing() and hasattr(self, "stream"):
            self.close()


class Workspaces:
    """Workspaces of all threads that use a backend, each created when its thread first needs it."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._alive: weakref.WeakSet[Workspace] = weakref.WeakSet()
        self._thread_local = threading.local()

    def get_current(self) -> Workspace:
        """Return the workspace of the calling thread."""
        workspace: Workspace | None = getattr(self._thread_local, "workspace", None)
        if workspace is None:
            workspace = self._thread_local.workspace = Workspace(self._device)
            with self._lock:
                self._alive.add(workspace)
        return workspace

    def list_alive(self) -> list[Workspace]:
        """Return the workspaces of all threads that are alive."""
        with self._lock:
            return list(self._alive)

    def close(self) -> None:
        """Free all workspaces; a thread that needs one later gets a new one."""
        self._thread_local = threading.local()
        for workspace in self.list_alive():
            workspace.close()


class CudaArray:
    """Tensor on the device, padded to its bucket; ``numpy.asarray`` copies the part without padding to the host,
    bfloat16 as float32.

    It is valid until its thread runs its subgraph again; later use raises BackendError.

    Attributes:
        name: Name of the tensor.
        shape: Shape without padding.
        padded_shape: Shape with padding.
        element_type: TensorRT's name of the element type, such as "HALF".
    """

    def __init__(
        self,
        name: str,
        buffer: Buffer,
        workspace: Workspace,
        padded_shape: tuple[int, ...],
        real_sizes: Mapping[str, int],
        dtype: npt.DTypeLike | None,
        element_type: str,
        offset: int = 0,
        buffer_size: int | None = None,
    ) -> None:
        """Describe the tensor that was just written to a buffer.

        Args:
            name: Name of the tensor, which gives its axes.
            buffer: Buffer that holds it.
            workspace: Workspace that owns the buffer.
            padded_shape: Shape in the buffer.
            real_sizes: Axis name -> size without padding.
            dtype: Element type in numpy; None if numpy has no such type.
            element_type: TensorRT's name of the element type, such as "HALF".
            offset: First byte of the tensor in the buffer.
            buffer_size: Number of bytes that were written to the buffer with it; by default those of the tensor.
        """
        self.name, self.padded_shape, self.element_type = name, padded_shape, element_type
        self.shape = buckets.resolve_shape(name, real_sizes, padded_shape)
        self._buffer, self._workspace, self._dtype, self._real_sizes = buffer, workspace, dtype, real_sizes
        self._write_count, self._offset = buffer.write_count, offset
        self._buffer_size = count_bytes(padded_shape, dtype) if buffer_size is None else buffer_size

    def get_address(self, workspace: Workspace) -> int:
        """Return the device address, for work of the same thread.

        Args:
            workspace: Workspace of the calling thread.

        Raises:
            BackendError: If the array belongs to another thread or is no longer valid.
        """
        if workspace is not self._workspace:
            raise BackendError(f"{self.name} belongs to another thread; copy it there with numpy.asarray")
        if self._write_count != self._buffer.write_count:
            raise BackendError(
                f"{self.name} is no longer valid: it was computed again or its subgraph was closed; "
                "copy it with numpy.asarray before that"
            )
        return self._buffer.address + self._offset

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError(f"{self.name} is on a device and cannot be read without a copy")
        with self._workspace.lock:
            self.get_address(self._workspace)
            content = self._workspace.download(self._buffer, self._buffer_size)
        padded = view_tensor(content, self._offset, self.padded_shape, self._dtype)
        host = buckets.remove_padding(padded, self.name, self._real_sizes)
        return host.astype(dtype or host.dtype, copy=bool(copy))

"""What a thread keeps on a CUDA device: a stream, one buffer for every tensor, and the arrays that lie in them."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from . import buckets
from .cuda import Device
from .errors import BackendError

#: Most things that one thread holds beside its buffers (:meth:`Workspace.held`; what was used longest ago goes first),
#: and most uploads that it leaves unfinished.
MAX_HELD = 128


class Closeable(Protocol):
    """Something to free."""

    def close(self) -> None:
        """Free it."""


_T = TypeVar("_T", bound=Closeable)


class Buffer:
    """Device memory that grows; ``writes`` counts what was put there, so that an array of it knows when it is gone."""

    __slots__ = ("address", "size", "writes")

    def __init__(self) -> None:
        self.address = self.size = self.writes = 0


class Workspace:
    """One thread's stream and buffers. Whoever uses it holds ``lock``, so that nobody frees it meanwhile.

    Work on the stream runs in order, so all subgraphs of a thread share the buffers: one for each tensor name.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.lock = threading.Lock()
        self._buffers: dict[str, Buffer] = {}
        self._held: dict[Hashable, Any] = {}
        self._uploads: list[npt.NDArray[Any]] = []
        self._closed = False
        self.stream = device.stream()

    def buffer(self, name: str, size: int) -> Buffer:
        """The tensor's buffer, of at least ``size`` bytes, to be written: arrays that lay there are gone."""
        buffer = self._buffers.setdefault(name, Buffer())
        buffer.writes += 1
        if buffer.size < size:
            self.synchronize()
            address, buffer.address, buffer.size = buffer.address, 0, 0
            if address:
                self.device.free(address)
            room = 1 << max(size - 1, 255).bit_length()
            buffer.address, buffer.size = self.device.malloc(room), room
        return buffer

    def upload(self, name: str, array: npt.NDArray[Any]) -> int:
        """Copy a host array to the tensor's buffer; its address."""
        array = np.ascontiguousarray(array)
        if len(self._uploads) == MAX_HELD:
            self.synchronize()
        buffer = self.buffer(name, array.nbytes)
        self._uploads.append(array)  # must live until the copy is done
        self.device.upload(array, buffer.address, self.stream)
        return buffer.address

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The buffer's content on the host, when all work before is done."""
        array = np.empty(shape, dtype)
        self.device.download(buffer.address, array, self.stream)
        self.synchronize()
        return array

    def synchronize(self) -> None:
        """Wait for all work of this thread."""
        self.device.synchronize(self.stream)
        self._uploads.clear()

    def held(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What is held under a key, made where it is not."""
        found: _T = self._held.pop(key) if key in self._held else make()
        self._held[key] = found
        if len(self._held) > MAX_HELD:
            oldest = next(iter(self._held))
            self.release(lambda other: other == oldest)
        return found

    def release(self, chosen: Callable[[Hashable], bool]) -> None:
        """Free what is held under the keys that are chosen."""
        keys = [key for key in self._held if chosen(key)]
        if keys:
            self.synchronize()
        for key in keys:
            self._held.pop(key).close()

    def close(self) -> None:
        """Free everything; a second time there is nothing left to free."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self.release(lambda _: True)
            self.synchronize()
            for buffer in self._buffers.values():
                buffer.writes += 1
                if buffer.address:
                    self.device.free(buffer.address)
            self._buffers.clear()
            self.device.destroy(self.stream)

    def __del__(self) -> None:
        """A thread that ended, or a backend that nobody closed, gives its memory back; a process that ends need not."""
        if not sys.is_finalizing() and hasattr(self, "stream"):
            self.close()


class Workspaces:
    """The workspaces of all threads of a backend, made when a thread first needs one."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[Workspace] = weakref.WeakSet()
        self._local = threading.local()

    def own(self) -> Workspace:
        """The workspace of the thread that asks."""
        own: Workspace | None = getattr(self._local, "own", None)
        if own is None:
            own = self._local.own = Workspace(self._device)
            with self._lock:
                self._all.add(own)
        return own

    def every(self) -> list[Workspace]:
        """The workspaces of all threads that are alive."""
        with self._lock:
            return list(self._all)

    def close(self) -> None:
        """Free them all; a thread that asks again gets a new one."""
        self._local = threading.local()
        for workspace in self.every():
            workspace.close()


class DeviceArray:
    """A tensor on the device, padded to its bucket there; ``numpy.asarray`` copies its real part to the host.

    It lasts until the same thread computes or uploads a tensor of that name again; to use it later is an error.
    """

    def __init__(
        self,
        name: str,
        buffer: Buffer,
        workspace: Workspace,
        padded: tuple[int, ...],
        real: Mapping[str, int],
        dtype: npt.DTypeLike | None,
        kind: str,
    ) -> None:
        """``dtype`` is None where numpy has no such numbers; ``kind`` is the engine's name of them, such as "HALF"."""
        self.name, self.padded, self.kind = name, padded, kind
        self.shape = buckets.shape(name, real, padded)
        self._buffer, self._workspace, self._dtype, self._real = buffer, workspace, dtype, real
        self._writes = buffer.writes

    def address(self, workspace: Workspace) -> int:
        """Where it lies, for work of the same thread.

        Raises:
            BackendError: another thread made it, or it is gone.
        """
        if workspace is not self._workspace:
            raise BackendError(f"{self.name} lies in the memory of another thread; copy it with numpy.asarray there")
        if self._writes != self._buffer.writes:
            raise BackendError(
                f"{self.name} is gone: it was computed again or its subgraph closed; copy it with numpy.asarray before"
            )
        return self._buffer.address

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError(f"{self.name} lies on a device and cannot be seen without a copy")
        if self._dtype is None:
            raise BackendError(f"{self.name} is {self.kind}, which numpy lacks; it can only pass between subgraphs")
        with self._workspace.lock:
            self.address(self._workspace)
            host = self._workspace.download(self._buffer, self.padded, self._dtype)
        return np.asarray(buckets.cut(host, self.name, self._real), dtype)

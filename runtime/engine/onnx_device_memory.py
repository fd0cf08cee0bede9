"""Hold tensors on a device for ONNX Runtime: several in one allocation, so that one copy moves them all."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import BackendError
from . import buckets
from .onnx_cpu import ELEMENT_TYPES
from .onnxruntime_library import onnxruntime
from .tensor_layout import count_bytes, lay_out, view_tensor

#: Held while allocating on the device, copying or running. CUDA aborts the capture of a graph if another thread of the
#: process does any of these meanwhile, and two threads must not run a capturing session at the same time.
DEVICE_LOCK = threading.Lock()


class TensorSlot(NamedTuple):
    """Place of a tensor in an allocation.

    Attributes:
        element: ONNX Runtime's name of the element type.
        shape: Padded shape.
        offset: First byte.
    """

    element: str
    shape: tuple[int, ...]
    offset: int

    @property
    def byte_count(self) -> int:
        """Number of bytes of the tensor."""
        return count_bytes(self.shape, ELEMENT_TYPES[self.element][1])

    def view(self, content: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return the tensor in a copy of the allocation on the host."""
        return view_tensor(content, self.offset, self.shape, ELEMENT_TYPES[self.element][1])


class TensorPack:
    """Device memory of several tensors, whose addresses never change.

    Args:
        tensors: Name, element type and padded shape of each tensor.
        device: Kind, index and (for a plug-in) vendor of the device, as ``OrtValue`` expects them.

    Attributes:
        name: Names of the tensors, for display.
        slots: Place of each tensor by name.
        write_count: Number of times that the tensors were written.
    """

    def __init__(self, tensors: Iterable[tuple[str, str, tuple[int, ...]]], device: tuple[Any, ...]) -> None:
        slots = {name: TensorSlot(element, shape, 0) for name, element, shape in tensors}
        offsets, size = lay_out({name: slot.byte_count for name, slot in slots.items()})
        self.slots = {name: slot._replace(offset=offsets[name]) for name, slot in slots.items()}
        self.name = ", ".join(self.slots)
        self.write_count = 0
        self._value = onnxruntime.OrtValue.ortvalue_from_shape_and_type([size], np.uint8, *device)
        self._host = np.zeros(size, np.uint8)
        self._download: tuple[int, npt.NDArray[np.uint8]] | None = None

    def get_address(self, name: str) -> int:
        """Return the address of a tensor on the device."""
        address: int = self._value.data_ptr() + self.slots[name].offset
        return address

    def get_staging(self, name: str) -> npt.NDArray[Any]:
        """Return the host memory of a tensor, which ``upload`` copies to the device."""
        return self.slots[name].view(self._host)

    def upload(self) -> None:
        """Copy all tensors from the host memory to the device."""
        self._value.update_inplace(self._host)

    def download(self, name: str) -> npt.NDArray[Any]:
        """Return a tensor; all tensors of the allocation are copied to the host at once."""
        if self._download is None or self._download[0] != self.write_count:
            self._download = self.write_count, self.copy_to_host()
        return self.slots[name].view(self._download[1])

    def copy_to_host(self) -> npt.NDArray[np.uint8]:
        """Copy the whole allocation to the host."""
        content: npt.NDArray[np.uint8] = self._value.numpy()
        return content if content.flags.owndata else content.copy()  # where the device is the CPU, it is the memory


class OrtDeviceArray:
    """Output on the device; ``numpy.asarray`` copies it to the host, bfloat16 as float32.

    It is valid until its subgraph runs with the same padded shape again; later use raises BackendError.

    Args:
        name: Name of the tensor.
        pack: Device memory that it was just written to.
        real_sizes: Axis name -> size without padding.

    Attributes:
        name: Name of the tensor.
        shape: Shape without padding.
        padded_shape: Shape with padding.
    """

    def __init__(self, name: str, pack: TensorPack, real_sizes: Mapping[str, int]) -> None:
        self.name, self._pack, self._write_count = name, pack, pack.write_count
        self.padded_shape = pack.slots[name].shape
        self._real_sizes = dict(real_sizes)
        self.shape = buckets.resolve_shape(name, real_sizes, self.padded_shape)

    def get_address(self) -> int:
        """Return the address on the device, to be bound as an input.

        Raises:
            BackendError: If the array was overwritten.
        """
        self._check_valid()
        return self._pack.get_address(self.name)

    def _check_valid(self) -> None:
        if self._pack.write_count != self._write_count:
            raise BackendError(
                f"{self.name} was overwritten by a later batch; copy it with numpy.asarray before running that batch"
            )

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        with DEVICE_LOCK:
            self._check_valid()
            host = buckets.remove_padding(self._pack.download(self.name), self.name, self._real_sizes)
        return host.astype(dtype or host.dtype, copy=bool(copy))

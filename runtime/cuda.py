"""NVIDIA's CUDA runtime, checked: memory, copies, streams and graphs of one device; and whether there is a device."""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import Any

import numpy.typing as npt

from .errors import BackendError

_PACKAGE = "cuda.bindings.runtime"
_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def missing() -> str | None:
    """Why there is no CUDA device, or None where there is one. Asks the driver alone; no package is imported."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"no NVIDIA driver ({_DRIVER} is not installed)"
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        return f"no CUDA device (the NVIDIA driver says: {(text.value or b'error %d' % code).decode(errors='replace')})"
    return None if count.value else "no CUDA device (the NVIDIA driver shows none)"


class Device:
    """The first device that ``CUDA_VISIBLE_DEVICES`` leaves. Addresses, streams and graphs are integers.

    Attributes:
        name: such as "NVIDIA GeForce RTX 4090".
        target: its compute capability as engines call it: ``sm_89`` is 8.9.
        memory: its memory in bytes.

    Raises:
        BackendError: there is no driver, no device, or no package to talk to it. So do all methods where CUDA reports
            an error, which the message names.
    """

    def __init__(self) -> None:
        if reason := missing():
            raise BackendError(f"{reason}; install NVIDIA's driver, or use backend cpu")
        try:
            self._cuda: Any = importlib.import_module(_PACKAGE)
        except ImportError as error:
            raise BackendError('the package cuda-bindings is missing; pip install "trimf[tensorrt]"') from error
        (properties,) = self._call("cudaGetDeviceProperties", 0)
        self.name = properties.name.decode(errors="replace").rstrip("\0")
        self.target = f"sm_{properties.major}{properties.minor}"
        self.memory = int(properties.totalGlobalMem)

    def malloc(self, size: int) -> int:
        """The address of ``size`` new bytes; their content is not defined."""
        (address,) = self._call("cudaMalloc", size, label=f"cudaMalloc of {size} bytes")
        return int(address)

    def free(self, address: int) -> None:
        """Give back what :meth:`malloc` gave."""
        self._call("cudaFree", address)

    def stream(self) -> int:
        """A new stream, which waits for no other."""
        (stream,) = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        return int(stream)

    def synchronize(self, stream: int) -> None:
        """Wait until all that was put on a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def destroy(self, stream: int) -> None:
        """Give back what :meth:`stream` gave."""
        self._call("cudaStreamDestroy", stream)

    def upload(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """Copy a contiguous array to the device, on a stream; it must live unchanged until that is done."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def download(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """Copy from the device into a contiguous array, on a stream; it is there once that was synchronized."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def begin_capture(self, stream: int) -> None:
        """From here on, what this thread puts on the stream is recorded instead of run; other threads go on as ever."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """What was recorded since :meth:`begin_capture`, as a graph ready to launch."""
        (graph,) = self._call("cudaStreamEndCapture", stream)
        try:
            (executable,) = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        return int(executable)

    def launch(self, graph: int, stream: int) -> None:
        """Put a graph on a stream."""
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: int) -> None:
        """Give back what :meth:`end_capture` gave."""
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, name: str, *arguments: Any, label: str = "") -> tuple[Any, ...]:
        code, *values = getattr(self._cuda, name)(*arguments)
        if int(code):
            _, text = self._cuda.cudaGetErrorString(code)
            raise BackendError(f"{label or name} failed: {code.name}: {text.decode(errors='replace')}")
        return tuple(values)

"""Detect a CUDA device, and call NVIDIA's CUDA runtime with error checks: memory, copies, streams and CUDA graphs."""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import Any

import numpy.typing as npt

from ..errors import BackendError

# Why not cuda-core, NVIDIA's object layer (1.2, Apache-2.0, 6 MB): it needs cuda-bindings as well and saves little.
# It has devices, streams, events, buffers with DLPack, pinned memory and graphs; the code below needs a dozen calls.
# Its buffers come from stream-ordered pools and free themselves; ours are one growing block per tensor, freed when the
# workspace is closed, and addresses in a captured graph must not move. It would have to be proven on a GPU.
_PACKAGE = "cuda.bindings.runtime"
#: File name of the CUDA driver.
DRIVER_LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def explain_missing_device() -> str | None:
    """Return the reason why no CUDA device can be used, or None if there is one.

    Only the driver is queried; no package is imported.
    """
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return f"no NVIDIA driver ({DRIVER_LIBRARY} is not installed)"
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        message = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(message))
        reported = (message.value or b"error %d" % code).decode(errors="replace")
        return f"no CUDA device (the NVIDIA driver reports: {reported})"
    return None if count.value else "no CUDA device (the NVIDIA driver reports none)"


class CudaDevice:
    """First CUDA device that ``CUDA_VISIBLE_DEVICES`` leaves visible. Addresses, streams and graphs are integers.

    All methods raise BackendError if CUDA reports an error; the message names the failed call and the error.

    Attributes:
        name: Name of the device, such as "NVIDIA GeForce RTX 4090".
        target: Compute capability in the form used for engines: ``sm_89`` is 8.9.
        total_memory: Total memory in bytes.

    Raises:
        BackendError: If there is no driver, no device, or the package cuda-bindings is not installed.
    """

    def __init__(self) -> None:
        if reason := explain_missing_device():
            raise BackendError(f"{reason}; install the NVIDIA driver, or use the cpu backend")
        try:
            self._cuda: Any = importlib.import_module(_PACKAGE)
        except ImportError as error:
            raise BackendError(
                'cuda-bindings is not installed; pip install "trimf[tensorrt]" or "trimf[tensorrt-rtx]"'
            ) from error
        (properties,) = self._call_runtime("cudaGetDeviceProperties", 0)
        self.name = properties.name.decode(errors="replace").rstrip("\0")
        self.target = f"sm_{properties.major}{properties.minor}"
        self.total_memory = int(properties.totalGlobalMem)

    def malloc(self, size: int) -> int:
        """Allocate ``size`` bytes of uninitialized device memory and return their address."""
        (address,) = self._call_runtime("cudaMalloc", size, label=f"cudaMalloc of {size} bytes")
        return int(address)

    def free(self, address: int) -> None:
        """Free memory that ``malloc`` allocated."""
        self._call_runtime("cudaFree", address)

    def create_stream(self) -> int:
        """Create a stream that does not synchronize with the default stream."""
        (stream,) = self._call_runtime("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        return int(stream)

    def synchronize(self, stream: int) -> None:
        """Wait until all work on a stream is done."""
        self._call_runtime("cudaStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream that ``create_stream`` returned."""
        self._call_runtime("cudaStreamDestroy", stream)

    def upload(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """Enqueue a copy from the host to the device.

        Args:
            array: Contiguous array to copy; it must stay alive and unchanged until the copy is done.
            address: Device address to copy to.
            stream: Stream that runs the copy.
        """
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call_runtime("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def download(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """Enqueue a copy from the device to the host.

        Args:
            address: Device address to copy from.
            array: Contiguous array to fill; its content is valid once the stream has been synchronized.
            stream: Stream that runs the copy.
        """
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call_runtime("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def begin_capture(self, stream: int) -> None:
        """Record the work that this thread enqueues on a stream instead of running it; other threads are unaffected."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call_runtime("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """Stop recording and return the work recorded since ``begin_capture`` as an executable CUDA graph."""
        (graph,) = self._call_runtime("cudaStreamEndCapture", stream)
        try:
            (executable,) = self._call_runtime("cudaGraphInstantiate", graph, 0)
        finally:
            self._call_runtime("cudaGraphDestroy", graph)
        return int(executable)

    def launch_graph(self, graph: int, stream: int) -> None:
        """Enqueue a CUDA graph on a stream."""
        self._call_runtime("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: int) -> None:
        """Destroy a CUDA graph that ``end_capture`` returned."""
        self._call_runtime("cudaGraphExecDestroy", graph)

    def _call_runtime(self, name: str, *arguments: Any, label: str = "") -> tuple[Any, ...]:
        """Call a function of the CUDA runtime and return its results without the status code."""
        code, *values = getattr(self._cuda, name)(*arguments)
        if int(code):
            _, message = self._cuda.cudaGetErrorString(code)
            raise BackendError(f"{label or name} failed: {code.name}: {message.decode(errors='replace')}")
        return tuple(values)

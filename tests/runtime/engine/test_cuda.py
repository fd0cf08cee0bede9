"""The wrapper over CUDA, on stand-ins for the driver and for NVIDIA's package, whose calls can be made to fail."""

import ctypes
import importlib
import sys
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trimf.runtime.engine import cuda
from trimf.runtime.errors import BackendError

Code = IntEnum("Code", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2})
CONSTANTS = {
    "cudaStreamNonBlocking": 1,
    "cudaMemcpyKind": SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2),
    "cudaStreamCaptureMode": SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
}
ANSWERS = {
    "cudaGetDeviceProperties": SimpleNamespace(name=b"Fake 1\0\0", major=8, minor=9, totalGlobalMem=1 << 34),
    "cudaMalloc": 4096,
    "cudaStreamCreateWithFlags": 7,
    "cudaStreamEndCapture": 8,
    "cudaGraphInstantiate": 9,
    "cudaGetErrorString": b"out of memory",
}


class FakeRuntime:
    """``cuda.bindings.runtime`` that writes down its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fail: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in CONSTANTS:
            return CONSTANTS[name]

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            code = Code.cudaErrorMemoryAllocation if name in self.fail else Code.cudaSuccess
            return (code, ANSWERS[name]) if name in ANSWERS else (code,)

        return call


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()
    monkeypatch.setattr(cuda, "explain_missing_device", lambda: None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    return fake


@pytest.fixture
def device(runtime: FakeRuntime) -> cuda.CudaDevice:
    made = cuda.CudaDevice()
    runtime.calls.clear()
    return made


def driver(init: int = 0, count: int = 1) -> Any:
    """Loads a driver that answers so."""

    def get_count(pointer: Any) -> int:
        pointer._obj.value = count
        return 0

    def get_text(code: int, pointer: Any) -> int:
        pointer._obj.value = b"no CUDA-capable device is detected" if code == 100 else None
        return 0

    loaded = SimpleNamespace(cuInit=lambda _: init, cuDeviceGetCount=get_count, cuGetErrorString=get_text)
    return lambda _: loaded


def no_driver(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (no_driver, r"no NVIDIA driver \((libcuda\.so\.1|nvcuda\.dll) is not installed\)"),
        (driver(init=100), r"no CUDA device \(the NVIDIA driver reports: no CUDA-capable device is detected\)"),
        (driver(init=999), r"no CUDA device \(the NVIDIA driver reports: error 999\)"),
        (driver(count=0), r"no CUDA device \(the NVIDIA driver reports none\)"),
    ],
)
def test_why_there_is_no_device(monkeypatch: pytest.MonkeyPatch, load: Any, reason: str) -> None:
    monkeypatch.setattr(ctypes, "CDLL", load)
    with pytest.raises(BackendError, match=f"^{reason}; install the NVIDIA driver, or use the cpu backend$"):
        cuda.CudaDevice()


def test_a_device_but_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", driver())
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert cuda.explain_missing_device() is None
    install = r'pip install "trimf\[tensorrt\]" or "trimf\[tensorrt-rtx\]"$'
    with pytest.raises(BackendError, match=f"^cuda-bindings is not installed; {install}"):
        cuda.CudaDevice()


@pytest.mark.usefixtures("runtime")
def test_a_device() -> None:
    found = cuda.CudaDevice()
    assert (found.name, found.target, found.total_memory) == ("Fake 1", "sm_89", 1 << 34)


def test_calls(device: cuda.CudaDevice, runtime: FakeRuntime) -> None:
    array = np.zeros((2, 3), np.float32)
    stream = device.create_stream()
    address = device.malloc(24)
    device.upload(array, address, stream)
    device.download(address, array, stream)
    device.begin_capture(stream)
    graph = device.end_capture(stream)
    device.launch_graph(graph, stream)
    device.synchronize(stream)
    device.free_graph(graph)
    device.free(address)
    device.destroy_stream(stream)
    assert runtime.calls == [
        ("cudaStreamCreateWithFlags", 1),
        ("cudaMalloc", 24),
        ("cudaMemcpyAsync", 4096, array.ctypes.data, 24, 1, 7),
        ("cudaMemcpyAsync", array.ctypes.data, 4096, 24, 2, 7),
        ("cudaStreamBeginCapture", 7, 1),
        ("cudaStreamEndCapture", 7),
        ("cudaGraphInstantiate", 8, 0),
        ("cudaGraphDestroy", 8),
        ("cudaGraphLaunch", 9, 7),
        ("cudaStreamSynchronize", 7),
        ("cudaGraphExecDestroy", 9),
        ("cudaFree", 4096),
        ("cudaStreamDestroy", 7),
    ]


STEPS: dict[str, Callable[[cuda.CudaDevice], object]] = {
    "cudaMalloc": lambda device: device.malloc(1 << 20),
    "cudaFree": lambda device: device.free(1),
    "cudaStreamCreateWithFlags": lambda device: device.create_stream(),
    "cudaStreamSynchronize": lambda device: device.synchronize(1),
    "cudaStreamDestroy": lambda device: device.destroy_stream(1),
    "cudaMemcpyAsync": lambda device: device.upload(np.zeros(1), 1, 1),
    "cudaStreamBeginCapture": lambda device: device.begin_capture(1),
    "cudaStreamEndCapture": lambda device: device.end_capture(1),
    "cudaGraphInstantiate": lambda device: device.end_capture(1),
    "cudaGraphLaunch": lambda device: device.launch_graph(1, 1),
    "cudaGraphExecDestroy": lambda device: device.free_graph(1),
}


@pytest.mark.parametrize("name", STEPS)
def test_every_error_is_raised(device: cuda.CudaDevice, runtime: FakeRuntime, name: str) -> None:
    runtime.fail.add(name)
    with pytest.raises(BackendError, match=rf"^{name}.* failed: cudaErrorMemoryAllocation: out of memory$"):
        STEPS[name](device)


def test_memory_that_is_not_there_says_how_much(device: cuda.CudaDevice, runtime: FakeRuntime) -> None:
    runtime.fail.add("cudaMalloc")
    with pytest.raises(BackendError, match="cudaMalloc of 1048576 bytes failed"):
        device.malloc(1 << 20)


def test_a_graph_that_cannot_be_made_is_not_kept(device: cuda.CudaDevice, runtime: FakeRuntime) -> None:
    runtime.fail.add("cudaGraphInstantiate")
    with pytest.raises(BackendError):
        device.end_capture(7)
    assert ("cudaGraphDestroy", 8) in runtime.calls


def test_the_package_has_what_is_called() -> None:
    pytest.importorskip("cuda.bindings", reason="the package cuda-bindings is not installed")
    real = importlib.import_module("cuda.bindings.runtime")
    names = {*STEPS, "cudaGetDeviceProperties", "cudaGetErrorString", "cudaGraphDestroy", "cudaStreamNonBlocking"}
    assert not {name for name in names if not hasattr(real, name)}
    assert real.cudaMemcpyKind.cudaMemcpyDeviceToHost
    assert real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    assert {"name", "major", "minor", "totalGlobalMem"} <= set(dir(real.cudaDeviceProp()))

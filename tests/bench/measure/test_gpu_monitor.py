"""NVML through a stand-in, and a process watched from outside."""

import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from trimf.bench.measure.gpu_monitor import GpuMonitor, find_pci_bus_id
from trimf.bench.measure.sampler import ProcessSampler
from trimf.runtime.errors import BackendError


class FakeNvml:
    """One GPU that draws 50 W at 1500 MHz, and is hot."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self, **changes):
        self.asked = []
        self.energy = 0
        self.__dict__.update(changes)

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        self.asked.append(index)
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        self.asked.append(uuid)
        return "handle"

    def nvmlDeviceGetHandleByPciBusId(self, bus_id):  # noqa: N802
        self.asked.append(bus_id)
        return "handle"

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return b"Fake 1"

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "999.1"

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(used=7_000_000)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        return [SimpleNamespace(pid=1, usedGpuMemory=3_000_000), SimpleNamespace(pid=2, usedGpuMemory=None)]

    def nvmlDeviceGetClockInfo(self, handle, kind):  # noqa: N802
        return 1500

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        return 50_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        self.energy += 10_000
        return self.energy

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):  # noqa: N802
        return 0x1 | 0x40


@pytest.fixture
def gpu(monkeypatch):
    """Makes a monitor of a fake GPU, whose bus id CUDA does not tell."""
    monkeypatch.setattr("trimf.bench.measure.gpu_monitor.find_pci_bus_id", lambda: None)

    def make(**changes):
        fake = FakeNvml(**changes)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return GpuMonitor(), fake

    return make


def test_what_it_says(gpu):
    found, _ = gpu()
    assert (found.name, found.driver, found.used_memory_mb()) == ("Fake 1", "999.1", 7.0)
    assert (found.clock_mhz(), found.watts(), found.joules()) == (1500, 50.0, 10.0)
    assert found.throttle_reasons() == {"temperature limit (hardware)"}
    assert (found.used_memory_of(1), found.used_memory_of(2), found.used_memory_of(3)) == (3.0, None, None)


@pytest.mark.parametrize(("visible", "asked"), [(None, 0), ("", 0), ("2,0", 2), ("GPU-1234", "GPU-1234")])
def test_the_gpu_is_that_of_cuda(gpu, monkeypatch, visible, asked):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu()[1].asked == [asked]


def test_an_index_is_looked_up_by_the_bus_id_that_cuda_reports(gpu, monkeypatch):
    monkeypatch.setattr("trimf.bench.measure.gpu_monitor.find_pci_bus_id", lambda: "0000:41:00.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert gpu()[1].asked == ["0000:41:00.0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234")
    assert gpu()[1].asked == ["GPU-1234"]


class FakeDriver:
    """A CUDA driver with one device."""

    def __init__(self, error=0):
        self.error = error

    def cuInit(self, flags):  # noqa: N802
        return self.error

    def cuDeviceGet(self, device, index):  # noqa: N802
        assert index == 0
        return 0

    def cuDeviceGetPCIBusId(self, text, size, device):  # noqa: N802
        text.value = b"0000:41:00.0"
        return 0


def test_the_bus_id_is_that_of_the_first_visible_device(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: FakeDriver())
    assert find_pci_bus_id() == "0000:41:00.0"
    monkeypatch.setattr("ctypes.CDLL", lambda name: FakeDriver(error=100))
    assert find_pci_bus_id() is None
    monkeypatch.setattr("ctypes.CDLL", Mock(side_effect=OSError))
    assert find_pci_bus_id() is None


def test_what_a_device_cannot_answer_is_none(gpu):
    def refuse(*_):
        raise FakeNvml.NVMLError("not supported")

    found, _ = gpu(nvmlDeviceGetPowerUsage=refuse, nvmlDeviceGetCurrentClocksEventReasons=refuse)
    assert found.watts() is None
    assert found.throttle_reasons() == set()


def test_its_settings_are_described_as_far_as_it_tells(gpu):
    found, _ = gpu(
        NVML_CLOCK_MEM=2,
        nvmlDeviceGetMaxClockInfo=lambda _, kind: {1: 1980, 2: 2619}[kind],
        nvmlDeviceGetEnforcedPowerLimit=lambda _: 350_000,
        nvmlDeviceGetMigMode=lambda _: [0, 1],
        nvmlDeviceGetPersistenceMode=lambda _: 1,
        nvmlDeviceGetCudaComputeCapability=lambda _: (9, 0),
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=7_000_000, total=150_000_000_000),
    )
    assert found.describe() == {
        "compute_capability": "9.0",
        "memory_gb": 150.0,
        "current_sm_clock_mhz": 1500,
        "current_memory_clock_mhz": 1500,
        "max_sm_clock_mhz": 1980,
        "max_memory_clock_mhz": 2619,
        "power_limit_w": 350.0,
        "persistence_mode": "on",
        "mig": "off",
    }


def test_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(BackendError, match=r"trimf\[bench\]"):
        GpuMonitor()


def test_a_driver_that_does_not_answer(gpu):
    def refuse():
        raise FakeNvml.NVMLError("Driver Not Loaded")

    with pytest.raises(BackendError, match="Driver Not Loaded"):
        gpu(nvmlInit=refuse)


def watched(gpu=None, marks=("start", "10", "stop")):
    """The sampler of a process that holds some 60 MB until it has been seen to."""
    code = "import sys; held = bytearray(b'x' * 60_000_000); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process, ProcessSampler(process.pid, gpu) as sampler:
        patience = time.monotonic() + 60
        while sampler.memory.host < 60 and time.monotonic() < patience:
            time.sleep(0.01)
        for mark in marks:
            sampler.record_mark(mark)
        process.stdin.close()
        process.wait()
    return sampler


def test_memory_of_children_counts():
    child = "import sys; held = bytearray(b'x' * 60_000_000); print(flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        with ProcessSampler(process.pid, None) as sampler:
            sampler.record_mark("1")
            sampler.record_mark("start")
            sampler.record_mark("2")
        process.stdin.close()
    (_, alone), (_, together) = sampler.memory.growth
    assert alone < 60 < together


def test_memory_is_seen_from_outside():
    sampler = watched()
    assert 60 < sampler.memory.host < 200
    assert sampler.memory.device is None
    assert sampler.power is None
    ((done, resident),) = sampler.memory.growth
    assert done == 10
    assert resident > 60


def test_the_gpu_is_asked_while_it_measures(gpu):
    sampler = watched(gpu()[0])
    assert sampler.memory.device == 0.0  # nothing more than before
    power = sampler.power
    assert (power.clock_mhz, power.watts, power.joules) == (1500, 50, 10)
    assert power.throttled == ("temperature limit (hardware)",)


def test_energy_from_power_where_it_is_not_counted(gpu):
    found, _ = gpu(nvmlDeviceGetTotalEnergyConsumption=lambda _: 0)
    began = time.perf_counter()
    power = watched(found).power
    assert 0 < power.joules < power.watts * (time.perf_counter() - began)

"""What NVIDIA's management library says of the GPU: memory, clocks, power, energy, and why it was slowed down."""

from __future__ import annotations

import os
from typing import Any

from ..runtime.errors import BackendError, line

#: Bits of the reasons for a lower clock that are not of the user's own making.
REASONS = {
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}


class Gpu:
    """The first GPU that ``CUDA_VISIBLE_DEVICES`` leaves.

    Raises:
        BackendError: nvidia-ml-py is not installed, or the driver does not answer.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise BackendError('measuring a GPU needs nvidia-ml-py; pip install "trimf[bench]"') from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
            if chosen.isdigit():
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(int(chosen))
            else:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(chosen)
            self.name = _text(pynvml.nvmlDeviceGetName(self._handle))
            self.driver = _text(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError as error:
            raise BackendError(f"the NVIDIA driver does not answer: {line(error)}") from error

    def used(self) -> float:
        """MB of device memory in use by anyone."""
        return float(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used) / 1e6

    def used_by(self, pid: int) -> float | None:
        """MB that a process holds; None where NVML cannot tell, as in most containers."""
        for one in self._ask("nvmlDeviceGetComputeRunningProcesses") or ():
            if one.pid == pid and one.usedGpuMemory is not None:
                return float(one.usedGpuMemory) / 1e6
        return None

    def clock(self) -> float | None:
        """MHz of its multiprocessors."""
        megahertz = self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
        return None if megahertz is None else float(megahertz)

    def watts(self) -> float | None:
        """What it draws."""
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1e3

    def joules(self) -> float | None:
        """What it drew since the driver was loaded; None where it does not count."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def slowed(self) -> set[str]:
        """Why its clock is lower than it could be; the names of :data:`REASONS`."""
        call = "nvmlDeviceGetCurrentClocksEventReasons"
        bits = self._ask(call if hasattr(self._nvml, call) else "nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return {name for bit, name in REASONS.items() if bits & bit}

    def _ask(self, call: str, *arguments: Any) -> Any:
        """A question that some devices cannot answer."""
        try:
            return getattr(self._nvml, call)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

"""State of the GPU from NVIDIA's management library (NVML): memory, clocks, power, energy and throttling."""

from __future__ import annotations

import os
from typing import Any

from ...runtime.errors import BackendError, one_line

#: Bits of NVML's reasons for a lower clock, without those that users cause (idle GPU, application clocks).
THROTTLE_REASONS = {
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x20: "temperature limit (software)",
    0x40: "temperature limit (hardware)",
    0x80: "power brake",
}


class GpuMonitor:
    """The first GPU that ``CUDA_VISIBLE_DEVICES`` leaves visible.

    Attributes:
        name: Name of the GPU.
        driver: Version of the NVIDIA driver.

    Raises:
        BackendError: nvidia-ml-py is not installed, or the driver cannot be queried.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise BackendError('monitoring a GPU needs nvidia-ml-py; pip install "trimf[bench]"') from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
            if visible.isdigit():
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(int(visible))
            else:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(visible)
            self.name = _decode_text(pynvml.nvmlDeviceGetName(self._handle))
            self.driver = _decode_text(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError as error:
            raise BackendError(f"cannot query the NVIDIA driver: {one_line(error)}") from error

    def used(self) -> float:
        """Return the device memory in use by all processes, in MB."""
        return float(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used) / 1e6

    def used_by(self, pid: int) -> float | None:
        """Return the device memory in use by one process, in MB.

        Args:
            pid: Id of the process.

        Returns:
            Megabytes, or None if NVML cannot tell, as in most containers.
        """
        for process in self._query_nvml("nvmlDeviceGetComputeRunningProcesses") or ():
            if process.pid == pid and process.usedGpuMemory is not None:
                return float(process.usedGpuMemory) / 1e6
        return None

    def clock(self) -> float | None:
        """Return the clock of the multiprocessors in MHz, or None if the device does not report it."""
        megahertz = self._query_nvml("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
        return None if megahertz is None else float(megahertz)

    def watts(self) -> float | None:
        """Return the power draw in watts, or None if the device does not report it."""
        milliwatts = self._query_nvml("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1e3

    def joules(self) -> float | None:
        """Return the energy used since the driver was loaded, in joules, or None if the device does not count it."""
        millijoules = self._query_nvml("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def slowed(self) -> set[str]:
        """Return why the clock is lower than it could be, as names of ``THROTTLE_REASONS``."""
        call = "nvmlDeviceGetCurrentClocksEventReasons"
        bits = self._query_nvml(call if hasattr(self._nvml, call) else "nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return {name for bit, name in THROTTLE_REASONS.items() if bits & bit}

    def _query_nvml(self, call: str, *arguments: Any) -> Any:
        """Call an NVML function, returning None if the device does not support it."""
        try:
            return getattr(self._nvml, call)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def _decode_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

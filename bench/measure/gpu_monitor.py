"""State of the GPU from NVIDIA's management library (NVML): memory, clocks, power, energy and throttling."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from ...runtime.engine.cuda import DRIVER_LIBRARY
from ...runtime.errors import BackendError, one_line
from ...runtime.extras import require_extra

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
        require_extra("bench", "pynvml", purpose="monitoring a GPU")
        import pynvml

        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = self._find_handle()
            self.name = _decode_text(pynvml.nvmlDeviceGetName(self._handle))
            self.driver = _decode_text(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError as error:
            raise BackendError(f"cannot query the NVIDIA driver: {one_line(error)}") from error

    def _find_handle(self) -> Any:
        """Find the GPU by the UUID that ``CUDA_VISIBLE_DEVICES`` names, or else by the PCI bus id that CUDA reports.

        An index would not do: NVML numbers GPUs by PCI bus id, CUDA by default the fastest first. It is used only if
        CUDA cannot be asked.
        """
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
        if not visible.isdigit():
            return self._nvml.nvmlDeviceGetHandleByUUID(visible)
        bus_id = find_pci_bus_id()
        if bus_id is not None:
            return self._nvml.nvmlDeviceGetHandleByPciBusId(bus_id)
        return self._nvml.nvmlDeviceGetHandleByIndex(int(visible))

    def describe(self) -> dict[str, Any]:
        """Return the settings of the GPU that affect its speed; what the device does not report is left out.

        Clocks are in MHz, power in watts, and memory in GB.
        """
        query, nvml = self._query_nvml, self._nvml
        memory = query("nvmlDeviceGetMemoryInfo")
        capability = query("nvmlDeviceGetCudaComputeCapability")
        watts = {
            "power_limit_w": query("nvmlDeviceGetEnforcedPowerLimit"),
            "default_power_limit_w": query("nvmlDeviceGetPowerManagementDefaultLimit"),
        }
        clocks = {
            f"{name}_{clock}_clock_mhz": query(call, getattr(nvml, f"NVML_CLOCK_{kind}", None))
            for clock, kind in (("sm", "SM"), ("memory", "MEM"))
            for name, call in (
                ("current", "nvmlDeviceGetClockInfo"),
                ("application", "nvmlDeviceGetApplicationsClock"),
                ("max", "nvmlDeviceGetMaxClockInfo"),
            )
        }
        modes = {
            "persistence_mode": query("nvmlDeviceGetPersistenceMode"),
            "ecc": query("nvmlDeviceGetEccMode"),
            "mig": query("nvmlDeviceGetMigMode"),
        }
        settings = {
            "compute_capability": ".".join(map(str, capability)) if capability else None,
            "memory_gb": round(memory.total / 1e9, 1) if hasattr(memory, "total") else None,
            **clocks,
            **{name: None if milliwatts is None else milliwatts / 1e3 for name, milliwatts in watts.items()},
            **{name: _describe_switch(state) for name, state in modes.items()},
            "pcie_generation": query("nvmlDeviceGetCurrPcieLinkGeneration"),
            "pcie_width": query("nvmlDeviceGetCurrPcieLinkWidth"),
            "temperature_c": query("nvmlDeviceGetTemperature", getattr(nvml, "NVML_TEMPERATURE_GPU", None)),
        }
        return {name: value for name, value in settings.items() if value is not None}

    def used_memory_mb(self) -> float:
        """Return the device memory in use by all processes, in MB."""
        return float(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used) / 1e6

    def used_memory_of(self, pid: int) -> float | None:
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

    def clock_mhz(self) -> float | None:
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

    def throttle_reasons(self) -> set[str]:
        """Return why the clock is lower than it could be, as names of ``THROTTLE_REASONS``."""
        call = "nvmlDeviceGetCurrentClocksEventReasons"
        bits = self._query_nvml(call if hasattr(self._nvml, call) else "nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return {name for bit, name in THROTTLE_REASONS.items() if bits & bit}

    def _query_nvml(self, call: str, *arguments: Any) -> Any:
        """Call an NVML function, returning None if the installed bindings or the device do not support it."""
        if not hasattr(self._nvml, call) or None in arguments:
            return None
        try:
            return getattr(self._nvml, call)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def find_pci_bus_id() -> str | None:
    """Return the PCI bus id of the first CUDA device that is visible, or None if the driver cannot be asked."""
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return None
    device, bus_id = ctypes.c_int(), ctypes.create_string_buffer(32)
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetPCIBusId(bus_id, len(bus_id), device)
    )
    return None if failed else bus_id.value.decode()


def _describe_switch(state: Any) -> str | None:
    """Return "on" or "off" for a mode, of which NVML reports the current state, or a pair with the pending one."""
    current = state[0] if isinstance(state, list | tuple) else state
    return None if current is None else "on" if current else "off"


def _decode_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

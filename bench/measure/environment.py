"""Description of the machine and of its load: device, processor, limits, power, and the versions of libraries."""

from __future__ import annotations

import os
import platform
from importlib.metadata import distributions
from typing import Any

import psutil

from ... import __version__
from ...runtime.engine.cpu_info import count_available_cores
from . import machine
from .gpu_monitor import GpuMonitor

#: Distributions whose version affects the speed of a bundle.
LIBRARIES = (
    "numpy",
    "msgspec",
    "onnx",
    "tokenizers",
    "spacy",
    "thinc",
    "torch",
    "transformers",
    "cuda-bindings",
    "cuda-python",
)
#: Beginnings of the names of further such distributions.
LIBRARY_PREFIXES = ("onnxruntime", "tensorrt", "nvidia-")


class LoadMonitor:
    """Monitor of how busy the machine is with other work, from its creation on."""

    def __init__(self) -> None:
        self._load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._before = psutil.cpu_times()

    def describe(self) -> dict[str, float]:
        """Return the load average before the run and, on a virtual machine, the time taken by other machines (%)."""
        described = {}
        if self._load_before is not None:
            described["load_before"] = round(self._load_before, 2)
        now = psutil.cpu_times()
        total = sum(now) - sum(self._before)
        if hasattr(now, "steal") and total > 0:
            described["steal_percent"] = round(100 * (now.steal - self._before.steal) / total, 1)
        return described


def describe_environment(device: str | None, gpu: GpuMonitor | None, load: LoadMonitor) -> dict[str, Any]:
    """Describe this machine for the report.

    Args:
        device: Name of the accelerator that the backends reported; None if they use the CPU only.
        gpu: The GPU that is monitored during the run, if any.
        load: Monitor that was created before the run.

    Returns:
        Names and values; what the machine does not tell is left out.
    """
    described = {
        "device": device or (gpu.name if gpu else "cpu"),
        **machine.describe_processor(),
        "cores": count_available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        **machine.describe_limits(),
        **machine.describe_power(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": list_libraries(),
        "driver": gpu.driver if gpu else None,
        "gpu": gpu.describe() if gpu else {},
        "variables": machine.list_variables(),
        "load": load.describe(),
    }
    return {name: value for name, value in described.items() if value not in (None, [], {})}


def list_libraries() -> dict[str, str]:
    """Return the versions of TriMF and of the installed distributions that affect the speed, sorted by name.

    TriMF's is that of the code which runs: a source tree on the path has no distribution.
    """
    versions = {str(entry.metadata["Name"]): entry.version for entry in distributions()}
    versions = {name: version for name, version in versions.items() if name.lower() != "trimf"}
    versions["trimf"] = __version__
    return {
        name: versions[name]
        for name in sorted(versions, key=str.lower)
        if name == "trimf" or name.lower() in LIBRARIES or name.lower().startswith(LIBRARY_PREFIXES)
    }

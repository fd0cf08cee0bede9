"""Description of the machine: device, processor, memory, operating system and library versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from ...runtime.engine.cpu_info import count_available_cores
from .gpu_monitor import GpuMonitor

#: Distributions whose version affects the speed of a bundle.
LIBRARIES = (
    "trimf",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tokenizers",
    "spacy",
    "thinc",
    "torch",
    "transformers",
    "tensorrt",
    "tensorrt_rtx_cu13_libs",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13",
    "cuda-bindings",
)


def describe_environment(device: str | None, gpu: GpuMonitor | None) -> dict[str, Any]:
    """Describe this machine for the report.

    Args:
        device: Name of the accelerator that the backends reported; None if they use the CPU only.
        gpu: The GPU that is monitored during the run, if any.

    Returns:
        Names and values; missing libraries are left out.
    """
    return {
        "device": device or (gpu.name if gpu else "cpu"),
        "processor": _find_processor_name(),
        "cores": count_available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: installed for name in LIBRARIES if (installed := _find_version(name))},
        "driver": gpu.driver if gpu else None,
    }


def _find_processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "hardware")))
    return next(names, platform.machine())


def _find_version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None

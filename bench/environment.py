"""Where a run was made: device, processor, memory, system, and the versions of what it ran on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from ..runtime.cores import available_cores
from .nvml import Gpu

#: Distributions whose version decides how fast a bundle is.
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
    "tensorrt_rtx_cu12_libs",
    "onnxruntime-ep-nv-tensorrt-rtx-cu12",
    "cuda-bindings",
)


def environment(device: str | None, gpu: Gpu | None) -> dict[str, Any]:
    """What the report says of the machine; ``device`` is the accelerator that backends named, None a CPU alone."""
    return {
        "device": device or (gpu.name if gpu else "cpu"),
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "driver": gpu.driver if gpu else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "hardware")))
    return next(named, platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

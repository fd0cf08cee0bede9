"""Query the CPU: the number of usable cores, and whether int8 matrix products can saturate."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path


def count_available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def has_saturating_int8_matmul() -> bool:
    """Return True if products of unsigned and signed bytes can saturate on this CPU (x86 without VNNI).

    ONNX Runtime has an exact mode for such CPUs, which only costs time on a CPU with VNNI, where nothing saturates. An
    x86 CPU whose features cannot be read (outside Linux) is assumed to lack VNNI.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True

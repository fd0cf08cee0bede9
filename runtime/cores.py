"""What the processor has: cores, and instructions for products of bytes."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def overflows() -> bool:
    """Whether products of unsigned and signed bytes may overflow here: on x86 processors without VNNI they do.

    ONNX Runtime then has an exact way, which is slow on a processor with VNNI, where nothing overflows. Where the
    processor cannot be asked (not on Linux), it is taken for one without.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True

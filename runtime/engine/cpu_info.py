"""Query the CPU: the number of usable cores, and whether int8 matrix products can saturate."""

from __future__ import annotations

import functools
import math
import os
import platform
from pathlib import Path


def count_available_cores(root: Path = Path("/")) -> int:
    """Return the number of CPU cores that this process may use.

    It is the number of cores that the process may run on, lowered to the CPU time that its control groups grant: a
    container with ``--cpus 2`` has 2 cores, whatever its host has. A share of a core counts as a whole one.

    Args:
        root: Folder with ``proc`` and ``sys``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU time per second that the control groups of this process grant, in cores; None without a limit.

    Both versions of control groups are read, and each group with those that contain it: the smallest quota holds. Files
    that are missing or damaged set no limit.

    Args:
        root: Folder with ``proc`` and ``sys``.
    """
    quotas: list[float] = []
    for line in _read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        mounts = root / "sys/fs/cgroup"
        parts = [part for part in group.split("/") if part not in ("", ".", "..")]
        for depth in range(len(parts) + 1):
            below = "/".join(parts[:depth])
            if not controllers:  # version 2, alone or beside version 1
                folders = [mounts / below, mounts / "unified" / below]
                quotas += [quota for folder in folders if (quota := _parse_quota(_read_text(folder / "cpu.max")))]
            elif "cpu" in controllers.split(","):
                for name in (controllers, "cpu"):
                    folder = mounts / name / below
                    values = (_read_text(folder / f"cpu.cfs_{kind}_us") for kind in ("quota", "period"))
                    quotas += [quota] if (quota := _parse_quota(" ".join(values))) else []
    return min(quotas, default=None)


def _read_text(path: Path) -> str:
    """Return the text of a file, or nothing if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return ""


def _parse_quota(text: str) -> float | None:
    """Return the cores of ``quota period`` in microseconds; None for ``max``, -1 and damaged text."""
    match text.split():
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            return int(quota) / int(period)
    return None


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

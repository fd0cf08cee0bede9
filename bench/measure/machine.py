"""Facts about the machine that decide how fast it is: instruction sets, clocks, power mode, limits and container.

Linux tells them in files below ``/proc`` and ``/sys``. What a system does not tell is left out.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

#: Flag in /proc/cpuinfo -> name of the instruction set.
INSTRUCTION_SETS = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "neon": "NEON",
    "asimd": "NEON",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "SVE",
    "sve2": "SVE2",
    "sme": "SME",
}

#: Environment variables that change the speed: prefixes of their names.
VARIABLE_PREFIXES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "ORT_", "TRIMF_", "TOKENIZERS_", "RAYON_", "TF32_")
#: Further such variables, by name.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MODULE_LOADING", "LD_PRELOAD", "NVIDIA_TF32_OVERRIDE")

#: Variable in which systemd and podman name the kind of container.
_CONTAINER_VARIABLE = "container"
#: Seconds to wait for ``nvpmodel``.
_TOOL_SECONDS = 5


def describe_processor(root: Path = Path("/")) -> dict[str, Any]:
    """Describe the processor: name, architecture, instruction sets, cores and clocks (MHz).

    Args:
        root: Folder below which ``proc`` and ``sys`` are read.
    """
    text = _read_text(root / "proc/cpuinfo")
    flags = set(_find_field(text, "flags", "features").lower().split())
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    clocks = {"current": frequency.current, "min": frequency.min, "max": frequency.max} if frequency else {}
    folders = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    return {
        "processor": _find_field(text, "model name", "hardware") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "instruction_sets": list(dict.fromkeys(name for flag, name in INSTRUCTION_SETS.items() if flag in flags)),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "clock_mhz": {name: round(value) for name, value in clocks.items() if value},
        "governor": _join_values(folder / "scaling_governor" for folder in folders),
        "energy_preference": _join_values(folder / "energy_performance_preference" for folder in folders),
        "turbo": _find_turbo(root),
        "virtual_machine": "hypervisor" in flags if flags else None,
    }


def describe_limits(root: Path = Path("/")) -> dict[str, Any]:
    """Describe what limits this process: affinity, the quotas of its control group, and its container.

    Args:
        root: Folder below which ``proc`` and ``sys`` are read.
    """
    process = psutil.Process()
    affinity = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    groups = list(_find_control_groups(root))
    quotas = [quota for group in groups if (quota := _read_cpu_quota(group))]
    sizes = [int(text) for group in groups for name in ("memory.max", "memory.limit_in_bytes")
             if (text := _read_text(group / name).strip()).isdigit()]  # fmt: skip
    smallest = min(sizes, default=0)
    return {
        "affinity": format_ranges(affinity) if affinity else None,
        "cpu_quota_cores": round(min(quotas), 2) if quotas else None,
        "memory_limit_gb": round(smallest / 1e9, 1) if 0 < smallest < psutil.virtual_memory().total else None,
        "container": _find_container(root),
    }


def describe_power(root: Path = Path("/")) -> dict[str, Any]:
    """Describe the board and its power settings: the mode of a Jetson, the profile of a laptop, battery or mains.

    Args:
        root: Folder below which ``proc``, ``sys`` and ``etc`` are read.
    """
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    profile = _read_text(root / "sys/firmware/acpi/platform_profile").strip()
    release = _read_text(root / "etc/nv_tegra_release").splitlines()
    return {
        "board": _read_text(root / "proc/device-tree/model").strip("\0\n ") or None,
        "jetson_linux": release[0].lstrip("# ").strip() if release else None,
        "power_mode": _find_jetson_mode(root) or profile or None,
        "power_source": None if battery is None else "mains" if battery.power_plugged else "battery",
    }


def list_variables() -> dict[str, str]:
    """Return the environment variables that change the speed of the libraries."""
    return {
        name: value for name, value in sorted(os.environ.items())
        if name in VARIABLES or name.startswith(VARIABLE_PREFIXES)
    }  # fmt: skip


def format_ranges(numbers: list[int]) -> str:
    """Return numbers as ranges, such as "0-3, 8".

    Args:
        numbers: Numbers without repetition.
    """
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, ends)) for ends in ranges)


def _read_text(path: Path) -> str:
    """Return the content of a file, or nothing if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _find_field(text: str, *names: str) -> str:
    """Return the first value of a field of /proc/cpuinfo, or nothing."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in names:
            return value.strip()
    return ""


def _join_values(paths: Iterator[Path]) -> str | None:
    """Return the different contents of files, or None if there are none."""
    values = dict.fromkeys(_read_text(path).strip() for path in paths)
    return ", ".join(filter(None, values)) or None


def _find_turbo(root: Path) -> str | None:
    """Return whether the processor may exceed its base clock."""
    cpu = root / "sys/devices/system/cpu"
    off = _read_text(cpu / "intel_pstate/no_turbo").strip()
    boost = _read_text(cpu / "cpufreq/boost").strip()
    if not off and not boost:
        return None
    return "on" if off == "0" or boost == "1" else "off"


def _find_control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, from its own up to the root."""
    for line in _read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        base = root / "sys/fs/cgroup" / controllers
        folder = base / path.lstrip("/")
        yield folder
        yield from (parent for parent in folder.parents if parent == base or base in parent.parents)


def _read_cpu_quota(group: Path) -> float | None:
    """Return the CPU time that a control group may use, in cores, or None without a limit."""
    quota, _, period = _read_text(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_read_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _find_container(root: Path) -> str | None:
    """Return the kind of container that this process runs in, or None."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    found = re.search(r"docker|kubepods|containerd|lxc|libpod", _read_text(root / "proc/1/cgroup"))
    if found:
        return found[0]
    return os.environ.get(_CONTAINER_VARIABLE) or ("kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else None)


def _find_jetson_mode(root: Path) -> str | None:
    """Return the power mode of a Jetson, from ``nvpmodel`` or the file in which it keeps the number of the mode."""
    status = _read_text(root / "var/lib/nvpmodel/status").strip()
    tool = shutil.which("nvpmodel") if status else None
    if tool:
        try:
            told = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            pass
        else:
            found = re.search(r"NV Power Mode:\s*(\S+)", told.stdout)
            if found:
                return found[1]
    return status or None

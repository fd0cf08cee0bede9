"""The number of cores that a process may use, in containers with a CPU quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.engine import cpu_info
from trimf.runtime.engine.backend import divide_threads
from trimf.runtime.engine.cpu_info import count_available_cores, read_cpu_quota


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v2(**files: str) -> dict[str, str]:
    return {"proc/self/cgroup": "0::/a/b\n", **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (v2(), None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (v2(**{"a/b/cpu.max": "150000 100000\n"}), 1.5),
        (v2(**{"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "400000 100000"}), 0.5),
        (v2(**{"cpu.max": "300000 100000"}), 3.0),  # a container sees its own group as the root
        (v2(**{"a/c/cpu.max": "1000 100000"}), None),  # the group of another process
        (v2(**{"cpu.max": "0 0"}), None),
        (v2(**{"cpu.max": ""}), None),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/x\n2:memory:/y\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpuacct,cpu:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
            },
            2.0,
        ),
    ],
)
def test_quota(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert read_cpu_quota(write(tmp_path, files)) == quota


@given(text=st.text(max_size=30) | st.from_regex(r"(max|-?[0-9]{1,25}) -?[0-9]{1,25}\n?", fullmatch=True))
def test_no_content_fails(text: str) -> None:
    quota = cpu_info._parse_quota(text)
    assert quota is None or quota > 0


@given(quota=st.integers(1, 10**7), period=st.integers(1000, 10**6))
def test_cores_are_the_quota_rounded_up_but_no_more_than_there_are(quota: int, period: int) -> None:
    assert cpu_info._parse_quota(f"{quota} {period}\n") == quota / period


@pytest.mark.parametrize(("quota", "cores"), [(1000, 1), (100000, 1), (100001, 2), (10**9, 10**9)])
def test_cores(tmp_path: Path, quota: int, cores: int) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert count_available_cores(write(tmp_path, files)) == min(cores, present)


def test_outside_linux(tmp_path: Path) -> None:
    assert count_available_cores(tmp_path) >= 1


def test_processes_divide_the_threads() -> None:
    cores = count_available_cores()
    assert divide_threads("cpu", None, 1) == cores
    assert divide_threads("cpu", None, 2 * cores) == 1
    assert [divide_threads("cpu", 8, processes) for processes in (1, 2, 3, 8, 9)] == [8, 4, 2, 1, 1]
    assert [divide_threads("cuda", threads, 2) for threads in (None, 1, 4)] == [None, 1, 2]

"""Facts about machines, read from trees of files as Linux has them."""

import os
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.bench.measure.environment import LoadMonitor, describe_environment, list_libraries
from trimf.bench.measure.machine import (
    describe_limits,
    describe_power,
    describe_processor,
    format_ranges,
    list_variables,
)

X86 = "processor : 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx avx2 avx512f avx512_vnni amx_int8 hypervisor\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp i8mm\nCPU part\t: 0xd42\n"


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_the_instruction_sets_of_x86(tmp_path):
    cpu = "sys/devices/system/cpu"
    files = {
        f"{cpu}/cpu{n}/cpufreq/scaling_governor": f"{name}\n" for n, name in enumerate(("powersave", "performance"))
    }
    root = write_tree(tmp_path, {"proc/cpuinfo": X86, f"{cpu}/intel_pstate/no_turbo": "1\n", **files})
    found = describe_processor(root)
    assert found["processor"] == "Some CPU"
    assert found["instruction_sets"] == ["AVX", "AVX2", "AVX-512", "AVX-512 VNNI", "AMX int8"]
    assert (found["governor"], found["turbo"], found["virtual_machine"]) == ("powersave, performance", "off", True)


def test_the_instruction_sets_of_arm(tmp_path):
    found = describe_processor(write_tree(tmp_path, {"proc/cpuinfo": ARM}))
    assert found["instruction_sets"] == ["NEON", "fp16", "dotprod", "i8mm"]
    assert found["virtual_machine"] is False
    assert found["governor"] is found["turbo"] is None


def test_a_jetson_tells_its_board_and_its_mode(tmp_path):
    board = "NVIDIA Jetson Orin Nano Developer Kit"
    files = {
        "proc/device-tree/model": f"{board}\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n# more\n",
        "var/lib/nvpmodel/status": "pmode:0002",
    }
    found = describe_power(write_tree(tmp_path, files))
    assert found["board"] == board
    assert found["jetson_linux"] == "R36 (release), REVISION: 4.3, GCID: 1"
    assert found["power_mode"]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "4:cpu,cpuacct:/x\n", "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_is_that_of_the_tightest_group(tmp_path, files, cores):
    assert describe_limits(write_tree(tmp_path, files))["cpu_quota_cores"] == cores


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"proc/1/cgroup": "0::/kubepods/besteffort/pod1\n"}, "kubepods"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, None),
    ],
)
def test_the_container(tmp_path, monkeypatch, files, name):
    for variable in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(variable, raising=False)
    assert describe_limits(write_tree(tmp_path, files))["container"] == name


def test_a_limit_on_memory_counts_where_it_limits(tmp_path):
    tree = {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "2000000000\n"}
    assert describe_limits(write_tree(tmp_path, tree))["memory_limit_gb"] == 2.0
    (tmp_path / "sys/fs/cgroup/a/memory.max").write_text(str(2 * psutil.virtual_memory().total))
    assert describe_limits(tmp_path)["memory_limit_gb"] is None


@given(st.sets(st.integers(0, 300), max_size=40))
def test_ranges_hold_each_number_once(numbers):
    listed: list[int] = []
    for part in filter(None, format_ranges(list(numbers)).split(", ")):
        first, _, last = part.partition("-")
        listed += range(int(first), int(last or first) + 1)
    assert listed == sorted(numbers)


def test_this_machine_is_described():
    found = describe_environment(None, None, LoadMonitor())
    assert found["device"] == "cpu"
    assert found["cores"] >= 1
    assert found["libraries"] == list_libraries()
    assert {"numpy", "onnxruntime"} <= found["libraries"].keys()
    assert None not in found.values()
    if hasattr(os, "getloadavg"):
        assert found["load"]["load_before"] >= 0


def test_variables_that_change_the_speed_are_listed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    found = list_variables()
    assert found["OMP_NUM_THREADS"] == "3"
    assert "SECRET_TOKEN" not in found

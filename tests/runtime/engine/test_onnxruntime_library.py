"""One ONNX Runtime in an environment: none and two are said in one line that names the commands."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trimf.runtime.engine.onnxruntime_library import (
    INSTALL_CPU,
    INSTALL_GPU,
    LOWEST_VERSION,
    check_version,
    conflict_warning,
    missing_error,
)
from trimf.runtime.errors import BackendError


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def test_an_environment_without_onnx_runtime() -> None:
    blocked = "import sys; sys.modules['onnxruntime'] = None\n"
    hidden = (
        "import importlib.metadata as m\ndef version(name): raise m.PackageNotFoundError(name)\nm.version = version\n"
    )
    command = "from trimf.cli import main; sys.exit(main(['extract', 'Jack Ruby shot him.']))"
    done = run(blocked + hidden + command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert 'pip install "trimf[cpu]"' in done.stderr
    assert 'pip install "trimf[gpu]"' in done.stderr


def test_a_broken_installation_is_named() -> None:
    error = missing_error(ImportError("DLL load\nfailed"), ["onnxruntime 1.32.0"])
    assert str(error).startswith("onnxruntime 1.32.0 cannot be imported (DLL load failed); reinstall: ")
    assert INSTALL_CPU in str(error)
    assert INSTALL_GPU in str(error)


@pytest.mark.parametrize("version", ["1.20.1", "1.9.0", "0.99", "1.20.0.dev20250101"])
def test_an_old_version_is_refused_in_one_line(version: str) -> None:
    with pytest.raises(BackendError) as refused:
        check_version(version)
    assert str(refused.value).startswith(f"ONNX Runtime {version} is too old")
    assert "1.21 or later" in str(refused.value)
    assert INSTALL_CPU in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("version", ["1.21.0", "1.32.0", "2.0", "1.21.0.dev20250101+cu12", "1.100.0"])
def test_a_later_version_is_accepted(version: str) -> None:
    check_version(version)


def test_the_lowest_version_is_that_of_the_packages() -> None:
    stated = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    (requirement,) = stated["project"]["optional-dependencies"]["cpu"]
    assert requirement == f"onnxruntime>={'.'.join(map(str, LOWEST_VERSION))}"


def test_an_old_version_ends_a_command_in_one_line() -> None:
    command = "import onnxruntime\nonnxruntime.__version__ = '1.19.2'\nimport sys\nfrom trimf.cli import main\n"
    done = run(command + "sys.exit(main(['extract', 'Jack Ruby shot him.']))")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ONNX Runtime 1.19.2 is too old" in done.stderr


def test_an_environment_with_both_is_warned_of() -> None:
    warning = conflict_warning(["onnxruntime 1.32.0", "onnxruntime-gpu 1.31.1"])
    assert warning
    assert "\n" not in warning
    assert "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed" in warning
    assert INSTALL_CPU in warning
    assert INSTALL_GPU in warning


@pytest.mark.parametrize("names", [[], ["onnxruntime 1.32.0"], ["onnxruntime-gpu 1.31.1"]])
def test_one_distribution_is_no_conflict(names: list[str]) -> None:
    assert conflict_warning(names) is None


@pytest.mark.parametrize(
    ("names", "lines"), [(["onnxruntime", "onnxruntime_gpu"], 1), (["onnxruntime", "onnxruntime_x"], 0)]
)
def test_the_warning_is_one_line_of_a_run(tmp_path: Path, names: list[str], lines: int) -> None:
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '1.32.0'\ndef disable_telemetry_events(): pass\n")
    for name in names:
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    done = run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport trimf.runtime.engine.onnxruntime_library")
    assert done.returncode == 0
    assert done.stderr.count("\n") == lines
    assert done.stderr.count("onnxruntime 1.0 and onnxruntime-gpu 1.0 are both installed") == lines

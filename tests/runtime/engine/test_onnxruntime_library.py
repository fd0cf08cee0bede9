"""One ONNX Runtime in an environment: none and two are said in one line that names the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trimf.runtime.engine.onnxruntime_library import INSTALL_CPU, INSTALL_GPU, conflict_warning, missing_error


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
    (package / "__init__.py").write_text("def disable_telemetry_events(): pass\n")
    for name in names:
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    done = run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport trimf.runtime.engine.onnxruntime_library")
    assert done.returncode == 0
    assert done.stderr.count("\n") == lines
    assert done.stderr.count("onnxruntime 1.0 and onnxruntime-gpu 1.0 are both installed") == lines

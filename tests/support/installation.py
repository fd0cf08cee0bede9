"""Installation with uv as a stranger does it: the plain package index, no local wheels, no constraints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

needs_uv = pytest.mark.skipif(not shutil.which("uv"), reason="needs uv")


def plain_environment() -> dict[str, str]:
    """The environment without local wheels, other indexes or constraints of pip or uv, and without other modules."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_", "PIP_", "PYTHONPATH", "MYPYPATH")) or name in ("UV_CACHE_DIR", "PIP_CERT")
    }
    return kept | {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never"}


def uv(*arguments: str, cwd: Path = ROOT, timeout: int = 600) -> subprocess.CompletedProcess[str]:
    command = ["uv", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=plain_environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


def create_environment(folder: Path, *requirements: str) -> Path:
    """Create a virtual environment with the requirements, and return its Python."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = uv("venv", "-q", "--python", sys.executable, str(folder))
    assert done.returncode == 0, done.stderr
    done = uv("pip", "install", "-q", "--python", str(python), *requirements, timeout=1200)
    assert done.returncode == 0, done.stderr
    return python


def build(kind: str, output: Path, source: Path = ROOT) -> Path:
    """Build a "wheel" or an "sdist" of a source tree, and return its path."""
    done = uv("build", f"--{kind}", "-q", "-o", str(output), cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = output.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="session")
def network() -> None:
    """Skip where the package index cannot be reached."""
    done = subprocess.run(
        ["uv", "pip", "compile", "-q", "--no-cache", "-"],
        input="idna",
        env=plain_environment() | {"UV_HTTP_TIMEOUT": "20", "UV_HTTP_RETRIES": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"needs the package index: {done.stderr.strip()[:200]}")

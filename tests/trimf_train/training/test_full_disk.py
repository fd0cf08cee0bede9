"""What PyTorch and safetensors say of a full disk becomes one line that names the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIMITED = """
import resource, sys
import torch
from safetensors.torch import save_file
from trimf.runtime.errors import InputError
from trimf.runtime.files.atomic import atomic_folder, atomic_path
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
weights = {"a": torch.zeros(100_000)}
try:
    if sys.argv[1] == "state":
        with atomic_path("out") as new:
            torch.save(weights, new)
    else:
        with atomic_folder("out") as new:
            save_file(weights, str(new / "model.safetensors"))
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files are POSIX's")
@pytest.mark.parametrize("writer", ["state", "checkpoint"])
def test_a_full_disk_is_one_line(tmp_path: Path, writer: str) -> None:
    command = [sys.executable, "-c", LIMITED, writer]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "out: cannot be written: File too large\n", done.stderr
    assert not list(tmp_path.iterdir())

"""Nothing leaves the machine: no identifier is written, nothing is connected to."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trimf

ROOT = Path(trimf.__file__).parent
#: The one module that imports ONNX Runtime; its quantization tools are imported by the exporter alone.
ONE_PLACE = ROOT / "runtime" / "engine" / "onnxruntime_library.py"

LOAD_AND_RUN = "import trimf; trimf.load(threads=1)('Jack Ruby shot Lee Harvey Oswald.')"
STREAM = "import trimf; print(len(list(trimf.load(threads=1).stream(['Jack Ruby shot him.'] * 9, 2, workers=2))))"
PROCESSES = STREAM.replace("workers=2", "processes=2")
IMPORTED_EARLIER = f"import trimf; import onnxruntime; {LOAD_AND_RUN}"
COMMAND = ["-m", "trimf.cli", "extract", "Jack Ruby shot Lee Harvey Oswald."]
USES = {
    "load": ["-c", LOAD_AND_RUN],
    "stream": ["-c", STREAM],
    "stream in processes": ["-c", PROCESSES],
    "onnxruntime imported by the application": ["-c", IMPORTED_EARLIER],
    "command": COMMAND,
}


def homeless(folder: Path) -> dict[str, str]:
    """An environment with an empty home and temporary folder, and without what turns telemetry off by itself."""
    dropped = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI", "PYTEST_CURRENT_TEST")
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", USES.values(), ids=USES.keys())
def test_no_file_is_left(arguments: list[str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, *arguments], env=homeless(tmp_path), check=True, capture_output=True, timeout=120)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", USES.values(), ids=USES.keys())
def test_nothing_is_connected_to(arguments: list[str], tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    command = ["strace", "-f", "-qq", "-e", calls, "-o", str(trace), sys.executable, *arguments]
    done = subprocess.run(command, env=homeless(tmp_path), check=False, capture_output=True, text=True, timeout=300)
    if "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"AF_INET6?", trace.read_text()) == []


def test_the_users_own_choice_stays() -> None:
    code = "import os, trimf; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=kept | given, check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected


def importers() -> list[str]:
    """Modules of the product that import ONNX Runtime itself."""
    paths = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("tests", "build")]
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "onnxruntime" in names or (isinstance(node, ast.ImportFrom) and node.module == "onnxruntime"):
                found.add(path)
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def test_onnx_runtime_is_imported_in_one_place() -> None:
    assert importers() == [ONE_PLACE.relative_to(ROOT).as_posix()]

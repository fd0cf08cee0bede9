"""Type checkers find the types of ``trimf`` after an editable install and after the install of a wheel."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.installation import ROOT, build, create_environment, needs_uv, plain_environment

PROGRAMS = ROOT / "tests" / "user_programs"

#: Version of pyright on npm.
PYRIGHT = "pyright@1.1.414"

pytestmark = [pytest.mark.slow, needs_uv, pytest.mark.usefixtures("network")]


@pytest.fixture(scope="module", params=["editable", "wheel"])
def installed_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with TriMF."""
    folder = tmp_path_factory.mktemp(request.param)
    how = ["-e", str(ROOT)] if request.param == "editable" else [str(build("wheel", folder / "built"))]
    return create_environment(folder / "environment", *how)


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=plain_environment(), capture_output=True, text=True, timeout=300, check=False
    )


def mypy(python: Path, folder: Path) -> list[tuple[str, int]]:
    """File and line of each error that mypy finds in a folder."""
    options = ["--strict", "--config-file=", f"--python-executable={python}", "--cache-dir=.cache"]
    # The checker is that of the development environment, without the path on which that finds TriMF.
    done = run(sys.executable, "-I", "-m", "mypy", *options, ".", cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    return [(file, int(line)) for file, line in re.findall(r"^(\S+?):(\d+): error: ", done.stdout, re.MULTILINE)]


def pyright(python: Path, folder: Path) -> list[tuple[str, int]]:
    """File and line of each error that pyright finds in a folder, in its strictest mode."""
    if not shutil.which("npx"):
        pytest.skip("needs Node.js with npx")
    version = run("npx", "--yes", PYRIGHT, "--version", cwd=folder)
    if version.returncode:
        pytest.skip(f"needs {PYRIGHT} from npm: {version.stderr.strip()[-200:]}")
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    done = run("npx", "--yes", PYRIGHT, "--outputjson", "--pythonpath", str(python), "-p", ".", cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [one for one in found if one["severity"] == "error"]
    return [(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in errors]


@pytest.mark.parametrize("check", [mypy, pyright])
def test_types_are_found_and_mistakes_too(
    check: Callable[[Path, Path], list[tuple[str, int]]], installed_python: Path, tmp_path: Path
) -> None:
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, tmp_path)
    lines = (PROGRAMS / "wrong.py").read_text(encoding="utf-8").splitlines()
    mistakes = {("wrong.py", number) for number, line in enumerate(lines, 1) if "  # error" in line}
    assert len(mistakes) >= 10
    assert set(check(installed_python, tmp_path)) == mistakes

"""Wheels and source distributions: what they hold, that they agree, and that an unpacked one can be tested."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from support.installation import ROOT, build, create_environment, needs_uv, plain_environment

pytestmark = [pytest.mark.slow, needs_uv, pytest.mark.usefixtures("network")]

#: Tests that need nothing but the tree itself, and no more than seconds.
QUICK_TESTS = (
    "tests/test_architecture.py",
    "tests/docs/test_results.py",
    "tests/runtime/test_results.py",
    "tests/runtime/bundle/test_reader.py",
)

PACKAGES = ("bench/", "commands/", "export/", "models/", "runtime/")


@pytest.fixture(scope="module")
def project_files() -> set[str]:
    """The files of the checkout that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs a git checkout")
    return {path for path in listed.stdout.splitlines() if (ROOT / path).is_file()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def unpack(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4
        archive.extractall(folder, **options)
    (root,) = folder.iterdir()
    return root


def content(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def modules(wheel: Path) -> set[str]:
    return {name for name in content(wheel) if ".dist-info/" not in name}


def test_nothing_of_the_project_is_ignored() -> None:
    """ruff and hatchling leave out what ``.gitignore`` names, whether git tracks it or not."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs a git checkout")
    assert listed.stdout.splitlines() == []


def test_a_wheel_holds_what_it_should_and_nothing_else(wheel: Path, project_files: set[str]) -> None:
    expected = {path for path in project_files if path.startswith("trimf_train/")}
    expected |= {f"trimf/{path}" for path in project_files if path.startswith(PACKAGES)}
    modules_of_root = {path for path in project_files if "/" not in path and path.endswith(".py")} - {"hatch_build.py"}
    expected |= {f"trimf/{path}" for path in modules_of_root | {"py.typed"}}
    assert modules(wheel) == expected


def test_a_source_distribution_holds_the_project_and_nothing_else(sdist: Path, project_files: set[str]) -> None:
    with tarfile.open(sdist) as archive:
        assert all(entry.isfile() for entry in archive)
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == {path for path in project_files if not path.startswith((".ci/", ".import_path/"))} | {"PKG-INFO"}
    assert {"constraints.txt", "docs/index.md", "hatch_build.py", "tests/conftest.py"} <= names


def test_a_source_distribution_gives_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    root = unpack(sdist, tmp_path / "source")
    assert content(build("wheel", tmp_path / "built", root)) == content(wheel)


def test_a_deleted_module_is_not_in_the_next_wheel(sdist: Path, tmp_path: Path) -> None:
    root = unpack(sdist, tmp_path / "source")
    before = modules(build("wheel", tmp_path / "first", root))
    (root / "runtime" / "explain.py").unlink()
    (root / "trimf_train" / "config.py").unlink()
    after = modules(build("wheel", tmp_path / "second", root))
    assert before - after == {"trimf/runtime/explain.py", "trimf_train/config.py"}
    assert after <= before


def test_the_tests_of_a_source_distribution_pass(sdist: Path, tmp_path: Path) -> None:
    """In an editable install of it, with the packages of this environment."""
    root = unpack(sdist, tmp_path / "source")
    python = create_environment(tmp_path / "environment", "--no-deps", "-e", str(root))
    environment = plain_environment() | {"PYTHONPATH": sysconfig.get_path("purelib")}
    # A folder on PYTHONPATH does not contribute its .pth files, so the editable install of this checkout is not found.
    where = "import trimf, trimf_train; print(trimf.__file__, trimf_train.__file__)"
    found = subprocess.run([python, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.split() == [
        os.fspath(root / ".import_path" / package / "__init__.py") for package in ("trimf", "trimf_train")
    ]
    command = [python, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow", *QUICK_TESTS]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout

"""Installation as a stranger sees it: the plain package index, no local wheels, no constraints of the machine.

Needs a network that reaches the index; skipped with a reason where there is none.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from support.installation import ROOT, create_environment, needs_uv, plain_environment, uv

PYTHONS = ("3.11", "3.12", "3.13")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CODE = re.compile(r"```(?:bash|console|sh)\n(.*?)```", re.DOTALL)

pytestmark = [pytest.mark.slow, needs_uv]


def pages() -> list[Path]:
    # What docs/jetson.md installs is for aarch64, from an index of its own.
    docs = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "jetson.md"]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *docs]


def install_commands(page: Path) -> list[str]:
    """Every ``pip install`` in the code blocks of a page."""
    blocks = CODE.findall(page.read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"&&|;|\|\|", line)]
    return sorted({part.partition(" #")[0].strip() for part in parts if "pip install" in part})


COMMANDS = sorted({command for page in pages() for command in install_commands(page)})


def requested(command: str) -> tuple[list[str], list[str], list[str]]:
    """Extras of this project, other requirements, and constraint files of a ``pip install``."""
    words = shlex.split(command)
    words = words[words.index("install") + 1 :]
    extras: list[str] = []
    others: list[str] = []
    constraints: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-c", "--constraint"):
            constraints.append(words.pop(0))
        elif word in ("-e", "--editable", "-q", "-U", "--upgrade"):
            continue
        elif project := re.fullmatch(r"(?:\.|trimf|.*trimf-[\w.]+\.whl)(?:\[([\w,-]+)\])?", word):
            extras += (project[1] or "").split(",") if project[1] else []
        else:
            others.append(word)
    return extras, others, constraints


@cache
def resolve(
    extras: tuple[str, ...],
    constraints: tuple[str, ...],
    python: str,
    platform: str = "x86_64-manylinux_2_28",
    more: tuple[str, ...] = (),
) -> str:
    """The requirements that the project with these extras resolves to, one a line."""
    options = [part for extra in extras for part in ("--extra", extra)]
    options += [part for path in constraints for part in ("--constraint", path)]
    target = ("--python-version", python, "--python-platform", platform)
    done = uv("pip", "compile", "-q", "--no-header", *target, *options, *more, "pyproject.toml")
    assert done.returncode == 0, f"Python {python}: {done.stderr}"
    return done.stdout


def test_pages_install_something() -> None:
    assert any(".[cpu]" in command for command in COMMANDS)
    assert any(".[gpu]" in command for command in COMMANDS)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("network")
def test_documented_command_resolves(command: str, python: str) -> None:
    extras, others, constraints = requested(command)
    assert not others, f"only this project's extras are documented, got {others}"
    assert set(extras) <= set(EXTRAS)
    assert resolve(tuple(sorted(extras)), tuple(constraints), python)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.usefixtures("network")
def test_wheels_for_arm(python: str) -> None:
    """``docs/cpu.md`` says that nothing is compiled on aarch64."""
    assert "onnxruntime==" in resolve(("cpu",), (), python, "aarch64-manylinux_2_28", ("--only-binary", ":all:"))


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.usefixtures("network")
def test_no_extra_brings_two_onnx_runtimes(extra: str) -> None:
    names = re.findall(r"^(onnxruntime(?:-gpu)?)==", resolve((extra,), (), "3.12"), re.MULTILINE)
    assert len(names) <= 1


@pytest.mark.usefixtures("network")
def test_the_gpu_extra_gives_cuda(tmp_path: Path) -> None:
    python = create_environment(tmp_path / "environment", f"{ROOT}[gpu]")
    providers = "import trimf, onnxruntime, json; print(json.dumps(onnxruntime.get_available_providers()))"
    environment = plain_environment()
    listed = subprocess.run(
        [python, "-c", providers], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "CUDAExecutionProvider" in json.loads(listed.stdout)
    extract = [python, "-m", "trimf.cli", "extract", "Jack Ruby shot Lee Harvey Oswald."]
    extracted = subprocess.run(extract, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert extracted.returncode == 0, extracted.stderr
    assert re.fullmatch(r"backend \w+: [^\n]+\n", extracted.stderr)

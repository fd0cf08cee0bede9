"""The folder of a file says what it may import, and no two modules import each other."""

from __future__ import annotations

import subprocess
import sys

import pytest
from import_graph import FILES, GRAPH, MAY_IMPORT, ROOT, room_of


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_a_module_imports_only_what_its_folder_may(module: str) -> None:
    room = room_of(module)
    allowed = {room, *MAY_IMPORT[room]}
    assert [target for target in GRAPH[module] if room_of(target) not in allowed] == []


def test_no_modules_import_each_other() -> None:
    state: dict[str, int] = {}
    circles: list[list[str]] = []

    def visit(module: str, path: list[str]) -> None:
        state[module] = 1
        for target in GRAPH[module]:
            if state.get(target) == 1:
                circles.append([*path[path.index(target) :], target])
            elif target not in state:
                visit(target, [*path, target])
        state[module] = 2

    for module in GRAPH:
        if module not in state:
            visit(module, [module])
    assert circles == []


def test_one_floor_holds_few_files() -> None:
    assert len(list((ROOT / "runtime").glob("*.py"))) <= 15


@pytest.mark.parametrize("package", ["data", "evaluation"])
def test_reading_and_scoring_need_no_torch(package: str) -> None:
    names = [module for module in FILES if module.startswith(f"trimf_train.{package}")]
    code = "import sys\nfor name in ('torch', 'transformers', 'accelerate', 'safetensors'): sys.modules[name] = None\n"
    code += f"from importlib import import_module\nfor name in {names!r}: import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr

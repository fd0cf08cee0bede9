"""Read which module of TriMF imports which, and in which room each module lies."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Room of a module: the longest prefix of its name counts.
ROOMS = {
    "trimf.runtime.errors": "errors",
    "trimf.runtime.extras": "errors",
    "trimf.runtime.files": "files",
    "trimf.runtime.engine.contract": "contract",
    "trimf.runtime.bundle": "bundle",
    "trimf.runtime.engine": "engine",
    "trimf.runtime.text": "text",
    "trimf.runtime.decoding": "decoding",
    "trimf.runtime": "road",
    "trimf.runtime.input": "input",
    "trimf.runtime.output": "output",
    "trimf_train": "settings",
    "trimf_train.configs": "recipes",
    "trimf_train.config": "settings",
    "trimf_train.data": "data",
    "trimf_train.model": "model",
    "trimf_train.evaluation": "evaluation",
    "trimf_train.triggers": "triggers",
    "trimf_train.training": "training",
    "trimf_train.experiments": "experiments",
    "trimf.export": "export",
    "trimf.bench": "bench",
    "trimf.cli_support": "cli_support",
    "trimf.commands": "top",
    "trimf": "top",
}

_RUNTIME = ("errors", "files", "contract", "bundle", "engine", "text", "decoding", "road", "input", "output")
_TRAINING = ("recipes", "settings", "data", "model", "evaluation", "triggers", "training", "experiments")

#: Rooms that a room may import besides itself.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "files": ("errors",),
    "contract": (),
    "bundle": ("errors", "files", "contract"),
    "engine": ("errors", "files", "contract", "bundle"),
    "text": ("errors", "files", "contract", "bundle", "engine"),
    "decoding": ("errors", "files", "contract", "bundle", "engine", "text"),
    "road": ("errors", "files", "contract", "bundle", "engine", "text", "decoding"),
    "input": ("errors", "files", "contract", "bundle", "engine", "text", "decoding", "road"),
    "output": ("errors", "files", "contract", "bundle", "engine", "text", "decoding", "road", "input"),
    "recipes": _RUNTIME,
    "settings": (*_RUNTIME, "recipes"),
    "data": (*_RUNTIME, "settings"),
    "evaluation": (*_RUNTIME, "settings", "data", "model"),
    "model": (*_RUNTIME, "settings", "data"),
    "triggers": (*_RUNTIME, "settings", "data", "model", "evaluation"),
    "training": (*_RUNTIME, "settings", "data", "model", "evaluation", "triggers"),
    "experiments": (*_RUNTIME, *_TRAINING),
    "export": (*_RUNTIME, *_TRAINING),
    "cli_support": ("output",),
    "bench": (*_RUNTIME, *_TRAINING, "export", "cli_support"),
    "top": (*_RUNTIME, *_TRAINING, "export", "bench", "cli_support"),
}


def module_files() -> dict[str, Path]:
    """Return every module of the product and its file."""
    files = {}
    for folder in ("commands", "runtime", "export", "bench", "trimf_train"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            files[".".join(parts if parts[0] == "trimf_train" else ("trimf", *parts))] = path
    for path in ROOT.glob("*.py"):
        if path.name not in ("__init__.py", "hatch_build.py"):
            files[f"trimf.{path.stem}"] = path
    return files


FILES = module_files()


def room_of(module: str) -> str:
    """Return the room of a module."""
    prefixes = [prefix for prefix in ROOMS if module == prefix or module.startswith(f"{prefix}.")]
    return ROOMS[max(prefixes, key=len)]


def imported_modules(module: str) -> Iterator[str]:
    """Yield the modules of the product that a module imports when it runs; imports for type checkers do not count."""
    path = FILES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for child in ast.walk(statement)
    }
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if node in skipped:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            names = [full if (full := f"{source}.{alias.name}") in FILES else source for alias in node.names]
        yield from (name for name in names if name in FILES and name != module)


GRAPH = {module: sorted(set(imported_modules(module))) for module in FILES}

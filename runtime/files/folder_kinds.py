"""Recognise the folders that TriMF writes; no other folder is ever replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

#: Names of compiled engines, which a bundle may hold unlisted if a build was stopped.
_ENGINE = re.compile(r"engines/[a-z]+\.[a-z-]+\.sm_\d+[a-z]?\.[0-9a-f]{8}\.engine")

#: Hidden files of TriMF itself that a stopped command may leave.
_LEFTOVER = re.compile(r"(.*/)?\.(lock|[^/]+\.lock|[^/]+\.[0-9a-f]{16}\.tmp)")

#: Maximum size in bytes of a file by which a folder is recognised.
_MAX_MARKER_BYTES = 64 << 20


class FolderKind(NamedTuple):
    """A kind of folder that TriMF writes.

    Attributes:
        name: What to call it in messages.
        marker: File by which it is recognised, a JSON object.
        keys: Keys that this object has.
        list_files: Returns the names of the files that the folder may hold, from the object.
    """

    name: str
    marker: str
    keys: frozenset[str]
    list_files: Callable[[Mapping[str, Any]], set[str]]


def _list_bundle_files(manifest: Mapping[str, Any]) -> set[str]:
    files = manifest["files"]
    return {"manifest.json", *files} if isinstance(files, Mapping) else set()


BUNDLE = FolderKind("bundle", "manifest.json", frozenset({"schema_version", "labels", "files"}), _list_bundle_files)
CHECKPOINT = FolderKind(
    "checkpoint",
    "trimf.json",
    frozenset({"schema_version", "labels", "model"}),
    lambda _: {"trimf.json", "tokenizer.json", "model.safetensors", "encoder/config.json", "effects.npz"},
)
BENCHMARK = FolderKind(
    "benchmark report",
    "report.json",
    frozenset({"schema_version", "cases"}),
    lambda _: {"report.json", "report.md", "report.html"},
)


def find_obstacle(folder: Path, kind: FolderKind | None) -> str:
    """Find out why a folder may not be replaced or removed.

    Args:
        folder: Existing folder.
        kind: What it must be; None allows an empty folder only.

    Returns:
        The reason, as the end of a sentence about the folder; empty if the folder is empty, or is of this kind and
        holds nothing that TriMF did not write.
    """
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink() or not any(path.iterdir())
    )
    if not names:
        return ""
    if kind is None:
        return f"holds {names[0]}"
    described = _read_marker(folder / kind.marker)
    if not kind.keys <= described.keys():
        return f"is not a {kind.name} of TriMF (no {kind.marker} of one)"
    own = kind.list_files(described)
    foreign = [name for name in names if name not in own and not _is_leftover(name, kind)]
    return f"holds {foreign[0]}, which is no part of a {kind.name}" if foreign else ""


def _is_leftover(name: str, kind: FolderKind) -> bool:
    """Return True for a file that a stopped command of TriMF may have left in a folder of this kind."""
    return bool(_LEFTOVER.fullmatch(name) or (kind is BUNDLE and (name == "engines" or _ENGINE.fullmatch(name))))


def _read_marker(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file; an empty one if there is none."""
    try:
        if path.stat().st_size > _MAX_MARKER_BYTES:
            return {}
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

"""Keep measured effects of words in a file, so that a run that is stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trimf.runtime.errors import InputError
from trimf.runtime.files.write_errors import report_write_errors
from trimf.runtime.triggers.word_deletion import WordEffects


class DeletionCache:
    """Effects of words by the index of their sentence, in memory and, with a path, in a file.

    The file has a line with the key and a line for each sentence. Lines under another key are dropped, and so are those
    from the line on that a killed run left unfinished.

    Args:
        path: The file; None keeps the effects in memory alone.
        key: What the effects depend on: hashes of the model and of the data.

    Raises:
        InputError: ``path`` is a file of something else, which is not replaced, or it cannot be written.
    """

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        self._path = path
        self._effects: dict[int, WordEffects] = {}
        if path is None:
            return
        first = json.dumps({"key": key})
        kept = [first]
        for line in _read_lines(path, first):
            found = _decode_line(line)
            if found is None:
                break
            self._effects[found[0]] = found[1]
            kept.append(line)
        with report_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def __len__(self) -> int:
        return len(self._effects)

    def get(self, index: int) -> WordEffects | None:
        """Return the effects of a sentence, or None if they were not measured."""
        return self._effects.get(index)

    def add(self, measured: Mapping[int, WordEffects]) -> None:
        """Add the effects of sentences, and write them to the file."""
        self._effects.update(measured)
        if self._path is None or not measured:
            return
        lines = [
            json.dumps([index, effects.base.tolist(), effects.without.tolist()]) for index, effects in measured.items()
        ]
        with report_write_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))


def _read_lines(path: Path, first: str) -> list[str]:
    """Return the lines after the first one of a file, if that is ``first``."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if lines not in ([], [""]) and not lines[0].startswith('{"key": "'):
        raise InputError(f"{path}: not a file of measured effects, and is not replaced; name another one")
    return lines[1:] if lines and lines[0] == first else []


def _decode_line(line: str) -> tuple[int, WordEffects] | None:
    """Return the index and the effects of a sentence; None if the line is damaged or was not finished."""
    try:
        values: Any = json.loads(line)
        index, base, without = values
        effects = WordEffects(np.array(base, np.float64), np.array(without, np.float64).reshape(-1, len(base)))
        return int(index), effects
    except (ValueError, TypeError, RecursionError):
        return None

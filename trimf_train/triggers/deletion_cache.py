"""Keep measured effects of words in a file, so that a run that is stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trimf.runtime.files.write_errors import report_write_errors
from trimf.runtime.triggers.word_deletion import WordEffects


class DeletionCache:
    """Effects of words by the index of their sentence, in memory and, with a path, in a file.

    The file has a line with the key and a line for each sentence. A file of another key, or the line that a killed run
    left unfinished, is dropped.

    Args:
        path: The file; None keeps the effects in memory alone.
        key: What the effects depend on: hashes of the model and of the data.
    """

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        self._path = path
        self._effects: dict[int, WordEffects] = {}
        if path is None:
            return
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        first = json.dumps({"key": key})
        kept = [first]
        for line in lines[1:] if lines and lines[0] == first else []:
            try:
                index, base, without = json.loads(line)
            except ValueError:
                break
            self._effects[index] = WordEffects(np.array(base), np.array(without).reshape(-1, len(base)))
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


def hash_files(*paths: Path) -> str:
    """Return the SHA-256 of files, one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

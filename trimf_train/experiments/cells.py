"""One training run of a grid, by what it depends on: the same run in two experiments is trained once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from trimf_train.config import Config
from trimf_train.metrics import Evaluation


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished run measured on its held-out part; ``dev`` where it was chosen by one."""

    epoch: int
    parameters: int
    seconds: float
    test: dict[str, Any]
    dev: dict[str, Any] | None = None

    @property
    def scores(self) -> Evaluation:
        """The figures of the held-out part."""
        return self.test  # type: ignore[return-value]


class Cell(NamedTuple):
    """A run: its row and seed, the configuration that makes it, the file it is scored on, and the runs whose
    checkpoints it begins from or learns from.
    """

    row: str
    seed: int
    config: Config
    test: str
    needs: tuple[Cell, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it trains."""
        return Path(self.config.output)

    @property
    def result(self) -> Result | None:
        """What it measured, once it is done."""
        path = self.folder / "result.json"
        return msgspec.json.decode(path.read_bytes(), type=Result) if path.is_file() else None


def cell(row: str, seed: int, config: Config, test: str, runs: Path, needs: tuple[Cell, ...] = ()) -> Cell:
    """A run in a folder of ``runs`` that is named by everything its result depends on."""
    files = [*config.data.train, *([config.data.dev] if config.data.dev else []), *config.train.extra_syntax, test]
    config = msgspec.structs.replace(config, seed=seed, output="")
    digest = hashlib.sha256(msgspec.json.encode(config))
    for path in files:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    folder = runs / digest.hexdigest()[:16]
    return Cell(row, seed, msgspec.structs.replace(config, output=str(folder)), test, needs)

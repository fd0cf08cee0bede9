"""Training runs of a grid, identified by everything their results depend on.

A run that occurs in two experiments is therefore trained only once.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

import trimf
from trimf_train.config import Config
from trimf_train.evaluation.results import Evaluation


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a finished run.

    Attributes:
        epoch: The epoch whose checkpoint was kept.
        parameters: Number of parameters of the model.
        seconds: Training time over all epochs.
        test: Scores on the held-out file.
        dev: Scores on the development set; None if there was none to select the epoch.
    """

    epoch: int
    parameters: int
    seconds: float
    test: Evaluation
    dev: Evaluation | None = None


class GridCell(NamedTuple):
    """Training run of a grid.

    Attributes:
        row: Name of the row in the table.
        seed: Random seed; with cross-validation also the index of the fold.
        config: The complete configuration.
        test: The file the run is evaluated on.
        dependencies: Runs whose checkpoints this run starts from or learns from.
    """

    row: str
    seed: int
    config: Config
    test: str
    dependencies: tuple[GridCell, ...] = ()

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return Path(self.config.output)

    @property
    def result(self) -> RunResult | None:
        """Result of the run, or None if it is not finished."""
        path = self.folder / "result.json"
        return msgspec.json.decode(path.read_bytes(), type=RunResult) if path.is_file() else None


def make_cell(
    row: str, seed: int, config: Config, test: str, runs: Path, dependencies: tuple[GridCell, ...] = ()
) -> GridCell:
    """Create a run whose folder is named by a hash of everything its result depends on.

    That is the configuration, the contents of the data files, and the version of TriMF, whose code computes the result.

    Args:
        row: Name of the row in the table.
        seed: Random seed, which replaces the seed of ``config``.
        config: The configuration; its output folder is replaced.
        test: The file the run is evaluated on.
        runs: The folder that contains the folders of all runs.
        dependencies: Runs whose checkpoints this run starts from or learns from.

    Returns:
        The run.
    """
    files = [*config.data.train, *([config.data.dev] if config.data.dev else []), *config.train.extra_syntax, test]
    config = msgspec.structs.replace(config, seed=seed, output="")
    digest = hashlib.sha256(msgspec.json.encode((trimf.__version__, config)))
    for path in files:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    folder = runs / digest.hexdigest()[:16]
    return GridCell(row, seed, msgspec.structs.replace(config, output=str(folder)), test, dependencies)

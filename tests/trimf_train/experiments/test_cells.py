"""The identity of a training run: all that its result depends on, and nothing else."""

from pathlib import Path

import pytest

import trimf
from trimf_train.config import Config, DataConfig, apply_overrides
from trimf_train.experiments.cells import make_cell


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text(f"{name}\n")
    return Config(data=DataConfig(train=[str(tmp_path / "train.jsonl")], dev=str(tmp_path / "dev.jsonl")), output="run")


def identify(config: Config, tmp_path: Path, row: str = "row", seed: int = 0) -> str:
    return make_cell(row, seed, config, str(tmp_path / "test.jsonl"), tmp_path / "runs").folder.name


def test_the_same_run_under_another_name_is_the_same(config: Config, tmp_path: Path) -> None:
    assert identify(config, tmp_path) == identify(config, tmp_path, row="another row")


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_another_data_file_is_another_run(config: Config, tmp_path: Path, name: str) -> None:
    before = identify(config, tmp_path)
    (tmp_path / f"{name}.jsonl").write_text("other\n")
    assert identify(config, tmp_path) != before


def test_another_setting_or_seed_is_another_run(config: Config, tmp_path: Path) -> None:
    other = apply_overrides(config, ["train.batch_size=7"])
    names = {identify(config, tmp_path), identify(config, tmp_path, seed=1), identify(other, tmp_path)}
    assert len(names) == 3


def test_another_version_is_another_run(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identify(config, tmp_path)
    monkeypatch.setattr(trimf, "__version__", "99.0.0")
    after = identify(config, tmp_path)
    assert after != before
    monkeypatch.undo()
    assert identify(config, tmp_path) == before

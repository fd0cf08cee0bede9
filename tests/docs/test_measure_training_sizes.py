"""The tool that measures F1 by the number of training sentences: its table, and that it does not repeat a run."""

from __future__ import annotations

import json
from pathlib import Path

import measure_training_sizes as tool
import pytest
import render_results


def write_run(folder: Path, entity: float, relation: float, epochs: int) -> None:
    folder.mkdir(parents=True)
    scores = {
        "entities": {"micro": {"f1": entity}},
        "relations": {"strict": {"micro": {"f1": relation}}},
        "epochs": epochs,
    }
    (folder / "scores.json").write_text(json.dumps(scores))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    write_run(tmp_path / "after-150-1", 80, 50, 73)
    write_run(tmp_path / "before-50-1", 50, 20, 30)
    write_run(tmp_path / "before-50-2", 54, 22, 30)
    return tmp_path


def test_rows_are_in_order_and_say_how_many_seeds(work: Path) -> None:
    assert tool.build_rows(tool.collect(work)) == [
        ["50", tool.TITLES["before"], "52.00 ± 2.83", "21.00 ± 1.41", "30 30", "2"],
        ["150", tool.TITLES["after"], "80.00", "50.00", "73", "1"],
    ]


def test_the_results_file_can_be_rendered(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_results, "RESULTS", tmp_path)
    tool.write_results(tool.build_rows(tool.collect(work)), "a device", "1234567", tmp_path / "training-sizes.json")
    assert len(render_results.load("training-sizes")["rows"]) == 2


def test_a_run_with_scores_is_not_repeated(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "run_trimf", lambda *_: pytest.fail("a finished run was repeated"))
    tool.measure(Path("no data"), work, "before", 50, 1)

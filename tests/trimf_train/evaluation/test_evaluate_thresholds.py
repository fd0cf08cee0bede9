"""Thresholds of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimf.cli import main
from trimf.runtime.errors import InputError
from trimf_train.evaluation.evaluate import evaluate_file

RECORD = {
    "tokens": ["Jack", "Ruby", "lived", "in", "Dallas", "."],
    "entities": [{"type": "Peop", "start": 0, "end": 2}, {"type": "Loc", "start": 4, "end": 5}],
    "relations": [{"type": "Live_In", "head": 0, "tail": 1}],
}


def test_a_threshold_leaves_out_what_is_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "one.json"
    data.write_text(json.dumps([RECORD]))
    recalls = [
        (scores["entities"]["micro"]["recall"], scores["relations"]["strict"]["micro"]["recall"])
        for scores in (
            evaluate_file("default", data, threads=1),
            evaluate_file("default", data, threads=1, threshold={"Live_In": 1}),
            evaluate_file("default", data, threads=1, entity_threshold={"Loc": 1}),
        )
    ]
    assert recalls == [(100, 100), (100, 0), (50, 0)]
    with pytest.raises(InputError, match="did you mean 'Live_In'"):
        evaluate_file("default", data, threshold={"Live_on": 0.5})
    assert main(["eval", "default", str(data), "--threshold", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["relations"]["strict"]["micro"]["recall"] == 0

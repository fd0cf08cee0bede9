"""The page of ways of use: every block runs, from top to bottom."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) > 8
    command = f"trimf() {{ '{sys.executable}' -m trimf \"$@\"; }}\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    names: dict[str, object] = {}
    for language, block in blocks:
        if language == "python":
            exec(block, names)
        else:
            subprocess.run(["bash", "-ec", command + block], check=True, env=environment, timeout=400)
    assert [len(json.loads(Path("mail.json").read_text())), Path("mails.jsonl").read_text().count("may/1.txt")] == [
        1,
        1,
    ]
    assert Path("latin.jsonl").read_text().count("\n") == 1

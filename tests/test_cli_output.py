"""Where commands write to, and what they say when they cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimf.cli import main

SENTENCE = "Lee Harvey Oswald was shot by Jack Ruby in Dallas."
LIMITED = """
import resource, sys
from trimf.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [["extract", "--format", "jsonl", SENTENCE]])
def test_a_dash_is_standard_output(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--output", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["text"] == SENTENCE
    assert not list(tmp_path.iterdir())


def test_prepared_lines_go_to_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.json").write_text(json.dumps([{"tokens": ["Ruby", "shot"], "entities": [], "relations": []}]))
    assert main(["prepare", "in.json", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["tokens"] == ["Ruby", "shot"]
    assert [path.name for path in tmp_path.iterdir()] == ["in.json"]


@pytest.mark.parametrize(
    "command",
    [
        ["export", "run/best"],
        ["calibrate", "run/best", "dev.jsonl"],
        ["compile", "default"],
        ["verify", "default"],
        ["bench"],
        ["experiment", "main"],
    ],
)
def test_a_dash_is_no_folder(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--output", "-"]) == 2
    assert "a folder is needed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_input_is_not_replaced_by_the_output(tmp_path: Path, capsys) -> None:
    (tmp_path / "in.txt").write_text(SENTENCE)
    (tmp_path / "link").symlink_to("in.txt")
    for name in ("in.txt", "link"):
        assert main(["extract", "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / name)]) == 2
        assert "is the input" in capsys.readouterr().err
    assert (tmp_path / "in.txt").read_text() == SENTENCE


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files are POSIX's")
@pytest.mark.parametrize(
    ("command", "size"),
    [
        (["extract", "--format", "jsonl", SENTENCE, "--output", "out"], 16),
        (["prepare", "in.json", "out"], 16),
        (["verify", "default", "--output", "out"], 4096),
    ],
)
def test_a_full_disk_is_one_line(command: list[str], size: int, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps([{"tokens": ["Ruby", "shot"], "entities": [], "relations": []}]))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(size=size), *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith("cannot be written: File too large")
    assert "out" in done.stderr.splitlines()[-1]
    assert not [
        path
        for path in tmp_path.iterdir()
        if path.name.startswith((".", "out")) and ".part" not in path.name and ".source" not in path.name
    ]

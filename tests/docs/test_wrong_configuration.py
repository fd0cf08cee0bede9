"""The errors of a wrong configuration that the documentation shows are those that the command prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from trimf.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
BLOCK = re.compile(r"### A wrong configuration\n.*?```console\n(?P<lines>.*?)```", re.DOTALL)


def test_the_page_shows_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert block is not None
    lines = block["lines"].splitlines()
    assert len(lines) >= 8
    for command, shown in zip(lines[::2], lines[1::2], strict=True):
        program, *arguments = shlex.split(command.removeprefix("$ "))
        assert program == "trimf"
        assert main(arguments) == 2
        assert capsys.readouterr().err == shown + "\n"
    assert not list(tmp_path.iterdir())

"""Signals that ask a command to end: nothing half-written stays, and the exit status names the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")

SENTENCE = "Lee Harvey Oswald was shot by Jack Ruby in Dallas.\n"


def heed_interrupts() -> None:
    """Undo in a new process that this one, in the background of a shell, ignores interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_extraction(folder: Path, *prefix: str) -> subprocess.Popen[str]:
    """Start a long extraction and wait until it writes."""
    (folder / "in.txt").write_text(SENTENCE * 20_000)
    command = [*prefix, sys.executable, "-m", "trimf", "extract", "--input", "in.txt", "--output", "out.jsonl"]
    command += ["--format", "jsonl", "--threads", "1"]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=heed_interrupts
    )
    while process.poll() is None and not list(folder.glob(".out.jsonl.*.tmp")):
        time.sleep(0.02)
    assert process.poll() is None
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process = start_extraction(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.slow
def test_nohup_stays_in_force(tmp_path: Path) -> None:
    process = start_extraction(tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM


IMPORT = """
import os, signal, sys
from importlib.abc import MetaPathFinder
from trimf.__main__ import run

class Stop(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.{signal})
                for _ in range(1000):
                    pass
            except BaseException as error:
                raise ImportError(f"{{name}} cannot be imported") from error

sys.meta_path.insert(0, Stop())
sys.argv = ["trimf", "extract", "Dallas"]
sys.exit(run())
"""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("module", ["trimf.cli", "numpy"])
def test_a_signal_that_comes_out_of_an_import_as_an_error(name: str, module: str) -> None:
    code = IMPORT.format(module=module, signal=name)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=heed_interrupts,
    )
    assert done.returncode == 128 + signal.Signals[name]
    assert done.stderr == "trimf: interrupted\n"


def test_the_working_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    leave = f"import os; os.chdir({str(folder)!r}); os.rmdir({str(folder)!r})"
    code = f"{leave}; from trimf.cli import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "extract", "--output", "out", "Dallas"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PWD": str(folder)},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"trimf: {folder}: the working folder is gone")
    assert done.stderr.count("\n") == 1

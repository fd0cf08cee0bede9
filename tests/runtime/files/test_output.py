"""Where a command writes to: files, standard output, pipes and devices."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest

from trimf.runtime.errors import InputError
from trimf.runtime.files.output import open_output

PROGRAM = """
import sys
from trimf.runtime.errors import InputError
from trimf.runtime.files.output import open_output
target, encoding = sys.argv[1], sys.argv[2] or None
try:
    with open_output(None if target == "none" else target, encoding=encoding) as stream:
        stream.write("Köln → 東京\\n")
except InputError as error:
    sys.exit(f"refused: {error}")
print("after")
"""


def run(
    target: str, encoding: str = "utf-8", console: str = "utf-8", *, stdout: "int | IO[bytes]"
) -> "subprocess.CompletedProcess[bytes]":
    """Write to a target in another process, whose console has an encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": console}
    command = [sys.executable, "-c", PROGRAM, target, encoding]
    return subprocess.run(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)


@pytest.mark.parametrize("target", ["none", "-", "/dev/stdout", "/dev/fd/1"])
@pytest.mark.parametrize("console", ["utf-8", "cp1252", "ascii"])
def test_standard_output_is_utf8_whatever_the_console(target: str, console: str) -> None:
    done = run(target, console=console, stdout=subprocess.PIPE)
    assert done.stdout == "Köln → 東京\n".encode() + b"after\n"


def test_text_follows_the_console_and_never_fails() -> None:
    assert run("-", "", "cp1252", stdout=subprocess.PIPE).stdout == b"K\xf6ln ? ??\nafter\n"


def test_a_log_that_is_standard_output_keeps_what_is_there(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.write(b"before\n")
        log.flush()
        run("/dev/stdout", stdout=log)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "before\nKöln → 東京\nafter\n"


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with open_output(tmp_path / "pipe") as stream:
        stream.write("one")
    reader.join(30)
    assert received == [b"one"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = run("-", stdout=full)
    assert done.stderr.decode().splitlines() == ["refused: standard output: cannot be written: No space left on device"]
    with pytest.raises(InputError, match=r"^/dev/full: cannot be written: "), open_output("/dev/full") as stream:
        stream.write("one")


def test_a_stream_that_is_no_console_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with open_output(None) as stream:
        stream.write("東京")
    assert sys.stdout.getvalue() == "東京"  # type: ignore[attr-defined]


def test_a_closed_standard_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="standard output is closed"), open_output("-"):
        pytest.fail("the block ran")


def write_and_fail(path: Path, text: str, error: type[Exception]) -> None:
    with open_output(path, keep_after=(ValueError,)) as stream:
        stream.write(text)
        raise error


def test_what_was_written_is_kept_after_an_expected_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(ValueError):  # noqa: PT011
        write_and_fail(tmp_path / "out", "done", ValueError)
    assert (tmp_path / "out").read_text() == "done"
    with pytest.raises(KeyError):
        write_and_fail(tmp_path / "out", "other", KeyError)
    assert (tmp_path / "out").read_text() == "done"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a regular file"), open_output(tmp_path):
        pytest.fail("the block ran")

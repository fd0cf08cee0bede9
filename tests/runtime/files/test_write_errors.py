"""A disk that takes no more is said in one line that names the output."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from trimf.runtime.errors import InputError
from trimf.runtime.files.write_errors import report_write_errors

LIMITED = """
import resource, sys
from pathlib import Path
from trimf.runtime.errors import InputError
from trimf.runtime.files.atomic import atomic_path
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with atomic_path(sys.argv[1]) as temporary:
        temporary.write_bytes(bytes(100_000))
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files are POSIX's")
def test_a_file_that_may_grow_no_more(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "out")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{tmp_path / 'out'}: cannot be written: File too large\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_the_error_of_a_disk_names_the_output(tmp_path: Path, number: int) -> None:
    with pytest.raises(InputError, match=r"^out: cannot be written: "), report_write_errors("out", tmp_path):
        raise OSError(number, "the reason")


def test_the_message_of_safetensors() -> None:
    message = "Error while serializing: I/O error: No space left on device (os error 28)"
    with (
        pytest.raises(InputError, match=r"^out: cannot be written: No space left on device$"),
        report_write_errors("out"),
    ):
        raise RuntimeError(message)


def test_the_message_of_pytorch(tmp_path: Path) -> None:
    message = (
        "[enforce fail at inline_container.cc:820] . PytorchStreamWriter failed writing file data/0: file write failed"
    )
    with (
        pytest.raises(InputError, match=r"^out: cannot be written: the file system refused the data$"),
        report_write_errors("out", tmp_path / "new"),
    ):
        raise RuntimeError(message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/data.json"),
        ValueError("something else"),
        RuntimeError("cannot open tokenizer.json: No such file or directory (os error 2)"),
    ],
)
def test_other_errors_pass_unchanged(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, report_write_errors("out", tmp_path):
        raise error
    assert caught.value is error

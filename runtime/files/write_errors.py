"""Say which output could not be written, and why, in one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

#: Errors of a disk that takes no more, whatever file they name.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}

#: What PyTorch's writer of archives says of every failure, without the reason.
_TORCH_WRITER = re.compile(r"inline_container|PytorchStreamWriter")

#: How libraries written in Rust, such as safetensors, quote an error of the operating system.
_RUST_ERROR = re.compile(r"\(os error (?P<number>\d+)\)")

#: Number of bytes that are written to ask the disk for the reason of a failure.
_PROBE_BYTES = 1 << 20


@contextmanager
def report_write_errors(target: str | os.PathLike[str], temporary: Path | None = None) -> Iterator[None]:
    """Turn an error of writing into one that names the output.

    An error of reading another file passes unchanged.

    Args:
        target: Output as the user named it.
        temporary: File or folder that is written in its place; by default ``target`` itself.

    Raises:
        InputError: The block could not write, for example because the disk is full.
    """
    written = Path(temporary if temporary is not None else target)
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_ERRORS or _is_about(error, written):
            raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
        raise
    except Exception as error:
        if reason := _find_reason(error, written):
            raise InputError(f"{target}: cannot be written: {reason}") from error
        raise


def _is_about(error: OSError, written: Path) -> bool:
    """Return True if the error names what is being written."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return False
    name = Path(os.fsdecode(error.filename))
    return name == written or written in name.parents or name == written.parent


def _find_reason(error: Exception, written: Path) -> str:
    """Return why a library could not write; empty if the error is about something else."""
    message = str(error)
    if (match := _RUST_ERROR.search(message)) and int(match["number"]) in _DISK_ERRORS:
        return os.strerror(int(match["number"]))
    if not _TORCH_WRITER.search(message):
        return ""
    probe = (written if written.is_dir() else written.parent) / f".{os.getpid()}.probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as cause:
        return cause.strerror or str(cause)
    finally:
        probe.unlink(missing_ok=True)
    return "the file system refused the data"

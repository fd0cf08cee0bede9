"""Keep two processes from writing the same output at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InputError


@contextmanager
def lock_output(target: Path, lock_file: Path | None = None, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of an output while the block runs.

    The operating system releases the lock of a process that dies. The lock file is removed at the end.

    Args:
        target: File or folder that the block writes; errors name it.
        lock_file: File to lock; by default a hidden file beside ``target``. It must lie on the same disk as the output.
        wait: Seconds to wait for another process that holds the lock.

    Raises:
        InputError: Another process holds the lock, or the lock file cannot be created.
    """
    path = lock_file or target.with_name(f".{target.name}.lock")
    lock = FileLock(path, timeout=wait, is_singleton=False)
    try:
        lock.acquire()
        while not path.exists():  # its last owner removed the file after it was opened here: others lock another one
            lock.release()
            lock.acquire()
    except Timeout:
        raise InputError(f"{target}: another process is writing it; wait for it, or choose another output") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        # On Windows an open file cannot be removed; there the file stays.
        with suppress(OSError):
            path.unlink()
        lock.release()

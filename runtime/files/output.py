"""Open the place that a command writes to: a file, standard output, a pipe or a device."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ..errors import InputError
from .atomic import atomic_path

#: Names of open file descriptors of this process.
_DESCRIPTOR = re.compile(r"/(?:dev/fd|proc/self/fd)/(?P<number>\d+)")

_STANDARD_DESCRIPTORS = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}


@contextmanager
def open_output(
    output: str | Path | None, *, encoding: str | None = "utf-8", keep_after: tuple[type[Exception], ...] = ()
) -> Iterator[TextIO]:
    """Open a text stream to where a command writes.

    Args:
        output: A file, which is replaced when the block succeeds and left as it was when it raises; ``-`` or None for
            standard output. A pipe, a device or an open descriptor (``/dev/stdout``) is written to as it is.
        encoding: Encoding of standard output; None for that of the console, in which characters that it does not
            have become question marks. A file is always UTF-8.
        keep_after: Exceptions after which a file is put in place all the same, with what was written so far.

    Yields:
        The stream.

    Raises:
        InputError: The place cannot be written to.
    """
    descriptor = _find_descriptor(output)
    if descriptor == 1:
        with _open_standard_output(encoding) as stream:
            yield stream
    elif descriptor is not None or _is_special(Path(str(output))):
        try:
            opened = os.dup(descriptor) if descriptor is not None else str(output)
            with open(opened, "w", encoding="utf-8", newline="\n") as stream:
                yield stream
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"{output}: cannot be written: {error.strerror}") from error
    else:
        kept: Exception | None = None
        with atomic_path(str(output)) as new, new.open("w", encoding="utf-8", newline="\n") as stream:
            try:
                yield stream
            except keep_after as error:
                kept = error
        if kept is not None:
            raise kept


def _find_descriptor(output: str | Path | None) -> int | None:
    """Return the number of the open descriptor that a name stands for, or None."""
    name = "-" if output is None else str(output)
    if match := _DESCRIPTOR.fullmatch(name):
        return int(match["number"])
    return _STANDARD_DESCRIPTORS.get(name)


def _is_special(path: Path) -> bool:
    """Return True if the path is a pipe, a socket or a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def _open_standard_output(encoding: str | None) -> Iterator[TextIO]:
    """Yield standard output, in another encoding if asked for."""
    console = sys.stdout
    if console is None:
        raise InputError("standard output is closed; use --output FILE")
    stream = _reopen(console, encoding)
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python flushes standard output once more at exit, and would fail again.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), console.fileno())
        raise InputError(f"standard output: cannot be written: {error.strerror}") from error
    finally:
        if stream is not console and isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):
                stream.detach()


def _reopen(console: TextIO, encoding: str | None) -> TextIO:
    """Return a stream onto the same place that writes in ``encoding``; None is that of the console, made lenient."""
    if not isinstance(console, io.TextIOWrapper):  # a notebook's or a test's stream, which takes any character
        return console
    console.flush()
    if encoding is None:
        if console.errors == "strict":
            console.reconfigure(errors="replace")
        return console
    return io.TextIOWrapper(console.buffer, encoding=encoding, newline="\n", line_buffering=console.line_buffering)

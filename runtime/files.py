"""Files that are either whole or not there, and lines of UTF-8 read in constant memory."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import InputError

_BOM = b"\xef\xbb\xbf"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what was written there becomes ``path`` when the block succeeds.

    The content is on disk before the name is, so a reader sees the old file or the whole new one. If the block
    raises, the temporary file is removed and ``path`` is left as it was.

    Raises:
        FileNotFoundError: The folder does not exist, or the block wrote no file.
    """
    target = Path(path).resolve()
    temporary = _sibling(target)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(target.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``, which becomes ``path`` when the block succeeds.

    With ``overwrite`` an existing folder is moved aside first, put back if the new one cannot take its place, and
    removed only once the new one has. If the block raises, the temporary folder is removed and ``path`` is left as
    it was.

    Raises:
        InputError: ``path`` is a file, or a folder that is not empty and ``overwrite`` is false, or cannot be made.
    """
    target = Path(path).resolve()
    _check_target(target, overwrite)
    temporary = _sibling(target)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield temporary
        for item in temporary.rglob("*"):
            _sync(item)
        _sync(temporary)
        _check_target(target, overwrite)
        _swap(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def read_file(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 file, as :func:`read_lines` gives them.

    Raises:
        InputError: the file cannot be opened, or a line is not UTF-8.
    """
    try:
        with Path(path).open("rb") as stream:
            yield from read_lines(stream, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Yield the lines of a binary stream of UTF-8 without their line end (``\\n`` or ``\\r\\n``), one at a time.

    A byte order mark at the start of the stream is dropped; every other character is kept. ``name`` is what errors
    call the stream.

    Raises:
        InputError: A line is not UTF-8; the message gives the line and the position in the stream, in bytes from 0.
    """
    position = 0
    for number, raw in enumerate(stream, start=1):
        line = raw.removesuffix(b"\n")
        if len(line) < len(raw):
            line = line.removesuffix(b"\r")
        skipped = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
        try:
            yield line[skipped:].decode()
        except UnicodeDecodeError as error:
            at = skipped + error.start
            raise InputError(
                f"{name}, line {number}: byte 0x{line[at]:02X} at position {position + at} is not UTF-8;"
                f" convert the file to UTF-8"
            ) from None
        position += len(raw)


def _sibling(target: Path) -> Path:
    """A hidden name in the same folder that nobody uses."""
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse a target that a folder may not replace."""
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file, and a folder is to be written there; choose another path")
    if not overwrite and any(target.iterdir()):
        raise InputError(f"{target} is not empty; choose another folder or ask to overwrite it")


def _swap(new: Path, target: Path) -> None:
    """Rename ``new`` to ``target``, keeping what was there until that has worked."""
    old = _sibling(target) if target.exists() else None
    if old:
        os.replace(target, old)
    try:
        os.replace(new, target)
    except BaseException:
        if old:
            os.replace(old, target)
        raise
    _sync(target.parent)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

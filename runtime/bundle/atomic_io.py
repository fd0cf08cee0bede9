"""Atomic file and folder writes, and line-by-line reading of UTF-8 in constant memory."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

#: UTF-8 byte order mark.
_BOM = b"\xef\xbb\xbf"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Replace a file atomically with one that the block writes.

    The content is flushed to disk before the rename, so a reader sees either the old file or the complete new one. If
    the block raises, the temporary file is removed and ``path`` is left as it was. A symbolic link stays a link.

    Args:
        path: File to create or replace.

    Yields:
        A temporary path in the same folder; the block must write a file there.

    Raises:
        FileNotFoundError: The folder does not exist, or the block wrote no file.
    """
    target = Path(path).resolve()
    temporary = _make_sibling_path(target)
    try:
        yield temporary
        _sync_to_disk(temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_to_disk(target.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Create or replace a folder atomically with one that the block fills.

    If the block raises, the temporary folder is removed and ``path`` is left as it was.

    Args:
        path: Folder to create; missing parents are created too.
        overwrite: Replace a folder that is not empty. The old folder is moved aside, removed once the new one is in
            place, and restored if the rename fails.

    Yields:
        A new, empty temporary folder in the same parent folder.

    Raises:
        InputError: ``path`` is a file, is a non-empty folder and ``overwrite`` is false, or cannot be created.
    """
    target = Path(path).resolve()
    _check_target(target, overwrite)
    temporary = _make_sibling_path(target)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield temporary
        for item in temporary.rglob("*"):
            _sync_to_disk(item)
        _sync_to_disk(temporary)
        _check_target(target, overwrite)
        _replace_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def read_file_lines(path: str | Path) -> Iterator[str]:
    """Read a UTF-8 file line by line; see ``read_lines``.

    Args:
        path: File to read; it is opened when the first line is requested.

    Yields:
        The lines without their line ends.

    Raises:
        InputError: The file cannot be read, or a line is not UTF-8.
    """
    try:
        with Path(path).open("rb") as stream:
            yield from read_lines(stream, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Read a binary stream of UTF-8 line by line.

    Lines end at ``\\n`` or ``\\r\\n``. A byte order mark at the start of the stream is dropped; all other characters
    are kept.

    Args:
        stream: Binary stream to read.
        name: Name of the stream in error messages.

    Yields:
        The lines without their line ends.

    Raises:
        InputError: A line is not UTF-8; the message gives the line number (from 1) and the byte offset in the stream
            (from 0).
    """
    position = 0
    for line_number, raw in enumerate(stream, start=1):
        line = raw.removesuffix(b"\n")
        if len(line) < len(raw):
            line = line.removesuffix(b"\r")
        skipped = len(_BOM) if line_number == 1 and line.startswith(_BOM) else 0
        try:
            yield line[skipped:].decode()
        except UnicodeDecodeError as error:
            at = skipped + error.start
            raise InputError(
                f"{name}, line {line_number}: byte 0x{line[at]:02X} at position {position + at} is not UTF-8;"
                f" convert the file to UTF-8"
            ) from None
        position += len(raw)


def _make_sibling_path(target: Path) -> Path:
    """Return an unused hidden path in the same folder."""
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")


def _check_target(target: Path, overwrite: bool) -> None:
    """Raise ``InputError`` if a folder may not be written to ``target``."""
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file, but a folder must be written there; choose another path")
    if not overwrite and any(target.iterdir()):
        raise InputError(f"{target} is not empty; choose another folder or allow overwriting it")


def _replace_folder(new: Path, target: Path) -> None:
    """Rename ``new`` to ``target``; an existing target is kept until the rename has succeeded."""
    old = _make_sibling_path(target) if target.exists() else None
    if old:
        os.replace(target, old)
    try:
        os.replace(new, target)
    except BaseException:
        if old:
            os.replace(old, target)
        raise
    _sync_to_disk(target.parent)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _sync_to_disk(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder for fsync
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

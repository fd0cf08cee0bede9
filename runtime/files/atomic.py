"""Write files and folders atomically: others see the old content or the complete new one, never a half.

The new content gets a hidden temporary name beside the target and is renamed at the end. What a killed process leaves
there is removed by the next one that writes the same target.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from .folder_kinds import FolderKind, find_obstacle
from .locks import lock_output
from .write_errors import report_write_errors


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, wait: float = 0.0) -> Iterator[Path]:
    """Replace a file atomically with one that the block writes.

    The content is flushed to disk before the rename, so a reader sees either the old file or the complete new one. If
    the block raises, the temporary file is removed and ``path`` is left as it was. A symbolic link stays a link, and a
    file that is replaced keeps its permissions.

    Args:
        path: File to create or replace.
        wait: Seconds to wait for another process that writes the same file.

    Yields:
        A temporary path in the same folder; the block must write a file there.

    Raises:
        InputError: The file cannot be written, is no regular file, or another process is writing it.
        FileNotFoundError: The block wrote no file.
    """
    target = _resolve(path)
    if target.exists() and not target.is_file():
        raise InputError(f"{path}: cannot be written: not a regular file; choose another path")
    with report_write_errors(path), lock_output(target, wait=wait):
        _remove_leftovers(target)
        temporary = _make_sibling_path(target, "tmp")
        try:
            with report_write_errors(path, temporary):
                yield temporary
            with report_write_errors(path):
                _sync_to_disk(temporary)
                if target.exists():
                    temporary.chmod(stat.S_IMODE(target.stat().st_mode))
                os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_to_disk(target.parent)


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], kind: FolderKind | None = None, *, overwrite: bool = False
) -> Iterator[Path]:
    """Create or replace a folder atomically with one that the block fills.

    If the block raises, the temporary folder is removed and ``path`` is left as it was.

    Args:
        path: Folder to create; missing parents are created too.
        kind: What the block writes; only a folder of this kind is ever replaced.
        overwrite: Replace a folder of this kind if it holds nothing else. The old folder is moved aside, removed once
            the new one is in place, and restored if the rename fails.

    Yields:
        A new, empty temporary folder in the same parent folder.

    Raises:
        InputError: ``path`` is a file; is not empty and ``overwrite`` is false; is of another kind or holds other
            files; cannot be written; or another process is writing it.
    """
    target = _resolve(path)
    with report_write_errors(path):
        _check_target(path, target, kind, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
    with lock_output(target):
        _remove_leftovers(target)
        temporary = _make_sibling_path(target, "tmp")
        with report_write_errors(path, temporary):
            temporary.mkdir()
        try:
            with report_write_errors(path, temporary):
                yield temporary
            with report_write_errors(path):
                for item in temporary.rglob("*"):
                    _open_to_readers(item, temporary)
                    _sync_to_disk(item)
                _sync_to_disk(temporary)
                _check_target(path, target, kind, overwrite)
                _replace_folder(path, temporary, target, kind)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def check_new_folder(path: str | os.PathLike[str], kind: FolderKind | None = None, *, overwrite: bool = False) -> None:
    """Check that ``atomic_folder`` can write a folder, before anything is computed.

    Args:
        path: Folder to create.
        kind: What will be written; only a folder of this kind is ever replaced.
        overwrite: Whether a folder of this kind may be replaced.

    Raises:
        InputError: The path is a file, or a folder that is not empty and may not be replaced.
    """
    _check_target(path, _resolve(path), kind, overwrite)


def _resolve(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path with links resolved, so that a link is kept and its target replaced."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError) as error:  # the working folder was removed, or a link to itself
        raise InputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _make_sibling_path(target: Path, suffix: str) -> Path:
    """Return an unused hidden path in the same folder."""
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.{suffix}")


def _find_siblings(target: Path, suffix: str) -> list[Path]:
    """Return the hidden paths that ``_make_sibling_path`` has made for a target and that still exist."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{16}}\.{suffix}")
    return [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left, and restore a folder that one of them had moved aside.

    The caller holds the lock, so no living process uses these paths.
    """
    for old in _find_siblings(target, "old"):
        if not target.exists():
            os.replace(old, target)
        else:
            shutil.rmtree(old, ignore_errors=True)
    for path in _find_siblings(target, "tmp"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _check_target(path: str | os.PathLike[str], target: Path, kind: FolderKind | None, overwrite: bool) -> None:
    """Raise ``InputError`` if a folder may not be written to ``target``."""
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{path} is a file, but a folder must be written there; choose another path")
    if not any(target.iterdir()):
        return
    if not overwrite:
        replace = "" if kind is None else ", or replace it with --overwrite (overwrite=True in Python)"
        raise InputError(f"{path} is not empty; choose another folder{replace}")
    if obstacle := find_obstacle(target, kind):
        raise InputError(f"{path} {obstacle}; it is not replaced, choose another folder")


def _replace_folder(path: str | os.PathLike[str], new: Path, target: Path, kind: FolderKind | None) -> None:
    """Rename ``new`` to ``target``; an existing target is kept until the rename has succeeded."""
    old = _make_sibling_path(target, "old") if target.exists() else None
    if old:
        os.replace(target, old)
    try:
        # Nobody finds the old folder by its name any more: what was put into it until now is seen here.
        if old and (obstacle := find_obstacle(old, kind)):
            raise InputError(f"{path} {obstacle}; it is not replaced, choose another folder")
        os.replace(new, target)
    except BaseException:
        if old:
            os.replace(old, target)
        raise
    _sync_to_disk(target.parent)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _open_to_readers(path: Path, folder: Path) -> None:
    """Give a file the permissions of the umask, which some libraries narrow to the owner.

    ``folder`` was created by ``mkdir``, so that its permissions are those that the umask leaves.
    """
    if path.is_file() and not path.is_symlink():
        path.chmod(stat.S_IMODE(folder.stat().st_mode) & 0o666)


def _sync_to_disk(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder for fsync
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

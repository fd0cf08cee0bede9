"""Hash the files that a command reads, and notice when one changes meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trimf.runtime.errors import DataError


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 hash of a file, or of the files of a folder and their names, as hexadecimal digits.

    Raises:
        DataError: The file cannot be read.
    """
    if Path(path).is_dir():
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        return combine_hashes({str(file): hash_file(file) for file in files}, Path(path))
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def combine_hashes(hashes: Mapping[str, str], base: Path) -> str:
    """Return one hash of several files and of their names.

    Args:
        hashes: Hash of each file by its name.
        base: The file or folder that stands for them; names count from its folder.

    Returns:
        The hash; that of the file itself if ``base`` is the only one.
    """
    if list(hashes) == [str(base)]:
        return hashes[str(base)]
    folder = base if base.is_dir() else base.parent
    lines = sorted(f"{Path(name).relative_to(folder).as_posix()} {value}\n" for name, value in hashes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def hash_while_reading(paths: Iterable[str | Path]) -> Iterator[dict[str, str]]:
    """Hash files, and check at the end of the block that they still are what was hashed.

    Args:
        paths: Files that the block reads, once or several times.

    Yields:
        SHA-256 hash of each file by its name.

    Raises:
        DataError: A file cannot be read, or was changed while the block ran.
    """
    hashes = {str(path): hash_file(path) for path in paths}
    yield hashes
    for path, before in hashes.items():
        if hash_file(path) != before:
            raise DataError(f"{path}: changed while it was read; run the command again")

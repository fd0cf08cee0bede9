"""Write into bundles: single files atomically, and copies of a bundle that take the place of the original."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime.bundle.manifest import FileRecord
from ..runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from ..runtime.errors import BundleError, InputError
from ..runtime.files.atomic import atomic_folder, atomic_path
from ..runtime.files.folder_kinds import BUNDLE


def describe_file(content: bytes) -> FileRecord:
    """Return the manifest entry of a file with these contents."""
    return FileRecord(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def write_bundle_file(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a bundle atomically.

    Args:
        folder: Folder of the bundle.
        name: Name of the file, relative to ``folder``.
        content: Contents of the file.

    Raises:
        BundleError: The file would lie outside the bundle.
        InputError: The file cannot be written.
    """
    path = folder / name
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    for part in (path.parent, path):
        if not part.resolve().is_relative_to(folder.resolve()):
            raise BundleError(
                f"{part}: this link points outside the bundle, into a store that others share; use --output FOLDER"
            )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def check_writable(path: str | Path, output: str | Path | None) -> None:
    """Refuse to write into the bundle that ships inside the package.

    Args:
        path: Folder of the bundle, or ``default``.
        output: Folder of the copy that is written instead, or None.

    Raises:
        InputError: The bundle would be written in place, and it is part of the installed package.
    """
    if output is None and (str(path) == "default" or Path(path).resolve() == DEFAULT_BUNDLE):
        raise InputError(f"{path} is part of the installed package and is not changed; use --output FOLDER")


@contextmanager
def open_writable_bundle(
    path: str | Path, output: str | Path | None = None, *, overwrite: bool = False
) -> Iterator[Path]:
    """Open a bundle for changes: the bundle itself, or a copy of it.

    The copy is made in a temporary folder and renamed at the end of the block; if the block raises, nothing is left.

    Args:
        path: Folder of the bundle, or ``default``.
        output: Folder of the copy; by default the bundle itself is changed.
        overwrite: Replace an existing folder ``output``.

    Yields:
        Folder to write into.

    Raises:
        BundleError: The bundle is damaged.
        InputError: The bundle is part of the installed package and ``output`` is None, or ``output`` exists and
            ``overwrite`` is false.
    """
    check_writable(path, output)
    bundle = Bundle(path)
    if output is None:
        yield bundle.path
        return
    with atomic_folder(output, BUNDLE, overwrite=overwrite) as folder:
        for name in bundle.manifest.files:
            write_bundle_file(folder, name, bundle.read(name))
        write_bundle_file(folder, "manifest.json", (bundle.path / "manifest.json").read_bytes())
        yield folder

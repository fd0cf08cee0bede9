"""Open bundles: check the size and SHA-256 of every file that is read.

A file may be a link, as in the caches of hubs and build systems: what it leads to must have the size and hash that the
manifest states, so a link leads to nothing else.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath

from ..errors import BundleError, InputError, ModelPathError, describe_value
from .checks import ENGINES_FOLDER, decode_manifest

#: Maximum size of a manifest in bytes; a larger one is refused without being read.
MAX_MANIFEST_BYTES = 4 << 20

#: Folder of the bundle inside the package.
DEFAULT_BUNDLE = Path(__file__).resolve().parents[2] / "models" / "default"


class Bundle:
    """A bundle folder with a valid manifest whose files all exist and have the stated size.

    Hashes are checked when a file is read.

    Args:
        path: Folder of the bundle, or ``"default"`` for the one inside the package.

    Attributes:
        path: Folder of the bundle.
        manifest: Content of ``manifest.json``.

    Raises:
        BundleError: The folder, its manifest or a file is missing, damaged, of a newer schema, or too large.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _find_folder(path)
        path = self.path / "manifest.json"
        self.manifest = decode_manifest(_read_manifest_bytes(path), path)
        for name in self.manifest.files:
            self._check_size(name)

    def read(self, name: str) -> bytes:
        """Read a file of the bundle and check it against the manifest.

        Args:
            name: Name of the file as the manifest lists it.

        Returns:
            Content of the file.

        Raises:
            BundleError: The manifest does not list the file, the file is missing, or its size or SHA-256 differs from
                the manifest.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.path}/manifest.json: does not list {name!a:.140}")
        stated = self.manifest.files[name]
        self._check_size(name)
        content = _read_bounded(self.path / name, stated.size)
        actual = hashlib.sha256(content).hexdigest()
        if actual != stated.sha256:
            raise BundleError(
                f"{self.path / name}: SHA-256 {actual[:12]}…, but the manifest says {stated.sha256[:12]}…; "
                "the file is damaged, restore it or export the bundle again"
            )
        return content

    def find_unlisted(self) -> list[str]:
        """Return the files on disk that the manifest does not list; they are never read.

        Returns:
            Sorted names of the entries of the folder and of its ``engines`` folder, relative to the bundle.
        """
        known = {"manifest.json", *self.manifest.files}
        known |= {str(PurePosixPath(name).parent) for name in self.manifest.files}
        paths = [*self.path.glob("*"), *self.path.glob(f"{ENGINES_FOLDER}*")]
        return sorted({path.relative_to(self.path).as_posix() for path in paths} - known)

    def _check_size(self, name: str) -> None:
        stated, size = self.manifest.files[name].size, _get_file_size(self.path / name)
        if size != stated:
            raise BundleError(
                f"{self.path / name}: {size} bytes, but the manifest says {stated}; "
                "the file is damaged, restore it or export the bundle again"
            )


def _find_folder(path: object) -> Path:
    """Return the folder of a bundle, or raise the error that says what a path holds instead."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InputError(f"the path of a bundle must be a str or a path, got {describe_value(path)}")
    name = str.__str__(os.fspath(path))
    if name == "default":
        return DEFAULT_BUNDLE
    folder = Path(name)
    if os.path.isfile(folder):
        raise ModelPathError(
            f"bundle not found: {folder} is a file, but a bundle is a folder (create one with `trimf export`)"
        )
    if not os.path.isdir(folder):
        raise ModelPathError(f"bundle not found: {folder} (create one with `trimf export`)")
    if (folder / "trimf.json").is_file() and not (folder / "manifest.json").exists():
        raise ModelPathError(
            f"{folder} is a checkpoint; run `trimf export {folder} --output BUNDLE` first, and pass the bundle"
        )
    return folder


def _read_manifest_bytes(path: Path) -> bytes:
    """Read a manifest unless it is too large."""
    size = _get_file_size(path)
    if size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: a manifest must have <= {MAX_MANIFEST_BYTES} bytes, got {size}")
    return _read_bounded(path, MAX_MANIFEST_BYTES)


def _get_file_size(path: Path) -> int:
    """Return the size of a regular file in bytes; a pipe or a device is refused, as reading it might never end."""
    try:
        status = path.stat()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; the bundle is incomplete") from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: not a regular file")
    return status.st_size


def _read_bounded(path: Path, size: int) -> bytes:
    """Read a file of ``size`` bytes; if it has grown since, one more byte is read, so that its hash differs."""
    try:
        with path.open("rb") as file:
            return file.read(size + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error

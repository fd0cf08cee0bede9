"""Reading a bundle: strict about its schema, its files' sizes and hashes, and where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from .backend import SUBGRAPHS, Backend, Subgraph
from .errors import BundleError
from .manifest import SCHEMA_VERSION, Manifest
from .pipeline import Pipeline, Settings
from .subwords import SubwordTokenizer

#: Larger manifests are refused unread.
MAX_MANIFEST = 4 << 20

#: The bundle that comes with the package.
DEFAULT = Path(__file__).resolve().parent.parent / "models" / "default"


class Bundle:
    """A bundle folder whose manifest was read and whose files were found complete.

    Raises:
        BundleError: the folder, its manifest or one of its files is missing, damaged, too new, or out of place.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = DEFAULT if str(path) == "default" else Path(path)
        if not self.path.is_dir():
            raise BundleError(f"{self.path}: no such bundle folder; `trimf export` makes one")
        self.manifest = _manifest(self.path / "manifest.json")
        required = {"tokenizer.json", *(f"{name}.onnx" for name in SUBGRAPHS)}
        if missing := sorted(required - self.manifest.files.keys()):
            raise BundleError(f"{self.path}/manifest.json: lists no {missing[0]}, which every bundle has")
        for name in self.manifest.files:
            _check_name(self.path, name)
            self._check_size(name)

    def read(self, name: str) -> bytes:
        """The bytes of a file of the bundle, checked against the manifest.

        Raises:
            BundleError: the file is missing, or its size or SHA-256 is not what the manifest says.
        """
        stated = self.manifest.files[name]
        path = self.path / name
        self._check_size(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
        actual = hashlib.sha256(content).hexdigest()
        if actual != stated.sha256:
            raise BundleError(
                f"{path}: SHA-256 {actual[:12]}…, but the manifest says {stated.sha256[:12]}…; the file is damaged"
            )
        return content

    def _check_size(self, name: str) -> None:
        stated = self.manifest.files[name].size
        path = self.path / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
        if size != stated:
            raise BundleError(f"{path}: {size} bytes, but the manifest says {stated}; the file is damaged")

    @property
    def settings(self) -> Settings:
        """What the pipeline needs to know of the model."""
        decoding, sizes = self.manifest.decoding, self.manifest.sizes
        return Settings.of(
            self.manifest.labels,
            decoding.relation_threshold,
            decoding.overlap,
            sizes.max_subwords,
            sizes.max_words,
        )


def open_pipeline(bundle: Bundle, backend: Backend) -> Pipeline:
    """Load the bundle's subgraphs and tokenizer into an engine.

    Raises:
        BundleError: a file is damaged, or a subgraph has other sizes than the manifest says.
        BackendError: the engine cannot load a subgraph.
    """
    graphs = {name: backend.open(name, bundle) for name in SUBGRAPHS}
    _check_shapes(bundle, graphs)
    tokenizer = SubwordTokenizer.from_bytes(bundle.read("tokenizer.json"), f"{bundle.path}/tokenizer.json")
    return Pipeline(graphs, tokenizer, bundle.settings)


def _check_shapes(bundle: Bundle, graphs: Mapping[str, Subgraph]) -> None:
    sizes, labels = bundle.manifest.sizes, bundle.manifest.labels
    stated = {
        ("encoder", "words"): (None, None, sizes.hidden),
        ("encoder", "cls"): (None, sizes.hidden),
        ("fusion", "nodes"): (None, None, sizes.hidden),
        ("entities", "entity_logits"): (None, None, sizes.max_span, len(labels.entities) + 1),
        ("relations", "relation_logits"): (None, len(labels.relations)),
        ("relations", "triggers"): (None, None),
    }
    for (name, output), shape in stated.items():
        actual = graphs[name].outputs.get(output)
        if actual != shape:
            raise BundleError(f"{bundle.path}/{name}.onnx: {output} has shape {actual}, but the manifest says {shape}")


def _manifest(path: Path) -> Manifest:
    try:
        if path.stat().st_size > MAX_MANIFEST:
            raise BundleError(f"{path}: {path.stat().st_size} bytes, more than the {MAX_MANIFEST} a manifest may have")
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; not a complete bundle") from error
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if not 1 <= version <= SCHEMA_VERSION:
            raise BundleError(f"{path}: schema_version {version}, but this TriMF reads 1 to {SCHEMA_VERSION}")
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path}: not a bundle manifest: {' '.join(str(error).split())}") from error
    if stray := sorted(set(manifest.labels.symmetric) - set(manifest.labels.relations)):
        raise BundleError(f"{path}: labels.symmetric names {stray[0]!r}, which is no relation type of the model")
    for kind in ("entities", "relations", "dependencies"):
        names = getattr(manifest.labels, kind)
        if len(set(names)) < len(names):
            raise BundleError(f"{path}: labels.{kind} names a label twice")
    return manifest


class _Version(msgspec.Struct):
    schema_version: int


def _check_name(folder: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    plain = len(parts) == 1 or (len(parts) == 2 and parts[0] == "engines")
    if (
        not plain
        or name != "/".join(parts)
        or {"..", ".", "/"} & set(parts)
        or "\\" in name
        or ":" in name
        or "\0" in name
    ):
        raise BundleError(f"{folder}/manifest.json: file name {name!r:.80} leaves the bundle or its layout")
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a link to itself
        raise BundleError(f"{folder}/{name}: cannot be read: {error}") from error
    if not inside:
        raise BundleError(f"{folder}/{name}: a link out of the bundle")

"""Read bundles strictly: check the manifest's schema, and each file's size, SHA-256 and location."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ..engine.contract import AXES, SUBGRAPHS, Backend, Subgraph
from ..engine.cpu_info import has_saturating_int8_matmul
from ..errors import BundleError
from ..pipeline import CPU_SPLIT_COST, CPU_SPLIT_COST_INT8, DecodingSettings, Pipeline
from ..text.subwords import SubwordTokenizer
from .manifest import SCHEMA_VERSION, Engine, Manifest

#: Maximum size of a manifest in bytes; a larger one is refused without being read.
MAX_MANIFEST_BYTES = 4 << 20

#: Maximum nesting depth of a manifest, so that every reader can walk through it and write it.
MAX_MANIFEST_DEPTH = 64

#: Maximum values of the manifest's ``sizes``, far above any real model: arrays are allocated by these numbers.
MAX_MODEL_SIZES = {"hidden": 65_536, "max_span": 512, "max_subwords": 65_536, "max_words": 65_536}

#: Maximum number of entity types, of relation types and of dependency labels.
MAX_LABELS = 10_000

#: Maximum number of (head type, relation type, tail type) combinations of a model with signatures.
MAX_TRIPLES = 10_000_000

#: Folder of the bundle inside the package.
DEFAULT_BUNDLE = Path(__file__).resolve().parents[2] / "models" / "default"

#: Prefix of the names of compiled engines.
_ENGINES = "engines/"

#: Files that every bundle must list.
_REQUIRED = ("tokenizer.json", *(f"{name}.onnx" for name in SUBGRAPHS))

#: Names of the dynamic axes that a profile may limit.
_AXES = {axis for axes in AXES.values() for axis in axes if axis}

#: Valid file names: plain ASCII, so that a name means the same file on every system and resembles no other.
_FILE_NAME = re.compile(r"(engines/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Bundle:
    """A bundle folder with a valid manifest whose files all exist and have the stated size.

    Hashes are checked when a file is read.

    Args:
        path: Folder of the bundle, or ``"default"`` for the one inside the package.

    Attributes:
        path: Folder of the bundle.
        manifest: Content of ``manifest.json``.

    Raises:
        BundleError: The folder, its manifest or a file is missing, damaged, of a newer schema, too large, or outside
            the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = DEFAULT_BUNDLE if str(path) == "default" else Path(path)
        if not os.path.isdir(self.path):
            raise BundleError(f"bundle not found: {self.path} (create one with `trimf export`)")
        _check_inside(self.path, "manifest.json")
        self.manifest = _load_manifest(self.path / "manifest.json")
        for name in self.manifest.files:
            _check_inside(self.path, name)
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

    def unlisted(self) -> list[str]:
        """Return the files on disk that the manifest does not list; they are never read.

        Returns:
            Sorted names of the entries of the folder and of its ``engines`` folder, relative to the bundle.
        """
        known = {"manifest.json", *self.manifest.files}
        known |= {str(PurePosixPath(name).parent) for name in self.manifest.files}
        paths = [*self.path.glob("*"), *self.path.glob(f"{_ENGINES}*")]
        return sorted({path.relative_to(self.path).as_posix() for path in paths} - known)

    def _check_size(self, name: str) -> None:
        stated, size = self.manifest.files[name].size, _get_file_size(self.path / name)
        if size != stated:
            raise BundleError(
                f"{self.path / name}: {size} bytes, but the manifest says {stated}; "
                "the file is damaged, restore it or export the bundle again"
            )

    @property
    def settings(self) -> DecodingSettings:
        """Label ids, thresholds and window limits for the pipeline."""
        decoding, sizes = self.manifest.decoding, self.manifest.sizes
        return DecodingSettings.of(
            self.manifest.labels,
            decoding.relation_threshold,
            decoding.overlap,
            sizes.max_subwords,
            sizes.max_words,
        )


def open_pipeline(bundle: Bundle, backend: Backend) -> Pipeline:
    """Load the subgraphs and the tokenizer of a bundle.

    Args:
        bundle: Bundle to load.
        backend: Backend that runs the subgraphs.

    Returns:
        The pipeline.

    Raises:
        BundleError: A file is damaged, or a subgraph or the tokenizer does not match the manifest.
        BackendError: The backend cannot load a subgraph.
    """
    graphs = {name: backend.open(name, bundle) for name in SUBGRAPHS}
    _check_shapes(bundle, graphs)
    tokenizer = SubwordTokenizer.from_bytes(
        bundle.read("tokenizer.json"), f"{bundle.path}/tokenizer.json", bundle.manifest.casing
    )
    if tokenizer.specials >= bundle.settings.max_subwords:
        raise BundleError(
            f"{bundle.path}/manifest.json: sizes.max_subwords must be > {tokenizer.specials}, the number of special "
            f"tokens in tokenizer.json, got {bundle.settings.max_subwords}"
        )
    return Pipeline(graphs, tokenizer, bundle.settings, call=_estimate_call_cost(bundle, backend))


def _estimate_call_cost(bundle: Bundle, backend: Backend) -> int | None:
    """Return the cost of a call in subwords of padding, or None on a GPU, where batches are never split."""
    if backend.name != "cpu":
        return None
    return (
        CPU_SPLIT_COST_INT8
        if bundle.manifest.precision == "int8" and not has_saturating_int8_matmul()
        else CPU_SPLIT_COST
    )


def _check_shapes(bundle: Bundle, graphs: Mapping[str, Subgraph]) -> None:
    """Raise ``BundleError`` if the outputs of the subgraphs do not match the manifest."""
    sizes, labels = bundle.manifest.sizes, bundle.manifest.labels
    has_parser = bundle.manifest.parser.source == "encoder"
    stated: dict[tuple[str, str], tuple[int | None, ...]] = {
        ("encoder", "words"): (None, None, sizes.hidden),
        ("encoder", "cls"): (None, sizes.hidden),
        **({("encoder", name): (None, None) for name in ("heads", "labels")} if has_parser else {}),
        ("fusion", "nodes"): (None, None, sizes.hidden),
        ("entities", "entity_logits"): (None, None, sizes.max_span, len(labels.entities) + 1),
        ("relations", "relation_logits"): (None, len(labels.relations)),
        ("relations", "triggers"): (None, None),
        **(
            {("relations", "word_logits"): (None, None, len(labels.relations))}
            if bundle.manifest.triggers == "contribution"
            else {}
        ),
    }
    for (name, output), shape in stated.items():
        actual = graphs[name].outputs.get(output)
        if actual != shape:
            raise BundleError(f"{bundle.path}/{name}.onnx: {output} has shape {actual}, but the manifest says {shape}")
    if not has_parser and "heads" in graphs["encoder"].outputs:
        raise BundleError(
            f"{bundle.path}/encoder.onnx: has an in-model parser (output heads), but the manifest says that the parser "
            f"is {bundle.manifest.parser}"
        )
    if bundle.manifest.triggers == "attention" and "word_logits" in graphs["relations"].outputs:
        raise BundleError(
            f"{bundle.path}/relations.onnx: has the output word_logits, but the manifest says that triggers are "
            "attention"
        )


def _load_manifest(path: Path) -> Manifest:
    """Read, decode and check a manifest."""
    size = _get_file_size(path)
    if size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: a manifest must have <= {MAX_MANIFEST_BYTES} bytes, got {size}")
    content = _read_bounded(path, MAX_MANIFEST_BYTES)
    try:
        version = msgspec.json.decode(content, type=_SchemaVersion).schema_version
        if not 1 <= version <= SCHEMA_VERSION:
            raise BundleError(
                f"{path}: schema_version {_format_integer(version)} is not supported; this TriMF reads 1 to "
                f"{SCHEMA_VERSION}, upgrade it or export the bundle again"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
        _check_depth(json.loads(content, object_pairs_hook=_reject_duplicate_keys))
    except (ValueError, RecursionError) as error:
        # The message may quote names from the file: reduce it to one line of bounded length without control codes.
        reason = "".join(letter if letter.isprintable() else " " for letter in str(error)[:300])
        raise BundleError(f"{path}: not a bundle manifest: {' '.join(reason.split())}") from error
    for problem in _find_problems(manifest):
        raise BundleError(f"{path}: {problem}")
    return manifest


class _SchemaVersion(msgspec.Struct):
    """The only field of a manifest that is read before its schema is known."""

    schema_version: int


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; refuse duplicate keys, as JSON readers differ in which of the values they take."""
    content = dict(pairs)
    if len(content) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"duplicate key {key!a:.80} in an object")
    return content


def _check_depth(content: Any) -> None:
    """Refuse deeply nested values: they can be read, but neither written nor walked through recursively."""
    level = [content]
    for _ in range(MAX_MANIFEST_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError(f"nested more than {MAX_MANIFEST_DEPTH} levels deep")


def _find_problems(manifest: Manifest) -> Iterator[str]:
    """Yield semantic errors that the schema types cannot express."""
    for field, limit in MAX_MODEL_SIZES.items():
        if (value := getattr(manifest.sizes, field)) > limit:
            yield f"sizes.{field} must be <= {limit}, got {_format_integer(value)}"
    labels = manifest.labels
    for kind in ("entities", "relations", "dependencies"):
        names = getattr(labels, kind)
        if len(names) > MAX_LABELS:
            yield f"labels.{kind} must have <= {MAX_LABELS} names, got {len(names)}"
        if len(set(names)) < len(names):
            yield f"labels.{kind} lists {Counter(names).most_common(1)[0][0]!a:.80} more than once"
    if unknown := sorted(set(labels.symmetric) - set(labels.relations)):
        yield f"labels.symmetric lists {unknown[0]!a:.80}, which is not a relation type of the model"
    entities, relations = set(labels.entities), set(labels.relations)
    for index, signature in enumerate(labels.signatures):
        for name, names in zip(signature, (entities, relations, entities), strict=True):
            if name not in names:
                kind = "a relation type" if names is relations else "an entity type"
                yield f"labels.signatures[{index}] contains {name!a:.80}, which is not {kind} of the model"
    triples = len(labels.entities) ** 2 * len(labels.relations)
    if labels.signatures and triples > MAX_TRIPLES:
        yield f"labels.signatures: a model may have <= {MAX_TRIPLES} combinations of types, got {triples}"
    if missing := sorted(set(_REQUIRED) - manifest.files.keys()):
        yield f"does not list {missing[0]}, which every bundle must contain"
    for name, file in manifest.files.items():
        if not _FILE_NAME.fullmatch(name):
            yield (
                f"invalid file name {name!a:.80}: use up to 128 letters, digits, '.', '_' and '-', starting with "
                f"neither '.' nor '-', in no folder but {_ENGINES}"
            )
        if file.size > (limit := _max_file_size(name)):
            yield f"{name}: size must be <= {limit} bytes, got {_format_integer(file.size)}"
    if unknown := sorted(manifest.products.keys() - set(SUBGRAPHS)):
        yield f"products: unknown subgraph {unknown[0]!a:.80}; choose from {', '.join(SUBGRAPHS)}"
    yield from _find_engine_problems(manifest)


def _max_file_size(name: str) -> int:
    """Return the maximum size of a file in bytes; protobuf, and therefore ONNX, is limited to 2 GiB."""
    return 8 << 30 if name.startswith(_ENGINES) else 2 << 30 if name.endswith(".onnx") else 64 << 20


def _find_engine_problems(manifest: Manifest) -> Iterator[str]:
    """Yield contradictions between the engines, the files and the subgraphs of a manifest."""
    listed = {name for name in manifest.files if name.startswith(_ENGINES)}
    for engine in manifest.engines:
        if engine.file not in listed:
            yield f"engines: {engine.file!a:.140} is not listed in files below {_ENGINES}"
        if engine.subgraph not in SUBGRAPHS:
            yield f"{engine.file}: unknown subgraph {engine.subgraph!a:.80}; choose from {', '.join(SUBGRAPHS)}"
        yield from _find_profile_problems(engine)
    counts = Counter(engine.file for engine in manifest.engines)
    if duplicates := [name for name, count in counts.items() if count > 1]:
        yield f"engines lists {duplicates[0]} more than once"
    if undescribed := sorted(listed - counts.keys()):
        yield f"{undescribed[0]} has no entry in engines"


def _find_profile_problems(engine: Engine) -> Iterator[str]:
    """Yield unknown axes and contradictory sizes of an engine's profiles."""
    for profile in engine.profiles:
        for axis, (smallest, tuned, largest) in profile.axes.items():
            where = f"{engine.file}: profile {profile.name!a:.80}"
            if axis not in _AXES:
                yield f"{where} has the unknown axis {axis!a:.80}; choose from {', '.join(sorted(_AXES))}"
            if not smallest <= tuned <= largest:
                yield f"{where}: sizes of {axis} must ascend (min, tuned, max), got {smallest}, {tuned}, {largest}"


def _format_integer(value: int) -> str:
    """Return the digits of an integer, or a bound for one that may have thousands of digits."""
    if abs(value) < 1 << 64:
        return str(value)
    return "over 2**64" if value > 0 else "below -2**64"


def _check_inside(folder: Path, name: str) -> None:
    """Raise ``BundleError`` if a file, with links resolved, lies outside the folder."""
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a link to itself
        raise BundleError(f"{folder}/{name}: cannot be read: {error}") from error
    if not inside:
        raise BundleError(f"{folder}/{name}: a link points outside the bundle")


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

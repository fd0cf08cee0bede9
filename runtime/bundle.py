"""Reading a bundle: strict about its schema, its files' sizes and hashes, and where they lie."""

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

from .backend import AXES, SUBGRAPHS, Backend, Subgraph
from .cores import overflows
from .errors import BundleError
from .manifest import SCHEMA_VERSION, Engine, Manifest
from .pipeline import CPU_CALL, CPU_CALL_INT8, Pipeline, Settings
from .subwords import SubwordTokenizer

#: Larger manifests are refused unread, deeper ones when they were read.
MAX_MANIFEST = 4 << 20
MAX_DEPTH = 64

#: What a model may declare, far above any real one: arrays are allocated by these numbers.
MAX_SIZES = {"hidden": 65_536, "max_span": 512, "max_subwords": 65_536, "max_words": 65_536}
MAX_LABELS = 10_000
MAX_TRIPLES = 10_000_000

#: The bundle that comes with the package.
DEFAULT = Path(__file__).resolve().parent.parent / "models" / "default"

_ENGINES = "engines/"
_REQUIRED = ("tokenizer.json", *(f"{name}.onnx" for name in SUBGRAPHS))
_AXES = {axis for axes in AXES.values() for axis in axes if axis}

# Plain ASCII, so that a name is the same file on every system and looks like no other.
_FILE_NAME = re.compile(r"(engines/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Bundle:
    """A bundle folder whose manifest was read and whose files were found complete.

    Raises:
        BundleError: the folder, its manifest or one of its files is missing, damaged, too new, too large, or out of
            place.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = DEFAULT if str(path) == "default" else Path(path)
        if not os.path.isdir(self.path):
            raise BundleError(f"{self.path}: no such bundle folder; `trimf export` makes one")
        _check_inside(self.path, "manifest.json")
        self.manifest = _manifest(self.path / "manifest.json")
        for name in self.manifest.files:
            _check_inside(self.path, name)
            self._check_size(name)

    def read(self, name: str) -> bytes:
        """The bytes of a file of the bundle, checked against the manifest.

        Raises:
            BundleError: the manifest does not list the file, it is missing, or its size or SHA-256 is not as stated.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.path}/manifest.json: lists no {name!a:.140}")
        stated = self.manifest.files[name]
        self._check_size(name)
        content = _read(self.path / name, stated.size)
        actual = hashlib.sha256(content).hexdigest()
        if actual != stated.sha256:
            raise BundleError(
                f"{self.path / name}: SHA-256 {actual[:12]}…, but the manifest says {stated.sha256[:12]}…; "
                "the file is damaged"
            )
        return content

    def unlisted(self) -> list[str]:
        """Names in the folder and in its ``engines`` that the manifest does not list; they are never read."""
        known = {"manifest.json", *self.manifest.files}
        known |= {str(PurePosixPath(name).parent) for name in self.manifest.files}
        found = [*self.path.glob("*"), *self.path.glob(f"{_ENGINES}*")]
        return sorted({path.relative_to(self.path).as_posix() for path in found} - known)

    def _check_size(self, name: str) -> None:
        stated, size = self.manifest.files[name].size, _size(self.path / name)
        if size != stated:
            raise BundleError(f"{self.path / name}: {size} bytes, but the manifest says {stated}; the file is damaged")

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
        BundleError: a file is damaged, or a subgraph or the tokenizer does not fit the sizes in the manifest.
        BackendError: the engine cannot load a subgraph.
    """
    graphs = {name: backend.open(name, bundle) for name in SUBGRAPHS}
    _check_shapes(bundle, graphs)
    tokenizer = SubwordTokenizer.from_bytes(
        bundle.read("tokenizer.json"), f"{bundle.path}/tokenizer.json", bundle.manifest.casing
    )
    if tokenizer.specials >= bundle.settings.max_subwords:
        raise BundleError(
            f"{bundle.path}/manifest.json: sizes.max_subwords = {bundle.settings.max_subwords} leaves no room for a "
            f"word beside the {tokenizer.specials} special tokens of tokenizer.json"
        )
    return Pipeline(graphs, tokenizer, bundle.settings, call=_call(bundle, backend))


def _call(bundle: Bundle, backend: Backend) -> int | None:
    """What a call costs in subwords of padding; on a GPU batches stay whole."""
    if backend.name != "cpu":
        return None
    return CPU_CALL_INT8 if bundle.manifest.precision == "int8" and not overflows() else CPU_CALL


def _check_shapes(bundle: Bundle, graphs: Mapping[str, Subgraph]) -> None:
    sizes, labels = bundle.manifest.sizes, bundle.manifest.labels
    own = bundle.manifest.parser.source == "encoder"
    stated: dict[tuple[str, str], tuple[int | None, ...]] = {
        ("encoder", "words"): (None, None, sizes.hidden),
        ("encoder", "cls"): (None, sizes.hidden),
        **({("encoder", name): (None, None) for name in ("heads", "labels")} if own else {}),
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
    if not own and "heads" in graphs["encoder"].outputs:
        raise BundleError(
            f"{bundle.path}/encoder.onnx: gives heads, but the manifest says that {bundle.manifest.parser} does"
        )
    if bundle.manifest.triggers == "attention" and "word_logits" in graphs["relations"].outputs:
        raise BundleError(f"{bundle.path}/relations.onnx: gives word_logits, but the manifest's triggers are attention")


def _manifest(path: Path) -> Manifest:
    size = _size(path)
    if size > MAX_MANIFEST:
        raise BundleError(f"{path}: {size} bytes, more than the {MAX_MANIFEST} a manifest may have")
    content = _read(path, MAX_MANIFEST)
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if not 1 <= version <= SCHEMA_VERSION:
            raise BundleError(f"{path}: schema_version {_number(version)}, but this TriMF reads 1 to {SCHEMA_VERSION}")
        manifest = msgspec.json.decode(content, type=Manifest)
        _check_depth(json.loads(content, object_pairs_hook=_no_key_twice))
    except (ValueError, RecursionError) as error:
        # Names out of the file are in the message: keep it to one line of a bearable length, without control codes.
        reason = "".join(letter if letter.isprintable() else " " for letter in str(error)[:300])
        raise BundleError(f"{path}: not a bundle manifest: {' '.join(reason.split())}") from error
    for problem in _problems(manifest):
        raise BundleError(f"{path}: {problem}")
    return manifest


class _Version(msgspec.Struct):
    schema_version: int


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers of JSON differ in which of two values they take, so a manifest with two means two things."""
    content = dict(pairs)
    if len(content) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {key!a:.80} stands twice in one object")
    return content


def _check_depth(content: Any) -> None:
    """Deeper values could be read, but not be written or walked through by those who are given the manifest."""
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _problems(manifest: Manifest) -> Iterator[str]:
    """What a manifest says that its types allow and a bundle cannot be."""
    for field, limit in MAX_SIZES.items():
        if (value := getattr(manifest.sizes, field)) > limit:
            yield f"sizes.{field} = {_number(value)}, more than the {limit} a model may have"
    labels = manifest.labels
    for kind in ("entities", "relations", "dependencies"):
        names = getattr(labels, kind)
        if len(names) > MAX_LABELS:
            yield f"labels.{kind} has {len(names)} names, more than the {MAX_LABELS} a model may have"
        if len(set(names)) < len(names):
            yield f"labels.{kind} names a label twice"
    if stray := sorted(set(labels.symmetric) - set(labels.relations)):
        yield f"labels.symmetric names {stray[0]!a:.80}, which is no relation type of the model"
    entities, relations = set(labels.entities), set(labels.relations)
    for place, signature in enumerate(labels.signatures):
        for name, names in zip(signature, (entities, relations, entities), strict=True):
            if name not in names:
                yield f"labels.signatures[{place}] names {name!a:.80}, which is no such type of the model"
    if labels.signatures and len(labels.entities) ** 2 * len(labels.relations) > MAX_TRIPLES:
        yield f"labels.signatures: more than {MAX_TRIPLES} combinations of types, the most there may be"
    if missing := sorted(set(_REQUIRED) - manifest.files.keys()):
        yield f"lists no {missing[0]}, which every bundle has"
    for name, file in manifest.files.items():
        if not _FILE_NAME.fullmatch(name):
            yield (
                f"file name {name!a:.80} leaves the bundle or its layout: up to 128 letters, digits, '.', '_' and '-', "
                f"not a '.' first, and no folder but {_ENGINES}"
            )
        if file.size > (limit := _max_size(name)):
            yield f"{name} declares {_number(file.size)} bytes, more than the {limit} it may have"
    if stray := sorted(manifest.products.keys() - set(SUBGRAPHS)):
        yield f"products names {stray[0]!a:.80}, which is none of the subgraphs {', '.join(SUBGRAPHS)}"
    yield from _engine_problems(manifest)


def _max_size(name: str) -> int:
    """Bytes that a file may declare; protobuf, and so ONNX, ends at 2 GiB."""
    return 8 << 30 if name.startswith(_ENGINES) else 2 << 30 if name.endswith(".onnx") else 64 << 20


def _engine_problems(manifest: Manifest) -> Iterator[str]:
    listed = {name for name in manifest.files if name.startswith(_ENGINES)}
    for engine in manifest.engines:
        if engine.file not in listed:
            yield f"engine {engine.file!a:.140} is no file below {_ENGINES} that files lists"
        if engine.subgraph not in SUBGRAPHS:
            yield f"{engine.file} is of {engine.subgraph!a:.80}, which is none of the subgraphs {', '.join(SUBGRAPHS)}"
        yield from _profile_problems(engine)
    counts = Counter(engine.file for engine in manifest.engines)
    if twice := [name for name, count in counts.items() if count > 1]:
        yield f"{twice[0]} stands twice in engines"
    if stray := sorted(listed - counts.keys()):
        yield f"{stray[0]} has no entry in engines that says what it is"


def _profile_problems(engine: Engine) -> Iterator[str]:
    for profile in engine.profiles:
        for axis, (least, tuned, most) in profile.axes.items():
            where = f"{engine.file}: profile {profile.name!a:.80}"
            if axis not in _AXES:
                yield f"{where} has no axis {axis!a:.80}; there are {', '.join(sorted(_AXES))}"
            if not least <= tuned <= most:
                yield f"{where} has {axis} from {least} to {most}, tuned for {tuned}: they must not fall"


def _number(value: int) -> str:
    """Digits of a number that may have thousands of them."""
    return str(value) if abs(value) < 1 << 64 else "beyond 64 bits"


def _check_inside(folder: Path, name: str) -> None:
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a link to itself
        raise BundleError(f"{folder}/{name}: cannot be read: {error}") from error
    if not inside:
        raise BundleError(f"{folder}/{name}: a link out of the bundle")


def _size(path: Path) -> int:
    """Bytes of a regular file; a pipe or a device, which reading would never end, is not opened."""
    try:
        status = path.stat()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; not a complete bundle") from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: not a regular file")
    return status.st_size


def _read(path: Path, size: int) -> bytes:
    """A file that is to have ``size`` bytes; of one that grew meanwhile a byte more, so that it is found out."""
    try:
        with path.open("rb") as file:
            return file.read(size + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error

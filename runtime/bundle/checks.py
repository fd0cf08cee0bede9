"""Check a manifest for what its types cannot express, and the shapes of the subgraphs against it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..engine.contract import AXES, JOINED, JOINED_PARTS, SUBGRAPHS, Subgraph, list_subgraphs
from ..errors import BundleError
from .manifest import EFFECTS_FILE, SCHEMA_VERSION, Engine, Manifest

#: Maximum nesting depth of a manifest, so that every reader can walk through it and write it.
MAX_MANIFEST_DEPTH = 64

#: Maximum values of the manifest's ``sizes``, far above any real model: arrays are allocated by these numbers.
MAX_MODEL_SIZES = {"hidden": 65_536, "max_span": 512, "max_subwords": 65_536, "max_words": 65_536}

#: Maximum number of entity types, of relation types and of dependency labels.
MAX_LABELS = 10_000

#: Maximum number of (head type, relation type, tail type) combinations of a model with signatures.
MAX_TRIPLES = 10_000_000

#: Prefix of the names of compiled engines.
ENGINES_FOLDER = "engines/"

#: Names of the dynamic axes that a profile may limit.
_AXES = {axis for axes in AXES.values() for axis in axes if axis}

#: Valid file names: plain ASCII, so that a name means the same file on every system and resembles no other.
_FILE_NAME = re.compile(r"(engines/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def decode_manifest(content: bytes, path: Path) -> Manifest:
    """Decode and check a manifest.

    Args:
        content: Content of ``manifest.json``.
        path: Path of the file, for error messages.

    Returns:
        The manifest.

    Raises:
        BundleError: The content is not a manifest, has a newer schema, or breaks a rule.
    """
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


def check_output_shapes(
    manifest: Manifest, folder: Path, graphs: Mapping[str, Subgraph], files: Mapping[str, str]
) -> None:
    """Check that the outputs of the subgraphs are those that the manifest describes.

    Args:
        manifest: Manifest of the bundle.
        folder: Folder of the bundle, for error messages.
        graphs: The opened subgraphs by name.
        files: Name of the file of each of them, for error messages.

    Raises:
        BundleError: An output is missing, unexpected or of another shape.
    """
    sizes, labels = manifest.sizes, manifest.labels
    has_parser = manifest.parser.source == "encoder"
    first, of_nodes, of_entities = (JOINED,) * 3 if JOINED in graphs else ("encoder", "fusion", "entities")
    between: dict[tuple[str, str], tuple[int | None, ...]] = {
        ("encoder", "words"): (None, None, sizes.hidden),
        ("encoder", "cls"): (None, sizes.hidden),
    }
    stated: dict[tuple[str, str], tuple[int | None, ...]] = {
        **({} if JOINED in graphs else between),
        **({(first, name): (None, None) for name in ("heads", "labels")} if has_parser else {}),
        (of_nodes, "nodes"): (None, None, sizes.hidden),
        (of_entities, "entity_logits"): (None, None, sizes.max_span, len(labels.entity_types) + 1),
    }
    if labels.has_relations:
        stated["relations", "relation_logits"] = (None, len(labels.relation_types))
        stated["relations", "triggers"] = (None, None)
        if manifest.triggers != "attention":
            stated["relations", "word_logits"] = (None, None, len(labels.relation_types))
    for (name, output), shape in stated.items():
        actual = graphs[name].outputs.get(output)
        if actual != shape:
            raise BundleError(f"{folder}/{files[name]}: {output} has shape {actual}, but the manifest says {shape}")
    if not has_parser and "heads" in graphs[first].outputs:
        raise BundleError(
            f"{folder}/{files[first]}: has an in-model parser (output heads), but the manifest says that the parser "
            f"is {manifest.parser}"
        )
    relations = graphs.get("relations")
    if manifest.triggers == "attention" and relations is not None and "word_logits" in relations.outputs:
        raise BundleError(
            f"{folder}/{files['relations']}: has the output word_logits, but the manifest says that triggers are "
            "attention"
        )


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
    label_sets = {
        "entities": labels.entity_types,
        "relations": labels.relation_types,
        "dependencies": labels.dependency_labels,
    }
    for kind, label_set in label_sets.items():
        if len(label_set) > MAX_LABELS:
            yield f"labels.{kind} must have <= {MAX_LABELS} names, got {len(label_set)}"
        if len(set(label_set)) < len(label_set):
            yield f"labels.{kind} lists {Counter(label_set).most_common(1)[0][0]!a:.80} more than once"
    if unknown := sorted(set(labels.symmetric) - set(labels.relation_types)):
        yield f"labels.symmetric lists {unknown[0]!a:.80}, which is not a relation type of the model"
    entities, relations = set(labels.entity_types), set(labels.relation_types)
    for index, signature in enumerate(labels.allowed_triples):
        for name, names in zip(signature, (entities, relations, entities), strict=True):
            if name not in names:
                kind = "a relation type" if names is relations else "an entity type"
                yield f"labels.signatures[{index}] contains {name!a:.80}, which is not {kind} of the model"
    triples = len(labels.entity_types) ** 2 * len(labels.relation_types)
    if labels.allowed_triples and triples > MAX_TRIPLES:
        yield f"labels.signatures: a model may have <= {MAX_TRIPLES} combinations of types, got {triples}"
    required = {"tokenizer.json", *(f"{name}.onnx" for name in list_subgraphs(relations=labels.has_relations))}
    if manifest.triggers == "effect":
        required.add(EFFECTS_FILE)
    if missing := sorted(required - manifest.files.keys()):
        yield f"does not list {missing[0]}, which a bundle like this must contain"
    for name, file in manifest.files.items():
        if not _FILE_NAME.fullmatch(name):
            yield (
                f"invalid file name {name!a:.80}: use up to 128 letters, digits, '.', '_' and '-', starting with "
                f"neither '.' nor '-', in no folder but {ENGINES_FOLDER}"
            )
        if file.size > (limit := _max_file_size(name)):
            yield f"{name}: size must be <= {limit} bytes, got {_format_integer(file.size)}"
    if unknown := sorted(manifest.products.keys() - set(SUBGRAPHS)):
        yield f"products: unknown subgraph {unknown[0]!a:.80}; choose from {', '.join(SUBGRAPHS)}"
    yield from _find_engine_problems(manifest)


def _max_file_size(name: str) -> int:
    """Return the maximum size of a file in bytes; protobuf, and therefore ONNX, is limited to 2 GiB."""
    return 8 << 30 if name.startswith(ENGINES_FOLDER) else 2 << 30 if name.endswith(".onnx") else 64 << 20


def _find_engine_problems(manifest: Manifest) -> Iterator[str]:
    """Yield contradictions between the engines, the files and the subgraphs of a manifest."""
    listed = {name for name in manifest.files if name.startswith(ENGINES_FOLDER)}
    for engine in manifest.engines:
        if engine.file not in listed:
            yield f"engines: {engine.file!a:.140} is not listed in files below {ENGINES_FOLDER}"
        if engine.subgraph not in (*SUBGRAPHS, JOINED):
            names = ", ".join((*SUBGRAPHS, JOINED))
            yield f"{engine.file}: unknown subgraph {engine.subgraph!a:.80}; choose from {names}"
        if engine.subgraph == JOINED and manifest.parser.source != "encoder":
            yield (
                f"{engine.file}: the graph {JOINED!r} of {', '.join(JOINED_PARTS)} needs an in-model parser, but the "
                f"parser is {manifest.parser}"
            )
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

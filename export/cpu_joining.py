"""Build the joined graph for CPUs from the separate graphs of a bundle, whose weights it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import onnx

from ..runtime.bundle.manifest import Manifest, encode_manifest
from ..runtime.bundle.reader import Bundle
from ..runtime.engine.contract import JOINED, JOINED_FILE, JOINED_PARTS, JOINED_WEIGHTS
from ..runtime.engine.engine_selection import hash_sources
from ..runtime.engine.onnx_cpu import SOURCES_KEY, OnnxCpuBackend
from ..runtime.errors import BundleError
from .bundle_writer import describe_file, open_writable_bundle, write_bundle_file
from .fused.shared_weights import share_weights
from .model_joining import join_models
from .rewriting.joined_graph import simplify_joined_graph

#: Precisions that ONNX Runtime has on a CPU.
JOINED_PRECISIONS = ("fp32", "fp16", "int8", "int8-qdq")


def build_joined_graph(files: Mapping[str, bytes]) -> bytes:
    """Join encoder, fusion and entities to one graph that computes the same, with fewer nodes.

    Args:
        files: Content of the files of a bundle by name; others than ``JOINED_WEIGHTS`` are ignored.

    Returns:
        Content of ``JOINED_FILE``: all outputs of the three but those that only cross between them. Its metadata names
        the files, by the hash of their hashes.

    Raises:
        BundleError: See ``join_models``.
        BackendError: ONNX Runtime cannot load the graph.
    """
    sources = {name: files[name] for name in JOINED_WEIGHTS}
    parts = dict(zip(JOINED_PARTS, sources.values(), strict=True))
    joined = simplify_joined_graph(onnx.load_from_string(join_models(parts, extra=True)))
    model = share_weights(joined, sources)
    records = {name: describe_file(content) for name, content in sources.items()}
    onnx.helper.set_model_props(model, {SOURCES_KEY: hash_sources(JOINED, records)})
    content = bytes(model.SerializeToString(deterministic=True))
    OnnxCpuBackend(1).load(JOINED, content, weights=sources).close()
    return content


def add_joined_graph(path: str | Path, output: str | Path | None = None, *, overwrite: bool = False) -> Manifest:
    """Add the joined graph for CPUs to a bundle that was exported without it, or make it anew.

    Args:
        path: Folder of the bundle, or ``default``.
        output: Folder of a copy of the bundle, to which the graph is added instead.
        overwrite: Replace an existing folder ``output``.

    Returns:
        The manifest as written.

    Raises:
        BundleError: The bundle is damaged, its model has no in-model parser, or a CPU cannot run its precision.
        BackendError: ONNX Runtime cannot load the graph.
        InputError: The bundle is part of the installed package and ``output`` is None, or ``output`` exists and
            ``overwrite`` is false.
    """
    manifest = Bundle(path).manifest
    if manifest.parser.source != "encoder":
        raise BundleError(
            f"{path}: encoder and fusion cannot be one graph, because the host parses between them (the parser is "
            f"{manifest.parser})"
        )
    if manifest.precision not in JOINED_PRECISIONS:
        raise BundleError(f"{path}: CPUs do not run {manifest.precision}, only {', '.join(JOINED_PRECISIONS)}")
    with open_writable_bundle(path, output, overwrite=overwrite) as folder:
        bundle = Bundle(folder)
        content = build_joined_graph({name: bundle.read(name) for name in JOINED_WEIGHTS})
        manifest = msgspec.structs.replace(
            bundle.manifest, files=dict(sorted({**bundle.manifest.files, JOINED_FILE: describe_file(content)}.items()))
        )
        write_bundle_file(folder, JOINED_FILE, content)
        write_bundle_file(folder, "manifest.json", encode_manifest(manifest))
    return manifest

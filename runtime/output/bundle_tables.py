"""Describe a bundle as tables for ``trimf inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from rich.console import Group
from rich.table import Table

from ..bundle.manifest import Engine, Manifest, MatmulCounts, Profile, QuantizationRecord
from ..bundle.parity_report import decode_parity
from ..bundle.reader import Bundle
from ..engine.engine_selection import hash_sources
from .parity_tables import build_parity_tables
from .plain_table import build_plain_table


def build_bundle_tables(bundle: Bundle) -> Group:
    """Describe a bundle as tables: the model, its parity, matrix products, quantization, engines and files.

    Args:
        bundle: Bundle to describe.

    Returns:
        The tables; those without content are left out.
    """
    manifest = bundle.manifest
    parts = [_describe_model(bundle), *_describe_parity(manifest.parity)]
    if manifest.products:
        parts.append(_describe_products(manifest.products))
    if manifest.quantization is not None:
        parts.append(_describe_quantization(manifest.quantization))
    if manifest.engines:
        parts.extend(_describe_engines(manifest))
    return Group(*parts, _describe_files(bundle))


def _describe_model(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    rows = {
        "created by": f"{manifest.created_by}, schema {manifest.schema_version}",
        "encoder": f"{manifest.encoder}, hidden size {manifest.sizes.hidden}"
        + (", with letter case" * manifest.casing),
        "language": manifest.language,
        "precision": f"{manifest.precision}, ONNX opset {manifest.opset}",
        "entities": ", ".join(manifest.labels.entity_types),
        "relations": ", ".join(
            name + (" (symmetric)" if name in manifest.labels.symmetric else "")
            for name in manifest.labels.relation_types
        )
        or "none, the model finds entities alone",
        "dependency parser": f"{manifest.parser}, {len(manifest.labels.dependency_labels)} labels",
        "limits": f"entities of up to {manifest.sizes.max_span} words; windows of up to {manifest.sizes.max_subwords} "
        f"subwords and {manifest.sizes.max_words} words",
        "decoding": f"relations above {manifest.decoding.relation_threshold:.3g}, entities may "
        f"{'' if manifest.decoding.overlap else 'not '}overlap"
        + (", relations only between type combinations seen in training" if manifest.labels.allowed_triples else ""),
        "trigger words": "by the points of probability that the relation loses without them, estimated by the sensor"
        if manifest.triggers != "attention"
        else "ranked by attention of the trigger sensor, which is no loss; export the model again",
        "licence": manifest.licence,
    }
    return build_plain_table("bundle", "", str(bundle.path), rows=rows.items())


def _describe_parity(content: dict[str, Any]) -> list[Table]:
    try:
        return build_parity_tables(decode_parity(content))
    except msgspec.ValidationError as error:
        return [build_plain_table("parity", "not readable", rows=[[str(error)]])]


def _describe_products(products: dict[str, MatmulCounts]) -> Table:
    total = MatmulCounts(
        half=sum(counts.half for counts in products.values()),
        single=sum(counts.single for counts in products.values()),
        int8=sum(counts.int8 for counts in products.values()),
    )
    rows = (
        (name, str(counts.total), _format_share(counts.half, counts.total), _format_share(counts.int8, counts.total))
        for name, counts in (*products.items(), ("all", total))
    )
    return build_plain_table("matrix products", "subgraph", "total", "half precision", "int8", rows=rows)


def _describe_quantization(quantization: QuantizationRecord) -> Table:
    rows = {
        "calibration data": f"{quantization.sentences} sentences ({quantization.data})",
        "method": quantization.method,
        "matrix products in int8": str(quantization.quantized),
        "not quantized": "\n".join(quantization.kept) or "none",
        "x86 without VNNI": "runs in the slower exact mode" if quantization.saturates else "runs in the fast mode",
    }
    return build_plain_table("quantization", "", "", rows=rows.items())


def _describe_engines(manifest: Manifest) -> Iterator[Table]:
    """Yield a table of the engines and a numbered table of their profiles, which many engines share."""
    profiles: list[Profile] = []
    for engine in manifest.engines:
        profiles += [profile for profile in engine.profiles if profile not in profiles]
    titles = [f"{index} {profile.name}" for index, profile in enumerate(profiles, 1)]
    rows = (
        (
            engine.file,
            f"{engine.subgraph} {engine.precision} {engine.target}",
            f"{engine.builder} {engine.version}",
            "\n".join(titles[profiles.index(profile)] for profile in engine.profiles),
            _format_share(engine.products.half, engine.products.total),
            _get_engine_state(engine, manifest),
        )
        for engine in manifest.engines
    )
    yield build_plain_table("engines", "file", "subgraph", "built by", "profiles", "half precision", "state", rows=rows)
    axes = sorted({axis for profile in profiles for axis in profile.axes})
    sizes = (
        (title, *("/".join(map(str, profile.axes.get(axis, "–"))) for axis in axes))
        for title, profile in zip(titles, profiles, strict=True)
    )
    yield build_plain_table("profiles (min/tuned/max)", "", *axes, rows=sizes)


def _get_engine_state(engine: Engine, manifest: Manifest) -> str:
    """Return "stale" for an engine built from other ONNX files than the bundle's, which must not run."""
    return "current" if engine.onnx_sha256 == hash_sources(engine.subgraph, manifest.files) else "stale"


def _describe_files(bundle: Bundle) -> Table:
    listed = [(name, f"{file.size:,}", file.sha256[:16] + "…") for name, file in bundle.manifest.files.items()]
    unlisted = [(name, "", "not part of the bundle") for name in bundle.find_unlisted()]
    return build_plain_table("files", "file", "bytes", "sha256", rows=[*listed, *unlisted])


def _format_share(part: int, total: int) -> str:
    return f"{100 * part / total:.1f} %" if total else "–"

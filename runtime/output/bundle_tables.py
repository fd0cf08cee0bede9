"""Describe a bundle as tables for ``trimf inspect``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..bundle.manifest import Engine, Manifest, MatmulCounts, Profile, QuantizationRecord
from ..bundle.reader import Bundle


class _ErrorFigures(msgspec.Struct):
    """Error of an output."""

    max: float | None = None
    mean: float | None = None
    p99: float | None = None


class _SubgraphErrors(_ErrorFigures):
    """Absolute and relative error of an output."""

    relative: _ErrorFigures | None = None


class _F1Scores(msgspec.Struct):
    """F1 of entities and relations in per cent, with the support of both."""

    entities: float | None = None
    relations: float | None = None
    support: tuple[int, int] | None = None


class _WorstSentence(msgspec.Struct):
    """Sentence with the largest difference."""

    id: str | int | None = None
    text: str = ""
    missing: list[Any] = []
    added: list[Any] = []


class _ExtractionParity(msgspec.Struct):
    """Comparison of whole extractions."""

    sentences: int | None = None
    data: str = "data not stated"
    identical: float | None = None
    agreement: _F1Scores | None = None
    reference: _F1Scores | None = None
    exported: _F1Scores | None = None
    worst: _WorstSentence | None = None


class _VerifiedBackend(msgspec.Struct):
    """Result of ``trimf verify`` on one backend."""

    against: str = "PyTorch"
    extractions: _ExtractionParity = msgspec.field(default_factory=_ExtractionParity)
    failure: str | None = None


class _ParityReport(msgspec.Struct):
    """Parity report as documented at ``manifest.Manifest``."""

    against: str = "PyTorch"
    subgraphs: dict[str, _SubgraphErrors] = {}
    skipped: dict[str, str] = {}
    verified: dict[str, _VerifiedBackend] = {}
    extractions: _ExtractionParity | None = None


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


def _build_table(title: str, *columns: str, rows: Iterable[Iterable[str]]) -> Table:
    """Build a table of plain text without markup or control codes; long cells are folded instead of cut."""
    table = Table(title=title, title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(_sanitize_text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_sanitize_text, row))
    return table


def _sanitize_text(value: str) -> Text:
    """Return plain text with a replacement character for each unprintable one except line breaks."""
    return Text(
        "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in value)
    )


def _describe_model(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    rows = {
        "created by": f"{manifest.created_by}, schema {manifest.schema_version}",
        "encoder": f"{manifest.encoder}, hidden size {manifest.sizes.hidden}"
        + (", with letter case" * manifest.casing),
        "precision": f"{manifest.precision}, ONNX opset {manifest.opset}",
        "entities": ", ".join(manifest.labels.entities),
        "relations": ", ".join(
            name + (" (symmetric)" if name in manifest.labels.symmetric else "") for name in manifest.labels.relations
        ),
        "dependency parser": f"{manifest.parser}, {len(manifest.labels.dependencies)} labels",
        "limits": f"entities of up to {manifest.sizes.max_span} words; windows of up to {manifest.sizes.max_subwords} "
        f"subwords and {manifest.sizes.max_words} words",
        "decoding": f"relations above {manifest.decoding.relation_threshold:.3g}, entities may "
        f"{'' if manifest.decoding.overlap else 'not '}overlap"
        + (", relations only between type combinations seen in training" if manifest.labels.signatures else ""),
        "trigger words": "ranked by contribution to the relation's logit"
        if manifest.triggers == "contribution"
        else "ranked by attention of the trigger sensor",
        "licence": manifest.licence,
    }
    return _build_table("bundle", "", str(bundle.path), rows=rows.items())


def _describe_parity(report: dict[str, Any]) -> Iterator[Table]:
    try:
        parity = msgspec.convert(report, _ParityReport)
    except msgspec.ValidationError as error:
        yield _build_table("parity", "not readable", rows=[[str(error)]])
        return
    if parity.extractions is not None:
        extractions = _list_extraction_rows(parity.extractions, parity.against)
        yield _build_table(f"parity of extractions with {parity.against}", "", "", rows=extractions)
    if parity.subgraphs:
        columns = ("output", "", "max", "mean", "p99")
        yield _build_table(f"output errors against {parity.against}", *columns, rows=_list_error_rows(parity.subgraphs))
    if parity.skipped:
        yield _build_table("subgraphs not compared separately", "subgraph", "reason", rows=parity.skipped.items())
    if parity.verified:
        yield _build_table(
            "verified", "backend", "against", "on", "identical", "verdict", rows=_list_verified_rows(parity.verified)
        )


def _list_extraction_rows(extractions: _ExtractionParity, against: str) -> Iterator[tuple[str, str]]:
    count = "number of sentences not stated" if extractions.sentences is None else f"{extractions.sentences} sentences"
    yield "compared on", f"{count} ({extractions.data})"
    if extractions.identical is not None:
        yield "identical", f"{extractions.identical:g} %"
    scores = {
        f"F1 against {against}": extractions.agreement,
        f"F1 of {against}": extractions.reference,
        "F1 of the bundle": extractions.exported,
    }
    for name, f1 in scores.items():
        if f1 is not None:
            support = "" if f1.support is None else " (support {} and {})".format(*f1.support)
            yield name, f"entities {_format_figure(f1.entities)}, relations {_format_figure(f1.relations)}{support}"
    if (worst := extractions.worst) is not None:
        yield "largest difference", worst.text if worst.id is None else f"{worst.id}: {worst.text}"
        yield "  missing", "\n".join(map(_format_item, worst.missing)) or "none"
        yield "  added", "\n".join(map(_format_item, worst.added)) or "none"


def _list_verified_rows(verified: dict[str, _VerifiedBackend]) -> Iterator[tuple[str, ...]]:
    for backend, report in verified.items():
        extractions = report.extractions
        compared = f"{extractions.sentences} sentences ({extractions.data})"
        identical = f"{_format_figure(extractions.identical)} %"
        yield backend, report.against, compared, identical, report.failure or "within the limits"


def _list_error_rows(subgraphs: dict[str, _SubgraphErrors]) -> Iterator[tuple[str, ...]]:
    for name, absolute in subgraphs.items():
        for kind, error in (("absolute", absolute), ("relative", absolute.relative)):
            if error is not None:
                yield (name, kind, *map(_format_figure, (error.max, error.mean, error.p99)))


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
    return _build_table("matrix products", "subgraph", "total", "half precision", "int8", rows=rows)


def _describe_quantization(quantization: QuantizationRecord) -> Table:
    rows = {
        "calibration data": f"{quantization.sentences} sentences ({quantization.data})",
        "method": quantization.method,
        "matrix products in int8": str(quantization.quantized),
        "not quantized": "\n".join(quantization.kept) or "none",
    }
    return _build_table("quantization", "", "", rows=rows.items())


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
    yield _build_table("engines", "file", "subgraph", "built by", "profiles", "half precision", "state", rows=rows)
    axes = sorted({axis for profile in profiles for axis in profile.axes})
    sizes = (
        (title, *("/".join(map(str, profile.axes.get(axis, "–"))) for axis in axes))
        for title, profile in zip(titles, profiles, strict=True)
    )
    yield _build_table("profiles (min/tuned/max)", "", *axes, rows=sizes)


def _get_engine_state(engine: Engine, manifest: Manifest) -> str:
    """Return "stale" for an engine built from another ONNX file than the bundle's, which must not run."""
    return "current" if engine.onnx_sha256 == manifest.files[f"{engine.subgraph}.onnx"].sha256 else "stale"


def _describe_files(bundle: Bundle) -> Table:
    listed = [(name, f"{file.size:,}", file.sha256[:16] + "…") for name, file in bundle.manifest.files.items()]
    unlisted = [(name, "", "not part of the bundle") for name in bundle.unlisted()]
    return _build_table("files", "file", "bytes", "sha256", rows=[*listed, *unlisted])


def _format_figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _format_share(part: int, total: int) -> str:
    return f"{100 * part / total:.1f} %" if total else "–"


def _format_item(value: Any) -> str:
    """Return a string as it is and any other value as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""A bundle's manifest for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from .bundle import Bundle
from .manifest import Engine, Manifest, Products, Profile, Quantization


class _Error(msgspec.Struct):
    max: float | None = None
    mean: float | None = None
    p99: float | None = None


class _SubgraphError(_Error):
    relative: _Error | None = None


class _F1(msgspec.Struct):
    entities: float | None = None
    relations: float | None = None
    support: tuple[int, int] | None = None


class _Worst(msgspec.Struct):
    id: str | int | None = None
    text: str = ""
    missing: list[Any] = []
    added: list[Any] = []


class _Extractions(msgspec.Struct):
    sentences: int | None = None
    data: str = "data not stated"
    identical: float | None = None
    agreement: _F1 | None = None
    reference: _F1 | None = None
    exported: _F1 | None = None
    worst: _Worst | None = None


class _Verified(msgspec.Struct):
    against: str = "PyTorch"
    extractions: _Extractions = msgspec.field(default_factory=_Extractions)
    failure: str | None = None


class _Parity(msgspec.Struct):
    """The parity report as :class:`~.manifest.Manifest` describes it."""

    against: str = "PyTorch"
    subgraphs: dict[str, _SubgraphError] = {}
    skipped: dict[str, str] = {}
    verified: dict[str, _Verified] = {}
    extractions: _Extractions | None = None


def describe(bundle: Bundle) -> Group:
    """Tables of what the bundle is, how exact, and of the files it holds; parts that it does not have are left out."""
    manifest = bundle.manifest
    parts = [_about(bundle), *_parity(manifest.parity)]
    if manifest.products:
        parts.append(_products(manifest.products))
    if manifest.quantization is not None:
        parts.append(_quantization(manifest.quantization))
    if manifest.engines:
        parts.extend(_engines(manifest))
    return Group(*parts, _files(bundle))


def _table(title: str, *columns: str, rows: Iterable[Iterable[str]]) -> Table:
    """A table of plain text: nothing in it is markup or moves the cursor, and what is too long is folded, not cut."""
    table = Table(title=title, title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(_text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(value: str) -> Text:
    return Text(
        "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in value)
    )


def _about(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    rows = {
        "made by": f"{manifest.created_by}, schema {manifest.schema_version}",
        "encoder": f"{manifest.encoder}, {manifest.sizes.hidden} wide" + (", reads letter case" * manifest.casing),
        "precision": f"{manifest.precision}, ONNX opset {manifest.opset}",
        "entities": ", ".join(manifest.labels.entities),
        "relations": ", ".join(
            name + (" (symmetric)" if name in manifest.labels.symmetric else "") for name in manifest.labels.relations
        ),
        "dependency parser": f"{manifest.parser}, {len(manifest.labels.dependencies)} labels",
        "limits": f"spans of {manifest.sizes.max_span} words; windows of {manifest.sizes.max_subwords} subwords "
        f"and {manifest.sizes.max_words} words",
        "decoding": f"relations above {manifest.decoding.relation_threshold}, entities may "
        f"{'' if manifest.decoding.overlap else 'not '}overlap"
        + (", relations only between types seen in training" if manifest.labels.signatures else ""),
        "trigger words": "by what they add to the relation"
        if manifest.triggers == "contribution"
        else "by the weight that the sensor gives them",
        "licence": manifest.licence,
    }
    return _table("bundle", "", str(bundle.path), rows=rows.items())


def _parity(report: dict[str, Any]) -> Iterator[Table]:
    try:
        parity = msgspec.convert(report, _Parity)
    except msgspec.ValidationError as error:
        yield _table("parity", "not readable", rows=[[str(error)]])
        return
    if parity.extractions is not None:
        extractions = _extraction_rows(parity.extractions, parity.against)
        yield _table(f"parity of extractions with {parity.against}", "", "", rows=extractions)
    if parity.subgraphs:
        columns = ("output", "", "max", "mean", "p99")
        yield _table(f"errors of outputs against {parity.against}", *columns, rows=_error_rows(parity.subgraphs))
    if parity.skipped:
        yield _table("not compared by itself", "subgraph", "reason", rows=parity.skipped.items())
    if parity.verified:
        yield _table(
            "verified", "backend", "against", "on", "identical", "verdict", rows=_verified_rows(parity.verified)
        )


def _extraction_rows(extractions: _Extractions, against: str) -> Iterator[tuple[str, str]]:
    count = "sentences not counted" if extractions.sentences is None else f"{extractions.sentences} sentences"
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
            support = "" if f1.support is None else " (of {} and {})".format(*f1.support)
            yield name, f"entities {_figure(f1.entities)}, relations {_figure(f1.relations)}{support}"
    if (worst := extractions.worst) is not None:
        yield "differs most", worst.text if worst.id is None else f"{worst.id}: {worst.text}"
        yield "  is missing", "\n".join(map(_line, worst.missing)) or "nothing"
        yield "  has more", "\n".join(map(_line, worst.added)) or "nothing"


def _verified_rows(verified: dict[str, _Verified]) -> Iterator[tuple[str, ...]]:
    for backend, one in verified.items():
        found = one.extractions
        compared = f"{found.sentences} sentences ({found.data})"
        yield backend, one.against, compared, f"{_figure(found.identical)} %", one.failure or "within the limits"


def _error_rows(subgraphs: dict[str, _SubgraphError]) -> Iterator[tuple[str, ...]]:
    for name, absolute in subgraphs.items():
        for kind, error in (("absolute", absolute), ("relative", absolute.relative)):
            if error is not None:
                yield (name, kind, *map(_figure, (error.max, error.mean, error.p99)))


def _products(products: dict[str, Products]) -> Table:
    total = Products(
        half=sum(one.half for one in products.values()),
        single=sum(one.single for one in products.values()),
        int8=sum(one.int8 for one in products.values()),
    )
    rows = (
        (name, str(one.total), _share(one.half, one.total), _share(one.int8, one.total))
        for name, one in (*products.items(), ("all", total))
    )
    return _table("matrix products", "subgraph", "products", "in half precision", "in int8", rows=rows)


def _quantization(quantization: Quantization) -> Table:
    rows = {
        "calibrated on": f"{quantization.sentences} sentences ({quantization.data})",
        "method": quantization.method,
        "products in int8": str(quantization.quantized),
        "kept as they were": "\n".join(quantization.kept) or "none",
    }
    return _table("quantization", "", "", rows=rows.items())


def _engines(manifest: Manifest) -> Iterator[Table]:
    """The engines, and their profiles, which many of them share, apart and numbered."""
    profiles: list[Profile] = []
    for engine in manifest.engines:
        profiles += [profile for profile in engine.profiles if profile not in profiles]
    titles = [f"{number} {profile.name}" for number, profile in enumerate(profiles, 1)]
    rows = (
        (
            engine.file,
            f"{engine.subgraph} {engine.precision} {engine.target}",
            f"{engine.builder} {engine.version}",
            "\n".join(titles[profiles.index(profile)] for profile in engine.profiles),
            _share(engine.products.half, engine.products.total),
            _state(engine, manifest),
        )
        for engine in manifest.engines
    )
    yield _table("engines", "file", "of", "built by", "profiles", "half", "state", rows=rows)
    axes = sorted({axis for profile in profiles for axis in profile.axes})
    sizes = (
        (title, *("/".join(map(str, profile.axes.get(axis, "–"))) for axis in axes))
        for title, profile in zip(titles, profiles, strict=True)
    )
    yield _table("profiles: smallest/tuned for/largest", "", *axes, rows=sizes)


def _state(engine: Engine, manifest: Manifest) -> str:
    """An engine of another ONNX file than the bundle's is stale: it must not run."""
    return "current" if engine.onnx_sha256 == manifest.files[f"{engine.subgraph}.onnx"].sha256 else "stale"


def _files(bundle: Bundle) -> Table:
    listed = [(name, f"{file.size:,}", file.sha256[:16] + "…") for name, file in bundle.manifest.files.items()]
    others = [(name, "", "not part of the bundle") for name in bundle.unlisted()]
    return _table("files", "file", "bytes", "sha256", rows=[*listed, *others])


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _share(part: int, total: int) -> str:
    return f"{100 * part / total:.1f} %" if total else "–"


def _line(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""A bundle's manifest for people."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .bundle import Bundle


def describe(bundle: Bundle) -> Group:
    """Tables of what the bundle is and of the files it holds."""
    manifest = bundle.manifest
    about = Table("", escape(str(bundle.path)), title="bundle", title_justify="left")
    extractions = manifest.parity.get("extractions", {})
    rows = {
        "made by": f"{manifest.created_by}, schema {manifest.schema_version}",
        "encoder": f"{manifest.encoder}, {manifest.sizes.hidden} wide",
        "precision": f"{manifest.precision}, ONNX opset {manifest.opset}",
        "entities": ", ".join(manifest.labels.entities),
        "relations": ", ".join(
            name + (" (symmetric)" if name in manifest.labels.symmetric else "") for name in manifest.labels.relations
        ),
        "dependency parser": f"{manifest.parser.name} {manifest.parser.version}, "
        f"{len(manifest.labels.dependencies)} labels",
        "limits": f"spans of {manifest.sizes.max_span} words; windows of {manifest.sizes.max_subwords} subwords "
        f"and {manifest.sizes.max_words} words",
        "decoding": f"relations above {manifest.decoding.relation_threshold}, entities may "
        f"{'' if manifest.decoding.overlap else 'not '}overlap",
        "parity": f"{extractions.get('identical', 0):g} % of {extractions.get('sentences', 0)} sentences "
        f"({extractions.get('data', 'none')}) as in PyTorch",
        "licence": manifest.licence,
    }
    for name, value in rows.items():
        about.add_row(name, Text(value))
    files = Table("file", "bytes", "sha256", title="files", title_justify="left")
    for name, file in manifest.files.items():
        files.add_row(Text(name), f"{file.size:,}", file.sha256[:16] + "…")
    return Group(about, files)

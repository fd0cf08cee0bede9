"""What ``manifest.json`` says of a bundle. Fields without a default are required, unknown ones refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from .labels import Labels

#: Raised by one whenever an older TriMF would misread a newer bundle.
SCHEMA_VERSION = 1

Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Width H of the hidden states, longest span K in words, and the limits of one window of a sentence."""

    hidden: Positive
    max_span: Positive
    max_subwords: Positive
    max_words: Positive


class Decoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Relation threshold, and whether entities of one sentence may overlap."""

    relation_threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    overlap: bool


class ParserNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The dependency parser that the model was trained on."""

    name: str
    version: str = ""


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Size in bytes and SHA-256 (hexadecimal) of a file of the bundle."""

    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``manifest.json``.

    ``precision`` is what the graphs hold; ``parity`` how far they are from PyTorch; ``provenance`` what the model was
    trained on and how it scored.
    """

    schema_version: int
    created_by: str
    labels: Labels
    sizes: Sizes
    decoding: Decoding
    parser: ParserNote
    encoder: str
    precision: Literal["fp32", "int8"]
    opset: Positive
    licence: str
    provenance: dict[str, Any]
    parity: dict[str, Any]
    files: dict[str, File]

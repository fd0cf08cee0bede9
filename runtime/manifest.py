"""What ``manifest.json`` says of a bundle. Fields without a default are required, unknown ones refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from .labels import Labels

#: What this TriMF writes. The policy: any change of the manifest raises it by one, a TriMF reads every version up to its
#: own (fields that came later have defaults), and refuses a newer one by its number, before it looks at anything else.
SCHEMA_VERSION = 2

Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

#: Types of a bundle's numbers: ``int8`` is for CPUs, ``int8-qdq`` for GPUs (symmetric, the rest in fp16).
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-qdq"]

#: Libraries that build and run engines.
Builder = Literal["tensorrt", "tensorrt-rtx"]


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
    sha256: Sha256


class Products(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many matrix products of a graph take numbers of each type: fp16 or bf16 (half), fp32 (single), int8."""

    half: Count = 0
    single: Count = 0
    int8: Count = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.half + self.single + self.int8


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes that an engine takes: for every dynamic axis the least, the one it is tuned for, and the largest."""

    name: str
    axes: dict[str, tuple[Positive, Positive, Positive]]


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One compiled subgraph: what it was built from, by what, for which device (``sm_89``: compute capability 8.9)."""

    file: str
    subgraph: str
    precision: Precision
    builder: Builder
    version: str
    target: Annotated[str, msgspec.Meta(pattern="^sm_[0-9]{2,3}$")]
    profiles: Annotated[list[Profile], msgspec.Meta(min_length=1)]
    onnx_sha256: Sha256
    products: Products


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How int8 was made: calibration data, how many products are int8, and which were left as they were, with why.

    ``sensitivity``: for every product of the encoder, the relative error of the encoder's words when it alone is int8.
    """

    data: str
    sentences: Count
    method: str
    quantized: Count
    kept: list[str]
    sensitivity: dict[str, float]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``manifest.json``.

    ``precision`` is what the graphs hold, ``products`` the proof of it, counted in each graph; ``parity`` how far they
    are from PyTorch; ``provenance`` what the model was trained on and how it scored. Since schema 2: ``products``,
    ``quantization``, ``engines``.
    """

    schema_version: int
    created_by: str
    labels: Labels
    sizes: Sizes
    decoding: Decoding
    parser: ParserNote
    encoder: str
    precision: Precision
    opset: Positive
    licence: str
    provenance: dict[str, Any]
    parity: dict[str, Any]
    files: dict[str, File]
    products: dict[str, Products] = {}
    quantization: Quantization | None = None
    engines: list[Engine] = []

"""What ``manifest.json`` says of a bundle: the schema, which with these docstrings is all that a reader needs.

The file is one JSON object (UTF-8 without a byte order mark, at most 4 MiB, nested at most 64 deep, no key twice in an
object, no NaN or Infinity), a :class:`Manifest`. Fields without a default are required, unknown ones refused. Beside it
lie ``tokenizer.json`` and ``<subgraph>.onnx`` for each of :data:`~.backend.SUBGRAPHS`, in ``engines/`` perhaps compiled
subgraphs. What the types cannot say (limits, names, what must agree) is checked by :mod:`.bundle`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from .labels import Labels

#: What this TriMF writes. The policy: any change of the manifest raises it by one, a TriMF reads every version up to
#: its own (fields that came later have defaults), and refuses a newer one by its number, before it looks at anything
#: else.
SCHEMA_VERSION = 5

Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Size = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

#: Types of a bundle's numbers: ``int8`` is for CPUs, ``int8-qdq`` for GPUs (symmetric, the rest in fp16).
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-qdq"]

#: Libraries that build and run engines.
Builder = Literal["tensorrt", "tensorrt-rtx"]


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Width H of the hidden states, longest span K in words, and the limits of one window of a sentence.

    ``max_subwords`` counts the special tokens around the window.
    """

    hidden: Size
    max_span: Size
    max_subwords: Size
    max_words: Size


class Decoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Score that a relation must exceed, and whether entities of one sentence may overlap."""

    relation_threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    overlap: bool


class ParserNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the dependency arcs come from that the model was trained on.

    ``source``: ``spacy`` is the pipeline ``name``, in front of the model; ``encoder`` the encoder subgraph itself,
    which has outputs ``heads`` and ``labels`` and learnt from that pipeline's parses. ``name`` as spaCy loads it, and
    its ``version``.
    """

    name: str
    version: str = ""
    source: Literal["spacy", "encoder"] = "spacy"

    def __str__(self) -> str:
        """For people."""
        name = f"{self.name} {self.version}".strip()
        return name if self.source == "spacy" else f"in the encoder, which learnt from {name}"


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Size in bytes and SHA-256 (hexadecimal) of a file of the bundle."""

    size: Annotated[int, msgspec.Meta(ge=0)]
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
    """Sizes that an engine takes: for every dynamic axis the least, the one it is tuned for, and the largest.

    The axes are those of :data:`~.backend.AXES`; ``[1, 8, 32]`` for ``batch`` is 1 to 32 sentences, tuned for 8.
    """

    name: str
    axes: dict[str, tuple[Positive, Positive, Positive]]


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One compiled subgraph: what it was built from, by what, for which device (``sm_89``: compute capability 8.9).

    ``file`` is its name in ``files``, below ``engines/``; ``version`` the builder's. ``onnx_sha256`` is the SHA-256 of
    the ONNX file that it was built from: an engine whose ONNX file has another one by now is stale and must not run.
    ``products`` counts the types in the engine, which need not be those of the graph.
    """

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
    """How int8 was made: calibration data, how many products are int8, and which were left as they were.

    ``kept`` names those products. ``sensitivity``: for every product of the encoder, the relative error of the
    encoder's words when it alone is int8.
    """

    data: str
    sentences: Count
    method: str
    quantized: Count
    kept: list[str]
    sensitivity: dict[str, float]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``manifest.json``.

    ``created_by`` is the program and its version, ``encoder`` the name of the pretrained one, ``opset`` that of the
    ONNX files, ``licence`` a line for people. ``casing``: the numbers of subwords have letter case above them
    (:data:`~.subwords.CASE`). ``triggers``: whether a trigger word has the weight that the sensor gives it, or what it
    adds to the relation's logit, for which the relations subgraph has an output ``word_logits``. ``files`` names every
    file but ``manifest.json``: letters, digits, ``.``, ``_`` and ``-``, with no folder but ``engines/``; every file
    there is one of ``engines``.

    ``precision`` is what the graphs hold, ``products`` the proof of it, counted in each subgraph. ``provenance`` is
    what the model was trained on and how it scored, free in form. ``parity`` is how far the graphs are from ``against``
    (PyTorch, where it is not said), and all of it is for people; any part may be absent:

    - ``subgraphs``: for every output (``encoder.words``) the ``max``, ``mean`` and ``p99`` of the absolute error, and
      under ``relative`` those of the error in proportion to the root mean square of the values;
    - ``arcs``: of how many ``words`` how many per cent had ``identical`` heads and labels, where the encoder parses;
    - ``extractions``: on how many ``sentences`` of which ``data`` whole extractions were compared, how many per cent
      were ``identical``; ``agreement``, ``reference`` (schema 1: ``pytorch``) and ``exported`` are F1 in per cent of
      ``entities`` and ``relations`` (of the graphs against PyTorch, of PyTorch and of the graphs against the
      annotation), with the ``support`` of both; ``worst`` is the sentence that differs most: ``id``, ``text``,
      ``missing``, ``added``;
    - ``skipped``: subgraphs whose outputs were not compared by themselves, with the reason;
    - ``verified``: by backend, what `trimf verify --save` found: the same report, with ``backend``, ``reason`` and
      ``failure`` (None, or what exceeds the limits).

    Since schema 2: ``products``, ``quantization``, ``engines``. Since schema 3: ``parser.source``. Since schema 4:
    ``labels.signatures``. Since schema 5: ``casing``, ``triggers``.
    """

    schema_version: int
    created_by: str
    labels: Labels
    sizes: Sizes
    decoding: Decoding
    parser: ParserNote
    encoder: str
    casing: bool = False
    triggers: Literal["attention", "contribution"] = "attention"
    precision: Precision
    opset: Positive
    licence: str
    provenance: dict[str, Any]
    parity: dict[str, Any]
    files: dict[str, File]
    products: dict[str, Products] = {}
    quantization: Quantization | None = None
    engines: list[Engine] = []


def encode(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``: indented, keys in order, so that equal manifests are equal files."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"

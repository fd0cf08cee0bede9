"""Schema of a bundle's ``manifest.json``; together with these docstrings it is all that a reader needs.

The file is one JSON object, a ``Manifest``: UTF-8 without a byte order mark, at most 4 MiB, nested at most 64
levels deep, without duplicate keys, NaN or Infinity. Fields without a default are required, unknown fields are refused.
The same folder contains ``tokenizer.json``, ``<subgraph>.onnx`` for each of ``contract.list_subgraphs``, and optionally
compiled subgraphs in ``engines/``. Rules that the types cannot express (limits, names, consistency) are checked by
``bundle``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from .labels import Labels

#: File of the estimator that has learnt the effects of words (``triggers.effect_estimator``).
EFFECTS_FILE = "effects.npz"

#: Schema version that this TriMF writes. Every change of the manifest increases it by one. A TriMF reads every version
#: up to its own (fields added later have defaults) and refuses a newer one by its number before decoding the rest.
SCHEMA_VERSION = 8

#: Constrained field types of the manifest.
PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Size = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

#: Code of a language, as spaCy names it.
Language = Annotated[str, msgspec.Meta(pattern="^[a-z]{2,3}$")]

#: Precision of a bundle's graphs: ``int8`` is for CPUs, ``int8-qdq`` for GPUs (symmetric, the rest in fp16).
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-qdq"]

#: Library that builds and runs an engine.
Builder = Literal["tensorrt", "tensorrt-rtx"]


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes of the model and limits of one window of a sentence.

    Attributes:
        hidden: Width H of the hidden states.
        max_span: Longest entity K in words.
        max_subwords: Maximum number of subwords in a window, special tokens included.
        max_words: Maximum number of words in a window.
    """

    hidden: Size
    max_span: Size
    max_subwords: Size
    max_words: Size


class Decoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Decoding options.

    Attributes:
        relation_threshold: Probability that a relation must exceed.
        overlap: Whether entities of a sentence may overlap.
    """

    relation_threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    overlap: bool


class ParserInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Dependency parser of the model.

    Attributes:
        name: Name of the spaCy pipeline that the model was trained with, as spaCy loads it.
        version: Version of that pipeline.
        source: ``"spacy"`` if that pipeline runs before the model; ``"encoder"`` if the model has an in-model parser,
            trained on the pipeline's parses: the encoder subgraph then has the outputs ``heads`` and ``labels``.
    """

    name: str
    version: str = ""
    source: Literal["spacy", "encoder"] = "spacy"

    def __str__(self) -> str:
        """Return a short description for messages and tables."""
        name = f"{self.name} {self.version}".strip()
        return name if self.source == "spacy" else f"in-model parser (trained on {name})"


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Size in bytes and SHA-256 (hexadecimal) of a file of the bundle."""

    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class MatmulCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Number of matrix products of a graph by the type of their inputs.

    Attributes:
        half: Matrix products in fp16 or bf16.
        single: Matrix products in fp32.
        int8: Matrix products in int8.
    """

    half: Count = 0
    single: Count = 0
    int8: Count = 0

    @property
    def total(self) -> int:
        """Number of matrix products of all types."""
        return self.half + self.single + self.int8


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Optimization profile of an engine: the shapes that it accepts.

    Attributes:
        name: Name of the profile.
        axes: Smallest, tuned and largest size of every dynamic axis of ``backend.AXES``; ``[1, 8, 32]`` for
            ``batch`` accepts 1 to 32 sentences and is tuned for 8.
    """

    name: str
    axes: dict[str, tuple[PositiveInt, PositiveInt, PositiveInt]]


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Compiled subgraph.

    Attributes:
        file: Name of the engine's file in ``files``, below ``engines/``.
        subgraph: Name of the subgraph that it was built from, or ``joined`` for encoder, fusion and entities as one.
        precision: Precision of that subgraph.
        builder: Library that built it.
        version: Version of that library.
        target: Compute capability of the GPU that it was built for; ``sm_89`` is 8.9.
        profiles: Shapes that it accepts.
        onnx_sha256: SHA-256 of the ONNX file that it was built from; of ``joined`` that of the three hexadecimal hashes
            of its files, one after the other. If it is another one now, the engine is stale and must not run.
        products: Number of matrix products by type in the engine, which may differ from those of the graph.
    """

    file: str
    subgraph: str
    precision: Precision
    builder: Builder
    version: str
    target: Annotated[str, msgspec.Meta(pattern="^sm_[0-9]{2,3}$")]
    profiles: Annotated[list[Profile], msgspec.Meta(min_length=1)]
    onnx_sha256: Sha256
    products: MatmulCounts


class QuantizationRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Record of an int8 quantization.

    Attributes:
        data: Name of the calibration data.
        sentences: Number of sentences of the calibration data that were used.
        method: Method that determined the activation ranges.
        quantized: Number of matrix products in int8.
        kept: Names of the matrix products that were not quantized.
        sensitivity: For every matrix product of the encoder, the relative error of the encoder's word vectors when only
            that matrix product is quantized.
        saturates: Whether a matrix product may saturate on an x86 CPU without VNNI, so that such a CPU needs the exact
            mode of ONNX Runtime.
    """

    data: str
    sentences: Count
    method: str
    quantized: Count
    kept: list[str]
    sensitivity: dict[str, float]
    saturates: bool = True


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Content of ``manifest.json``.

    Schema 2 added ``products``, ``quantization`` and ``engines``; schema 3 ``parser.source``; schema 4
    ``labels.signatures``; schema 5 ``casing`` and ``triggers``; schema 6 ``language`` and
    the ``subgraph`` ``joined`` of engines; schema 7 ``quantization.saturates``, and models without relation types,
    whose bundles have no ``relations.onnx``; schema 8 ``triggers`` ``"effect"`` with the file ``effects.npz``, and
    ``trigger_floor``.

    Attributes:
        schema_version: Version of the schema, see ``SCHEMA_VERSION``.
        created_by: Program that wrote the bundle, with its version.
        labels: Label sets of the model.
        sizes: Sizes of the model and limits of one window.
        decoding: Decoding options.
        parser: Dependency parser of the model.
        encoder: Name of the pretrained encoder.
        language: Code of the language whose rules split text into words, see ``words.load_language``.
        casing: Whether subword ids include the letter case of their word (``subwords.CASE``).
        triggers: What the score of a trigger word comes from: the trigger sensor's ``"attention"``; the word's
            ``"contribution"`` to the relation's logit, for which the relations subgraph has the output ``word_logits``;
            or the ``"effect"`` of leaving the word out, which the estimator in ``effects.npz`` has learnt.
        trigger_floor: Probability that a relation must lose without a word for the sensor to show the word.
        precision: Precision of the graphs.
        opset: Opset version of the ONNX files.
        licence: Licence of the weights in one line.
        provenance: Training data and scores of the model; free form.
        parity: Differences between the graphs and a reference, for information only: a ``parity_report.StoredParity``,
            of which any part may be absent. Schema 1 named its ``reference`` scores ``pytorch``.
        files: Size and hash of every file but ``manifest.json``. Names consist of letters, digits, ``.``, ``_`` and
            ``-``, in no folder but ``engines/``; every file there is described in ``engines``.
        products: Number of matrix products by type in each subgraph, which proves ``precision``.
        quantization: Record of the quantization; None if the bundle is not int8.
        engines: Compiled subgraphs.
    """

    schema_version: int
    created_by: str
    labels: Labels
    sizes: Sizes
    decoding: Decoding
    parser: ParserInfo
    encoder: str
    language: Language = "en"
    casing: bool = False
    triggers: Literal["attention", "contribution", "effect"] = "attention"
    trigger_floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    precision: Precision
    opset: PositiveInt
    licence: str
    provenance: dict[str, Any]
    parity: dict[str, Any]
    files: dict[str, FileRecord]
    products: dict[str, MatmulCounts] = {}
    quantization: QuantizationRecord | None = None
    engines: list[Engine] = []


def encode_manifest(manifest: Manifest) -> bytes:
    """Encode a manifest as JSON, indented and with sorted keys, so that equal manifests give equal files.

    Args:
        manifest: Manifest to encode.

    Returns:
        Content of ``manifest.json``.
    """
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"

"""A tiny but whole bundle, made without torch, whose answers can be worked out by eye.

Letters decide: a word with one of A to M is a Person, with one of N to Z (or that the tokenizer cannot read) a Place; a
Place and a word with a digit after it are an Address. Every Person ``lives_in`` every Place and Address of the sentence
and ``knows`` every other Person. Lower-case letters are trigger weights, z the most.
"""

import hashlib
import json
import shutil
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import SCHEMA_VERSION, Decoding, FileRecord, Manifest, ParserInfo, Sizes
from trimf.runtime.text.parser import Parse

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CHARACTERS = [chr(code) for code in range(33, 127)]
VOCABULARY = [*SPECIALS, *CHARACTERS, *("##" + character for character in CHARACTERS)]

LABELS = Labels(("Person", "Place", "Address"), ("lives_in", "knows"), ("chain",), ("knows",))
PERSON, PLACE, NUMBER, VERB = np.eye(4, dtype=np.float32)
NEVER = -100.0
ARCS = ("heads", "labels")


class ChainParser:
    """Every word hangs on the one before it."""

    name = "chain"
    labels = ("ROOT", "chain")

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        return [
            Parse([max(i - 1, 0) for i in range(len(words))], ["chain" if i else "ROOT" for i in range(len(words))])
            for words in sentences
        ]


def bert_like() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIALS.index("[CLS]")), ("[SEP]", SPECIALS.index("[SEP]"))],
    )
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def embeddings() -> np.ndarray:
    """One row per subword; the special tokens are made loud, so that an answer that heeds padding is wrong."""
    table = np.zeros((len(VOCABULARY), 4), np.float32)
    table[:] = [_features(token.removeprefix("##")) for token in VOCABULARY]
    table[:] = np.where(np.isin(VOCABULARY, SPECIALS)[:, None], 64, table)
    table[VOCABULARY.index("[UNK]")] = PLACE
    return table


def _features(character: str) -> np.ndarray:
    if character in string.ascii_uppercase:
        return PERSON if character <= "M" else PLACE
    if character in string.digits:
        return NUMBER
    if character in string.ascii_lowercase:
        return VERB * ((ord(character) - ord("a") + 1) / 32)
    return 0 * VERB


def _model(
    inputs: dict[str, tuple[int, Sequence[Any]]],
    outputs: dict[str, Sequence[Any]],
    constants: dict[str, Any],
    nodes: Sequence[tuple[Any, ...]],
) -> bytes:
    """An ONNX file; a node is (operator, inputs, output) and perhaps its attributes."""
    made = [
        helper.make_node(operator, names.split(" "), [output], **(rest[0] if rest else {}))
        for operator, names, output, *rest in nodes
    ]
    graph = helper.make_graph(
        made,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name in ARCS else TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def subgraphs() -> dict[str, bytes]:
    """The four ONNX files; every number in them is a small multiple of 1/32, so sums are exact in any order."""
    integer, real, boolean = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
    subwords = (integer, ["batch", "subwords"])
    word_integers = (integer, ["batch", "words"])
    word_mask = (boolean, ["batch", "words"])
    states = ["batch", "words", 4]
    none = 0 * PERSON
    return {
        "encoder": _model(
            {"input_ids": subwords, "attention_mask": subwords, "pieces": (integer, ["batch", "words", "pieces"])},
            {"words": states, "cls": ["batch", 4]},
            {"table": embeddings(), "last_axis": [-1], "piece_axis": [2], "begin": 0},
            [
                ("Gather", "table input_ids", "raw"),
                ("Cast", "attention_mask", "seen", {"to": real}),
                ("Unsqueeze", "seen last_axis", "seen_column"),
                ("Mul", "raw seen_column", "states"),
                ("Unsqueeze", "pieces last_axis", "places"),
                ("GatherND", "states places", "gathered", {"batch_dims": 1}),
                ("ReduceMax", "gathered piece_axis", "words", {"keepdims": 0}),
                ("Gather", "states begin", "cls", {"axis": 1}),
            ],
        ),
        "fusion": _model(
            {
                "words": (real, states),
                "cls": (real, ["batch", 4]),
                "word_mask": word_mask,
                "heads": word_integers,
                "labels": word_integers,
            },
            {"nodes": states},
            {"last_axis": [-1], "share": np.float32(0.25), "silence": 0},
            [
                ("Unsqueeze", "heads last_axis", "places"),
                ("GatherND", "words places", "of_heads", {"batch_dims": 1}),
                ("Greater", "labels silence", "spoken"),
                ("Cast", "spoken", "volume", {"to": real}),
                ("Unsqueeze", "volume last_axis", "volume_column"),
                ("Mul", "of_heads volume_column", "heard"),
                ("Mul", "heard share", "message"),
                ("Add", "words message", "both"),
                ("Cast", "word_mask", "mask", {"to": real}),
                ("Unsqueeze", "mask last_axis", "mask_column"),
                ("Mul", "both mask_column", "nodes"),
            ],
        ),
        "entities": _model(
            {"nodes": (real, states), "word_mask": word_mask},
            {"entity_logits": ["batch", "words", 2, 4]},
            {
                "one_word": np.stack([none, 4 * PERSON, 4 * PLACE, none], 1),
                "first_of_two": np.stack([none, none, none, 8 * PLACE], 1),
                "second_of_two": np.stack([none, none, none, 8 * NUMBER], 1),
                "one_bias": np.float32([0, -2, -2, NEVER]),
                "two_bias": np.float32([0, NEVER, NEVER, -13]),
                "word_axis": [1],
                "one": [1],
                "end": [1 << 40],
                "one_after": [0, 1],
                "width_axis": [2],
            },
            [
                ("MatMul", "nodes one_word", "one_scores"),
                ("Add", "one_scores one_bias", "one_logits"),
                ("Pad", "nodes one_after  word_axis", "longer"),
                ("Slice", "longer one end word_axis", "next"),
                ("MatMul", "nodes first_of_two", "first"),
                ("MatMul", "next second_of_two", "second"),
                ("Add", "first second", "two_scores"),
                ("Add", "two_scores two_bias", "two_logits"),
                ("Unsqueeze", "one_logits width_axis", "one_row"),
                ("Unsqueeze", "two_logits width_axis", "two_row"),
                ("Concat", "one_row two_row", "entity_logits", {"axis": 2}),
            ],
        ),
        "relations": _model(
            {
                "nodes": (real, states),
                "word_mask": word_mask,
                "spans": (integer, ["spans", 3]),
                "pairs": (integer, ["pairs", 2]),
            },
            {"relation_logits": ["pairs", 2], "triggers": ["pairs", "words"]},
            {
                "of_head": np.stack([4 * PERSON, 4 * PERSON], 1),
                "of_tail": np.stack([4 * PLACE, 4 * PERSON], 1),
                "bias": np.float32(-7),
                "verb": VERB,
                "sentence_and_first": [0, 1],
                "zero": 0,
                "one": 1,
            },
            [
                ("Gather", "spans sentence_and_first", "first_words", {"axis": 1}),
                ("GatherND", "nodes first_words", "pooled"),
                ("MatMul", "pooled of_head", "head_scores"),
                ("MatMul", "pooled of_tail", "tail_scores"),
                ("Gather", "pairs zero", "head", {"axis": 1}),
                ("Gather", "pairs one", "tail", {"axis": 1}),
                ("Gather", "head_scores head", "from_head"),
                ("Gather", "tail_scores tail", "from_tail"),
                ("Add", "from_head from_tail", "both"),
                ("Add", "both bias", "relation_logits"),
                ("Gather", "spans zero", "sentence", {"axis": 1}),
                ("Gather", "sentence head", "of_pair"),
                ("MatMul", "nodes verb", "weights"),
                ("Cast", "word_mask", "mask", {"to": real}),
                ("Mul", "weights mask", "masked"),
                ("Gather", "masked of_pair", "triggers"),
            ],
        ),
    }


def parsing_encoder() -> bytes:
    """The tiny encoder with the arcs of ``ChainParser`` among its outputs."""
    model = onnx.load_from_string(subgraphs()["encoder"])
    graph = model.graph
    for name in ARCS:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "words"]))
    constants = {"no_place": 0, "one_place": 1, "no_axis": [0]}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    for operator, names, output, *rest in [
        ("Shape", "pieces", "rows", {"start": 0, "end": 2}),
        ("Shape", "pieces", "count", {"start": 1, "end": 2}),
        ("Squeeze", "count no_axis", "length"),
        ("Range", "no_place length one_place", "order"),
        ("Sub", "order one_place", "before"),
        ("Max", "before no_place", "chain"),
        ("Min", "order one_place", "names"),
        ("Expand", "chain rows", "heads"),
        ("Expand", "names rows", "labels"),
    ]:
        graph.node.append(helper.make_node(operator, names.split(" "), [output], **(rest[0] if rest else {})))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def write_bundle(folder: Path, parsing: bool = False) -> Path:
    """Write the tiny bundle into a new folder; with ``parsing`` one whose encoder gives the arcs."""
    folder.mkdir()
    for name, content in (subgraphs() | ({"encoder": parsing_encoder()} if parsing else {})).items():
        (folder / f"{name}.onnx").write_bytes(content)
    (folder / "tokenizer.json").write_text(bert_like().to_str())
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        created_by="a test",
        labels=LABELS,
        sizes=Sizes(hidden=4, max_span=2, max_subwords=80, max_words=24),
        decoding=Decoding(relation_threshold=0.5, overlap=False),
        parser=ParserInfo(name="chain", source="encoder" if parsing else "spacy"),
        encoder="tiny",
        precision="fp32",
        opset=18,
        licence="CC0-1.0",
        provenance={},
        parity={},
        files={path.name: file_entry(path) for path in sorted(folder.iterdir())},
    )
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder


def file_entry(path: Path) -> FileRecord:
    """What a manifest says of a file."""
    content = path.read_bytes()
    return FileRecord(size=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle's folder, which no test may change."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def parsing_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, which parses by itself as ``ChainParser`` does."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "parsing", parsing=True)


@pytest.fixture
def own_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle to damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "own"))


@pytest.fixture
def edit_manifest(own_bundle: Path) -> Callable[[Callable[[Any], object]], None]:
    """Change the manifest of ``own_bundle``, given as JSON values."""

    def edit(change: Callable[[Any], object]) -> None:
        path = own_bundle / "manifest.json"
        content = json.loads(path.read_bytes())
        change(content)
        path.write_text(json.dumps(content))

    return edit


@pytest.fixture(scope="session")
def chain_parser() -> ChainParser:
    return ChainParser()


@pytest.fixture(scope="session")
def word_pieces() -> Tokenizer:
    """The tokenizer of the tiny bundle: single characters, cased; other characters are unknown."""
    return bert_like()

"""A tiny but whole bundle, made without torch, whose answers can be worked out by eye.

Letters decide: a word with one of A to M is a Person, with one of N to Z (or that the tokenizer cannot read) a Place; a
Place and a word with a digit after it are an Address. Every Person ``lives_in`` every Place and Address of the sentence
and ``knows`` every other Person. Lower-case letters are trigger weights, z the most.
"""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from trimf.runtime.labels import Labels
from trimf.runtime.parser import Parse

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CHARACTERS = [chr(code) for code in range(33, 127)]
VOCABULARY = [*SPECIALS, *CHARACTERS, *("##" + character for character in CHARACTERS)]

LABELS = Labels(("Person", "Place", "Address"), ("lives_in", "knows"), ("chain",), ("knows",))
PERSON, PLACE, NUMBER, VERB = np.eye(4, dtype=np.float32)
NEVER = -100.0


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
        helper.make_node(operator, names.split(), [output], **(rest[0] if rest else {}))
        for operator, names, output, *rest in nodes
    ]
    graph = helper.make_graph(
        made,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def subgraphs() -> dict[str, bytes]:
    whole, real, mask = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
    ids = (whole, ["batch", "subwords"])
    words = ["batch", "words", 4]
    word = (whole, ["batch", "words"])
    word_mask = (mask, ["batch", "words"])
    none = np.zeros(4)
    one = np.float32([none, 4 * PERSON, 4 * PLACE, none]).T
    first = np.float32([none, none, none, 8 * PLACE]).T
    second = np.float32([none, none, none, 8 * NUMBER]).T
    return {
        "encoder": _model(
            {"input_ids": ids, "attention_mask": ids, "pieces": (whole, ["batch", "words", "pieces"])},
            {"words": words, "cls": ["batch", 4]},
            {"table": embeddings(), "last": [-1], "zero": np.int64(0)},
            [
                ("Gather", "table input_ids", "raw"),
                ("Cast", "attention_mask", "seen", {"to": real}),
                ("Unsqueeze", "seen last", "seen_column"),
                ("Mul", "raw seen_column", "states"),
                ("Unsqueeze", "pieces last", "places"),
                ("GatherND", "states places", "gathered", {"batch_dims": 1}),
                ("ReduceMax", "gathered axis", "words", {"keepdims": 0}),
                ("Gather", "states zero", "cls", {"axis": 1}),
            ][:6]
            + [
                ("ReduceMax", "gathered two", "words", {"keepdims": 0}),
                ("Gather", "states zero", "cls", {"axis": 1}),
            ],
        ),
    }

"""Random encoders of three families with their tokenizers, made once for all processes of a test run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

FAMILIES = ("bert", "mpnet", "roberta")


PEOPLE = ("Alice", "Bob", "Carol", "Dave")
PLACES = ("Paris", "Rome", "Oslo", "New York")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _save(encoder: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _wordpiece(specials: dict[str, str]) -> Tokenizer:
    """Lower-cased whole words of the data set, and letters for the rest; ``specials`` maps roles to tokens."""
    names = [specials[role] for role in ("bos", "pad", "eos", "unk", "mask")]
    words = sorted({part.lower() for name in PEOPLE + PLACES for part in name.split()} | {"lives", "in", "knows", "."})
    pieces = [*names, *words, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({piece: k for k, piece in enumerate(pieces)}, unk_token=specials["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{specials['bos']} $A {specials['eos']}",
        special_tokens=[(specials[role], tokenizer.token_to_id(specials[role])) for role in ("bos", "eos")],
    )
    return tokenizer


def _byte_level() -> Tokenizer:
    """Bytes, a few merges, and the special tokens of RoBERTa in their places."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("i", "n"), ("Ġ", "in"), ("Ġ", "l"), ("o", "w")]
    pieces = [*names, *symbols, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({piece: k for k, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    return tokenizer


def _fast(tokenizer: Tokenizer, specials: dict[str, str]) -> PreTrainedTokenizerFast:
    roles = {f"{role}_token": token for role, token in specials.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=specials["bos"], sep_token=specials["eos"], **roles
    )


Make = Callable[[Path], None]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Make], Path]:
    """A folder, by its name, that is filled by the first process of this test run that asks for it."""
    mine = tmp_path_factory.getbasetemp()
    root = (mine if worker_id == "master" else mine.parent) / "once"
    root.mkdir(exist_ok=True)

    def folder(name: str, make: Make) -> Path:
        made = root / name
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                making = root / f"{name}.making"
                making.mkdir(exist_ok=True)
                make(making)
                making.rename(made)
        return made

    return folder


@pytest.fixture(scope="session")
def encoders(once: Callable[[str, Make], Path]) -> dict[str, str]:
    """Folders with a random encoder and its tokenizer, by family."""
    root = once("encoders", _make_encoders)
    return {family: str(root / family) for family in FAMILIES}


def _make_encoders(root: Path) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    bert = {"bos": "[CLS]", "eos": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
    other = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    wordpiece, mpnet, byte_level = _wordpiece(bert), _wordpiece(other), _byte_level()
    torch.manual_seed(1)
    _save(
        BertModel(BertConfig(vocab_size=wordpiece.get_vocab_size(), max_position_embeddings=40, **shape)),
        _fast(wordpiece, bert),
        root / "bert",
    )
    _save(
        MPNetModel(MPNetConfig(vocab_size=mpnet.get_vocab_size(), max_position_embeddings=42, pad_token_id=1, **shape)),
        _fast(mpnet, other),
        root / "mpnet",
    )
    _save(
        RobertaModel(
            RobertaConfig(
                vocab_size=byte_level.get_vocab_size(),
                max_position_embeddings=66,
                pad_token_id=1,
                bos_token_id=0,
                eos_token_id=2,
                type_vocab_size=1,
                **shape,
            )
        ),
        _fast(byte_level, other),
        root / "roberta",
    )

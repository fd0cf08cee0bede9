"""Hugging Face encoders by name, by folder, or from inside an installed Python package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer

from trimf.runtime.errors import ConfigError
from trimf.runtime.subwords import CASE, CASES


def locate(name: str) -> str:
    """The folder or model name behind a configured one; ``module:folder`` points into an installed package.

    Raises:
        ConfigError: the package is not installed or has no such folder.
    """
    module, separator, folder = name.partition(":")
    if not separator or Path(name).exists():
        return name
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"encoder {name!r}: the Python package {module!r} is not installed; install it or name another encoder"
        )
    path = Path(spec.origin).parent / folder
    if not (path / "config.json").is_file():
        raise ConfigError(f"encoder {name!r}: {module} holds no folder {folder!r} with a config.json")
    return str(path)


class CasedEmbedding(nn.Embedding):
    """The embeddings of subwords ``[V,H]``, and those of the letter case above their numbers ``[CASES,H]``.

    Takes the place of an encoder's own, and is the same function as that until the cases have learnt something.
    """

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__(
            words.num_embeddings, words.embedding_dim, words.padding_idx, dtype=words.weight.dtype, _weight=words.weight
        )
        self.casing = nn.Parameter(torch.zeros(CASES, words.embedding_dim, dtype=words.weight.dtype))

    def forward(self, numbers: Tensor) -> Tensor:
        """Numbers of subwords, as :class:`~trimf.runtime.subwords.Subwords` has them, to embeddings."""
        case = torch.div(numbers, CASE, rounding_mode="trunc")
        return super().forward(numbers - case * CASE) + functional.embedding(case, self.casing)


def load_encoder(name: str, dropout: float | None = None, casing: bool = False) -> nn.Module:
    """The pretrained encoder, without its pooler; with ``casing`` it reads letter case.

    Raises:
        ConfigError: no such model here, or it is no encoder.
    """
    changes = {} if dropout is None else {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    try:
        encoder = AutoModel.from_pretrained(locate(name), trust_remote_code=False, **changes)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"encoder {name!r} cannot be loaded: {_first_line(error)}") from error
    return _finished(encoder, casing)


def build_encoder(folder: Path, casing: bool = False) -> nn.Module:
    """An untrained encoder of the shape described by ``folder``/config.json; weights come from a checkpoint."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return _finished(AutoModel.from_config(config, trust_remote_code=False), casing)


def load_tokenizer(name: str) -> Any:
    """The encoder's fast tokenizer, set up for lists of words.

    Raises:
        ConfigError: there is none, or only a slow one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            locate(name), use_fast=True, add_prefix_space=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"tokenizer of {name!r} cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"encoder {name!r} has no fast tokenizer (tokenizer.json); TriMF needs one to serve without it"
        )
    return tokenizer


def max_positions(encoder: nn.Module) -> int:
    """How many subwords the encoder can place; families that start counting after the padding token have fewer."""
    config: Any = encoder.config
    positions = int(getattr(config, "max_position_embeddings", 0)) or 512
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def _finished(encoder: Any, casing: bool) -> nn.Module:
    """Without a pooler, and in float32 whatever the type it was stored in."""
    if hasattr(encoder, "pooler"):
        encoder.pooler = None
    encoder = encoder.float()
    if casing:
        encoder.set_input_embeddings(CasedEmbedding(encoder.get_input_embeddings()))
    return encoder


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

"""Load Hugging Face encoders by name, by folder, or from inside an installed Python package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from trimf.runtime.errors import ConfigError
from trimf.runtime.text.subwords import CASE_COUNT, CASE_MULTIPLIER


def resolve_encoder(name: str) -> str:
    """Resolve a configured encoder name to a model name or folder.

    Args:
        name: A Hugging Face model name, a folder, or ``module:folder`` for a folder inside an installed Python
            package.

    Returns:
        The path of the folder for ``module:folder``, otherwise ``name`` unchanged.

    Raises:
        ConfigError: The package is not installed or has no such folder.
    """
    module, separator, folder = name.partition(":")
    if not separator or Path(name).exists():
        return name
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"encoder {name!r}: the Python package {module!r} is not installed; install it or choose another encoder"
        )
    path = Path(spec.origin).parent / folder
    if not (path / "config.json").is_file():
        raise ConfigError(f"encoder {name!r}: the package {module!r} has no folder {folder!r} with a config.json")
    return str(path)


class CasedEmbedding(nn.Embedding):
    """Sum of a subword embedding ``[V, H]`` and a letter-case embedding ``[CASES, H]``.

    It replaces the input embedding of an encoder. The case embedding starts at zero, so the encoder initially computes
    the same function as before.

    Args:
        words: The input embedding of the encoder, whose weights are shared.
    """

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__(
            words.num_embeddings, words.embedding_dim, words.padding_idx, dtype=words.weight.dtype, _weight=words.weight
        )
        self.casing = nn.Parameter(torch.zeros(CASE_COUNT, words.embedding_dim, dtype=words.weight.dtype))

    def forward(self, ids: Tensor) -> Tensor:
        """Embed subwords with their letter case.

        Args:
            ids: Subword IDs that also encode the letter case, as in ``trimf.runtime.text.subwords.Subwords``.

        Returns:
            Embeddings of shape ``[..., H]``.
        """
        case = torch.div(ids, CASE_MULTIPLIER, rounding_mode="trunc")
        return super().forward(ids - case * CASE_MULTIPLIER) + functional.embedding(case, self.casing)


def load_encoder(name: str, dropout: float | None = None, casing: bool = False) -> PreTrainedModel:
    """Load a pretrained encoder without its pooler, in float32.

    Args:
        name: The configured name, see ``resolve_encoder``.
        dropout: Hidden and attention dropout; None keeps the values of the pretrained configuration.
        casing: Add an embedding of letter case to the subword embeddings.

    Returns:
        The encoder.

    Raises:
        ConfigError: The model is not available, or it is not an encoder.
    """
    changes = {} if dropout is None else {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    try:
        encoder = AutoModel.from_pretrained(resolve_encoder(name), trust_remote_code=False, **changes)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"encoder {name!r} cannot be loaded: {_first_line(error)}") from error
    return _adapt_encoder(encoder, casing)


def build_encoder(folder: Path, casing: bool = False) -> PreTrainedModel:
    """Build an untrained encoder, whose weights are then loaded from a checkpoint.

    Args:
        folder: A folder with the ``config.json`` of the encoder.
        casing: Add an embedding of letter case to the subword embeddings.

    Returns:
        The encoder.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return _adapt_encoder(AutoModel.from_config(config, trust_remote_code=False), casing)


def load_tokenizer(name: str) -> Any:
    """Load the fast tokenizer of an encoder, configured for lists of words.

    Args:
        name: The configured name, see ``resolve_encoder``.

    Returns:
        The Hugging Face tokenizer.

    Raises:
        ConfigError: The tokenizer cannot be loaded, or there is only a slow tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            resolve_encoder(name), use_fast=True, add_prefix_space=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"tokenizer of {name!r} cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"encoder {name!r} has no fast tokenizer (tokenizer.json), which bundles need; choose another encoder"
        )
    return tokenizer


def max_subword_count(encoder: PreTrainedModel) -> int:
    """Return the maximum number of subwords per sequence.

    It is smaller than the position table for encoder families (such as RoBERTa) whose positions start after the
    padding ID.
    """
    config: Any = encoder.config
    positions = int(getattr(config, "max_position_embeddings", 0)) or 512
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def _adapt_encoder(encoder: PreTrainedModel, casing: bool) -> PreTrainedModel:
    """Remove the pooler, convert to float32 and add the letter-case embedding if requested."""
    if hasattr(encoder, "pooler"):
        setattr(encoder, "pooler", None)  # noqa: B010, the attribute is not declared
    encoder = encoder.float()
    if casing:
        embedding = encoder.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding), "every supported encoder looks its subwords up in a table"
        encoder.set_input_embeddings(CasedEmbedding(embedding))
    return encoder


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

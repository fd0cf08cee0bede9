"""Load Hugging Face encoders by name, by folder, or from inside an installed Python package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel

from trimf.runtime.engine.contract import CASE_MULTIPLIER
from trimf.runtime.errors import ConfigError
from trimf.runtime.text.subwords import CASE_COUNT
from trimf_train.model.encoder_check import VERIFIED_FAMILIES, check_architecture, check_encoder

#: Maximum number of subwords for encoders whose positions have no limit.
DEFAULT_POSITIONS = 512

#: Names that the configurations of encoder families have for the dropout of hidden states and of attention.
DROPOUT_SETTINGS = (
    "activation_dropout",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "dropout",
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "mlp_dropout",
    "resid_pdrop",
)


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
        ConfigError: The model is not available, it has no dropout to set, its subword embeddings cannot get a letter
            case, or it is of a kind that cannot be trained or exported, see ``check_encoder``.
    """
    path = resolve_encoder(name)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        check_architecture(config, name)
        if dropout is not None:
            _set_dropout(config, dropout, name)
        encoder = AutoModel.from_pretrained(path, config=config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"encoder {name!r} cannot be loaded: {_first_line(error)}") from error
    encoder = _adapt_encoder(encoder, casing, name)
    if config.model_type not in VERIFIED_FAMILIES:
        check_encoder(encoder, name, max_subword_count(encoder))
    return encoder


def build_encoder(folder: Path, casing: bool = False) -> PreTrainedModel:
    """Build an untrained encoder, whose weights are then loaded from a checkpoint.

    Args:
        folder: A folder with the ``config.json`` of the encoder.
        casing: Add an embedding of letter case to the subword embeddings.

    Returns:
        The encoder.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return _adapt_encoder(AutoModel.from_config(config, trust_remote_code=False), casing, str(folder))


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
    padding ID. It is ``DEFAULT_POSITIONS`` for families without a limit.
    """
    config: Any = encoder.config
    positions = getattr(config, "max_position_embeddings", None) or 0
    if positions <= 0:  # XLNet has -1, others nothing: their positions are relative and have no limit
        return DEFAULT_POSITIONS
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return int(positions) if padding is None else int(positions) - padding - 1


def _set_dropout(config: PretrainedConfig, dropout: float, name: str) -> None:
    """Set the dropout of all layers in a configuration, by whatever names its family has for it."""
    settings = [setting for setting in DROPOUT_SETTINGS if setting in config.to_dict()]
    if not settings:
        raise ConfigError(
            f"encoder {name!r}: the family {config.model_type} has no dropout to set; remove model.encoder.dropout"
        )
    for setting in settings:
        setattr(config, setting, dropout)


def _adapt_encoder(encoder: PreTrainedModel, casing: bool, name: str) -> PreTrainedModel:
    """Remove the pooler, convert to float32 and add the letter-case embedding if requested."""
    if hasattr(encoder, "pooler"):
        setattr(encoder, "pooler", None)  # noqa: B010, the attribute is not declared
    encoder = encoder.float()
    if casing:
        try:
            embedding = encoder.get_input_embeddings()
        except NotImplementedError:
            embedding = None
        if type(embedding) is not nn.Embedding:  # a subclass computes more than a table does
            raise ConfigError(
                f"encoder {name!r}: its subword embedding is no plain table, which model.encoder.casing needs; "
                "set model.encoder.casing = false"
            )
        encoder.set_input_embeddings(CasedEmbedding(embedding))
    return encoder


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

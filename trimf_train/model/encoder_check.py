"""Check, before any training, that an encoder of an unknown family can be trained and exported."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from trimf.runtime.errors import ConfigError

#: Families (``model_type``) whose encoders are known to pass ``check_encoder`` and to have an ONNX form. They are not
#: checked again, which saves some seconds.
VERIFIED_FAMILIES = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "deberta-v2",
        "distilbert",
        "electra",
        "modernbert",
        "mpnet",
        "roberta",
        "xlm-roberta",
    }
)

#: PyTorch operators whose ONNX form bundles do not allow, as it has data-dependent sizes or control flow.
_FORBIDDEN_OPERATORS = ("aten.nonzero", "aten._unique", "aten.unique", "aten.masked_select", "cond", "while_loop")

#: Families that can be traced, but whose trace has no ONNX form.
_UNCONVERTIBLE_FAMILIES = frozenset({"xlnet"})

#: Largest difference of a state that padding may make, relative to the root mean square of the states.
_TOLERANCE = 1e-3

#: Longest sequence that is tried.
_MAX_TRIED = 512


def check_architecture(config: PretrainedConfig, name: str) -> None:
    """Refuse configurations of models that are no encoders, before their weights are loaded.

    Args:
        config: The configuration.
        name: Name of the encoder in error messages.

    Raises:
        ConfigError: The model has an encoder and a decoder, or has no hidden size.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise _refuse(
            name, f"the family {config.model_type} has an encoder and a decoder; TriMF needs an encoder alone"
        )
    if config.model_type in _UNCONVERTIBLE_FAMILIES:
        raise _refuse(name, f"the family {config.model_type} cannot be exported to ONNX")
    if not isinstance(getattr(config, "hidden_size", None), int):
        raise _refuse(name, f"the family {config.model_type} has no single hidden size; it is no encoder of text")


def check_encoder(encoder: PreTrainedModel, name: str, max_subwords: int) -> None:
    """Run and trace an encoder once on random subwords.

    Args:
        encoder: The encoder; its weights and its mode stay as they are.
        name: Name of the encoder in error messages.
        max_subwords: Longest sequence that the encoder accepts.

    Raises:
        ConfigError: The encoder does not accept subwords and a mask of any length up to ``max_subwords``, its output
            does not have one state per subword or depends on padding, or it cannot be exported.
    """
    training = encoder.training
    encoder.eval()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _check_states(encoder, name, max_subwords)
            _check_export(encoder, name)
        finally:
            encoder.train(training)


@torch.no_grad()
def _check_states(encoder: PreTrainedModel, name: str, max_subwords: int) -> None:
    """Check the shape of the states, that padding does not change them, and the longest sequence."""
    config: Any = encoder.config
    ids, mask = _random_subwords(encoder, 2, 13)
    mask[1, 7:] = 0
    states = _run(encoder, name, ids, mask)
    if states.shape != (2, 13, config.hidden_size):
        raise _refuse(
            name, f"it gives states {list(states.shape)} for subwords [2, 13], not [2, 13, {config.hidden_size}]"
        )
    alone = _run(encoder, name, ids[1:, :7], mask[1:, :7])
    difference = float((states[1, :7] - alone[0]).abs().max() / alone.square().mean().sqrt())
    if not difference <= _TOLERANCE:
        raise _refuse(
            name,
            f"the family {config.model_type} gives other states beside a longer sentence, by {difference:.2g} of "
            "their size, so that results would depend on the batch",
        )
    longest = min(max_subwords, _MAX_TRIED)
    _run(encoder, name, *_random_subwords(encoder, 1, longest))


def _run(encoder: PreTrainedModel, name: str, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the last hidden states ``[B, T, H]``."""
    try:
        states: Tensor = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    except Exception as error:  # a foreign model fails with any type of error
        raise _refuse(name, f"it cannot run on subwords {list(ids.shape)}: {_describe(error)}") from error
    return states


def _check_export(encoder: PreTrainedModel, name: str) -> None:
    """Trace the encoder with dynamic shapes, as ``trimf export`` does."""
    ids, mask = _random_subwords(encoder, 3, 17)
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    dynamic = {"input_ids": axes, "attention_mask": axes}
    attention = encoder.config._attn_implementation
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        encoder.set_attn_implementation("eager")
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):  # it prints graphs
            program = torch.export.export(
                encoder, (), {"input_ids": ids, "attention_mask": mask}, dynamic_shapes=dynamic, strict=False
            )
    except Exception as error:  # as above
        raise _refuse(name, f"the family {encoder.config.model_type} cannot be exported: {_describe(error)}") from error
    finally:
        logger.setLevel(level)
        encoder.set_attn_implementation(attention)
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    if forbidden := sorted(target for target in called if target.startswith(_FORBIDDEN_OPERATORS)):
        raise _refuse(
            name,
            f"the family {encoder.config.model_type} cannot be exported: it uses {', '.join(forbidden)}, "
            "which bundles do not allow",
        )


def _random_subwords(encoder: PreTrainedModel, size: int, length: int) -> tuple[Tensor, Tensor]:
    """Return random subword IDs, which avoid the usual special tokens, and a mask of ones, both ``[size, length]``."""
    vocabulary = int(getattr(encoder.config, "vocab_size", 0) or 0)
    if vocabulary < 8:
        vocabulary = 8
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(min(5, vocabulary - 1), min(vocabulary, 1000), (size, length), generator=generator)
    return ids, torch.ones_like(ids)


def _refuse(name: str, reason: str) -> ConfigError:
    return ConfigError(f"encoder {name!r}: {reason}; choose another encoder")


def _describe(error: Exception) -> str:
    """Return the type and the first line of a foreign error."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:200]

"""Encoders of other families: they work, or are refused before training by one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModel

from trimf.runtime.errors import ConfigError
from trimf_train.model.encoder import DEFAULT_POSITIONS, load_encoder, max_subword_count
from trimf_train.model.encoder_check import check_encoder

SHAPE = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
XL = {"vocab_size": 200, "d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 32}
DISTIL = {"vocab_size": 200, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
LONG = {**SHAPE, "max_position_embeddings": 130, "attention_window": [16], "pad_token_id": 1}


def save(folder: Path, family: str, **values: Any) -> str:
    torch.manual_seed(0)
    AutoModel.from_config(getattr(transformers, f"{family}Config")(**values)).save_pretrained(folder)
    return str(folder)


def dropout_rates(encoder: Any) -> set[float]:
    return {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)}


def test_dropout_of_a_family_with_other_names(tmp_path: Path) -> None:
    encoder = load_encoder(save(tmp_path / "e", "DistilBert", **DISTIL), 0.25)
    assert dropout_rates(encoder) == {0.25}
    assert encoder.config.attention_dropout == 0.25


@pytest.mark.slow
@pytest.mark.parametrize("family", ["DistilBert", "Electra", "Albert", "Ernie"])
def test_a_family_that_works_passes_the_check(tmp_path: Path, family: str) -> None:
    values = DISTIL if family == "DistilBert" else SHAPE
    encoder = load_encoder(save(tmp_path / "e", family, **values))
    before = (encoder.training, encoder.config._attn_implementation)
    check_encoder(encoder, "e", max_subword_count(encoder))
    assert (encoder.training, encoder.config._attn_implementation) == before


@pytest.mark.parametrize(
    ("family", "values", "reason"),
    [
        ("T5", {"vocab_size": 200, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}, "a decoder"),
        ("XLNet", XL, "cannot be exported"),
        ("Longformer", LONG, "cannot be exported"),
        ("ConvBert", {**SHAPE, "embedding_size": 32, "num_attention_heads": 4}, "depend on the batch"),
        ("FNet", {key: value for key, value in SHAPE.items() if key != "num_attention_heads"}, "FNet|fnet|cannot run"),
    ],
)
def test_a_family_that_cannot_work_is_refused_by_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], family: str, values: dict[str, Any], reason: str
) -> None:
    name = save(tmp_path / "e", family, **values)
    capfd.readouterr()
    with pytest.raises(ConfigError, match=reason) as caught:
        load_encoder(name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert "def forward" not in "".join(capfd.readouterr())


def test_positions_without_a_limit() -> None:
    class Relative:
        config = transformers.XLNetConfig(**XL)

    assert max_subword_count(Relative()) == DEFAULT_POSITIONS  # type: ignore[arg-type]

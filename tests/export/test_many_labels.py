"""Models with many label types: the size of their states, and their export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from trimf.export import parity_limits
from trimf.export.exporter import export_checkpoint
from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.pipeline_loading import open_pipeline
from trimf.runtime.text.parser import Parse
from trimf_train.config import DecodeConfig, EncoderConfig, FlowConfig, ModelConfig
from trimf_train.model.checkpoint import Checkpoint, create_checkpoint
from trimf_train.model.torch_backend import build_pipeline

#: Largest number of fp16.
FP16_MAX = 65504


def make(encoders: dict[str, str], count: int, slots: str) -> Checkpoint:
    """An untrained model with as many entity types as relation types."""
    labels = Labels(tuple(f"E{k}" for k in range(count)), tuple(f"R{k}" for k in range(count)), ("dobj", "nsubj"))
    config = ModelConfig(
        encoder=EncoderConfig(name=encoders["bert"]),
        flow=FlowConfig(residual="add", slots=slots),  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    return create_checkpoint(labels, config, DecodeConfig(overlap=False), ParserInfo(name="en_core_web_sm"), {})


def largest_state(pipeline: Any, words: list[str]) -> float:
    arcs = [Parse([0] * len(words), ["ROOT"] + ["dobj"] * (len(words) - 1))]
    return float(np.abs(np.asarray(pipeline.encode_sentences(pipeline.tokenizer.encode([words]), arcs)["words"])).max())


@pytest.mark.parametrize("words", [["Rome"], ["Alice", "lives", "in", "Rome", "."]])
def test_states_are_of_one_size_however_many_types_there_are(encoders: dict[str, str], words: list[str]) -> None:
    sizes = {count: largest_state(build_pipeline(make(encoders, count, "mean")), words) for count in (1, 30, 400)}
    assert max(sizes.values()) < 1.1 * min(sizes.values())
    # The sum of the slots, which earlier versions took, has no such limit.
    assert largest_state(build_pipeline(make(encoders, 400, "sum")), ["Rome"]) > FP16_MAX


@pytest.mark.slow
@pytest.mark.parametrize(("slots", "precision"), [("mean", "fp32"), ("mean", "fp16"), ("sum", "fp32")])
def test_a_model_with_many_types_is_exported(
    encoders: dict[str, str], tmp_path: Path, slots: str, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "fp16":  # an untrained model is full of near ties; its errors must be as small as any model's
        limits = msgspec.structs.replace(
            parity_limits.LIMITS[precision], min_identical=0.0, min_entity_agreement=0.0, min_relation_agreement=0.0
        )
        monkeypatch.setitem(parity_limits.LIMITS, precision, limits)
    made = make(encoders, 100, slots)
    made.save(tmp_path / "best")
    export_checkpoint(tmp_path / "best", tmp_path / "bundle", precision=precision)
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.manifest.precision == precision
    if precision == "fp32":
        words = ["Alice", "knows", "Bob"]
        pipelines = (open_pipeline(bundle, OnnxCpuBackend(1)), build_pipeline(made))
        np.testing.assert_allclose(*(largest_state(one, words) for one in pipelines), rtol=1e-4)

"""Damaged graphs fail, with near ties and without them; rounding fails nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from msgspec import UNSET
from onnx import numpy_helper

from trimf.export import near_ties
from trimf.export.parity import compare_pipelines
from trimf.export.parity_limits import find_exceeded_limits
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.pipeline import Pipeline
from trimf_train.data.sentence import Sentence
from trimf_train.model.torch_backend import build_pipeline

Models = dict[str, onnx.ModelProto]


def change_weights(models: Models, names: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray]) -> Models:
    """The models with every matrix of some of them changed."""
    changed = dict(models)
    for name in names:
        changed[name] = onnx.ModelProto()
        changed[name].CopyFrom(models[name])
        for weight in changed[name].graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.ndim == 2 and values.dtype == np.float32:
                weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(values)), weight.name))
    return changed


def round_to_bits(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        step = np.abs(values).max() / (2 ** (bits - 1) - 1) or 1.0
        return (np.round(values / step) * step).astype(np.float32)

    return change


def open_models(models: Models, like: Pipeline) -> Pipeline:
    backend = OnnxCpuBackend(threads=1)
    graphs = {name: backend.load(name, model.SerializeToString()) for name, model in models.items()}
    return Pipeline(graphs, like.tokenizer, like.settings)


DAMAGES = {
    "3 bits": lambda models: change_weights(models, tuple(models), round_to_bits(3)),
    "swapped columns": lambda models: change_weights(models, ("entities",), lambda values: np.roll(values, 1, 1)),
    "zeroed relations": lambda models: change_weights(models, ("relations",), np.zeros_like),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ties", [True, False])
def test_a_damaged_graph_fails(
    tiny_checkpoint: Any, traced: Any, sentences: list[Sentence], damage: str, ties: bool, monkeypatch: Any
) -> None:
    if not ties:
        for precision in near_ties.MAX_TIE_MARGINS:
            monkeypatch.setitem(near_ties.MAX_TIE_MARGINS, precision, 0.0)
    reference = build_pipeline(tiny_checkpoint)
    damaged = open_models(DAMAGES[damage](traced("bert")), reference)
    for precision in ("fp16", "int8"):
        report = compare_pipelines(
            reference, damaged, tiny_checkpoint.description.labels, sentences, precision=precision
        )
        exceeded = {limit.subject for limit in find_exceeded_limits(report, precision)}
        assert exceeded
        if damage == "3 bits":  # which changes no result of a model this small
            continue
        # The extractions alone show it, too, as they have to where a backend keeps the outputs.
        report = msgspec.structs.replace(report, subgraphs={}, arcs=UNSET)
        assert find_exceeded_limits(report, precision)


def test_small_errors_do_not_fail(tiny_checkpoint: Any, traced: Any, sentences: list[Sentence]) -> None:
    reference = build_pipeline(tiny_checkpoint)
    rounded = change_weights(
        traced("bert"), tuple(traced("bert")), lambda values: values.astype(np.float16).astype(np.float32)
    )
    report = compare_pipelines(
        reference, open_models(rounded, reference), tiny_checkpoint.description.labels, sentences, precision="fp16"
    )
    assert find_exceeded_limits(report, "fp16") == []

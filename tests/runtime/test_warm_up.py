"""Warming up a model: nothing new happens at the first call, and results stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import trimf
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import onnx_device, onnx_gpu_backend
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.engine.onnx_gpu_backend import OnnxGpuBackend
from trimf.runtime.engine.onnx_providers import PROVIDERS, Provider
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline
from trimf.runtime.warm_up import warm_up_pipeline

CAPTURED = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0), uses_cuda_graphs=True)
WORDS = ["Ann", "b", "C3", "x", ",", "9", "Bob", "Q", "met", "Rome"]


@pytest.fixture
def captured(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The tiny bundle on the CPU, as on a GPU that captures graphs."""
    monkeypatch.setitem(PROVIDERS, "captured", CAPTURED)
    monkeypatch.setattr(onnx_gpu_backend, "CUDA_GRAPHS_SINCE", (1, 0))
    pipeline = open_pipeline(Bundle(tiny_bundle), OnnxGpuBackend("captured"))
    for graph in pipeline.graphs.values():
        monkeypatch.setattr(graph, "_is_fused", True)  # the buckets of fused graphs
    return pipeline


class ChainParser:
    """Every word hangs on the one before it."""

    name = "chain"
    labels = ("ROOT", "chain")

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[trimf.Parse]:
        return [trimf.Parse([max(i - 1, 0) for i in range(len(words))], ["chain"] * len(words)) for words in sentences]


def load(bundle: Path, **options: Any) -> trimf.Extractor:
    return trimf.load(bundle, parser=ChainParser(), backend="cpu", **options)


def run(pipeline: Pipeline, sentences: list[list[str]]) -> str:
    return repr(pipeline.run_words(sentences, lambda: ChainParser().parse(sentences)))


def test_usual_sizes_are_captured_before_the_first_call(captured: Pipeline, tiny_bundle: Path) -> None:
    warm_up_pipeline(captured, (1, 4), 1, gpu=True)
    encoder: Any = captured.graphs["encoder"]
    known = set(encoder._states.get_current().calls)
    assert known
    assert all(call.is_checked for call in encoder._states.get_current().calls.values())
    plain = open_pipeline(Bundle(tiny_bundle), OnnxCpuBackend(1))
    for sentences in ([WORDS], [WORDS[:3]], [WORDS] * 4):
        assert run(captured, sentences) == run(plain, sentences)
    assert set(encoder._states.get_current().calls) == known


def test_each_worker_has_its_own_state(captured: Pipeline) -> None:
    warm_up_pipeline(captured, (1,), 3, gpu=True)
    assert len(captured.graphs["encoder"]._states._idle) == 3  # type: ignore[attr-defined]


def test_sizes_beyond_the_limit_are_not_captured(captured: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_device, "MAX_CAPTURED", 1)
    warm_up_pipeline(captured, (1,), 1, gpu=True)
    calls = captured.graphs["encoder"]._states.get_current().calls  # type: ignore[attr-defined]
    assert len(calls) > 2
    assert sum(call.graph_id > 0 for call in calls.values()) == 1


def test_a_loaded_model_is_warmed_up(tiny_bundle: Path) -> None:
    with load(tiny_bundle, warm=True) as extract, load(tiny_bundle) as cold:
        extract.warm_up(batch_size=2, workers=2)
        assert extract("Ann met Bob in Rome.") == cold("Ann met Bob in Rome.")
    with pytest.raises(trimf.BackendError, match="is closed and cannot be warmed up"):
        extract.warm_up()


@pytest.mark.parametrize("option", ["batch_size", "workers"])
def test_numbers_that_are_none(tiny_bundle: Path, option: str) -> None:
    with load(tiny_bundle) as extract, pytest.raises(trimf.InputError, match=f"{option} must be >= 1, got 0"):
        extract.warm_up(**{option: 0})
    with pytest.raises(trimf.InputError, match="warm must be True or False, got 1"):
        trimf.load(tiny_bundle, warm=1)  # type: ignore[arg-type]

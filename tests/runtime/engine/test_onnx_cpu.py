"""Subgraphs with ONNX Runtime on the CPU: how they run, close and multiply bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import onnx_cpu
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.engine.cpu_info import count_available_cores, has_saturating_int8_matmul
from trimf.runtime.errors import BackendError
from trimf.runtime.extractor import load
from trimf.runtime.text.parser import Parser


def test_the_backend_says_what_it_is(tiny_bundle: Path, chain_parser: Parser) -> None:
    assert open_backend("auto", None, Bundle(tiny_bundle)).name == "cpu"
    assert count_available_cores() >= 1
    with load(tiny_bundle, backend="cpu", threads=1, parser=chain_parser) as extract:
        assert extract.backend == "cpu"


def test_a_subgraph_runs_and_closes(tiny_bundle: Path) -> None:
    graph = open_backend("cpu", 1, Bundle(tiny_bundle)).open("fusion", Bundle(tiny_bundle))
    arrays = {
        "words": np.ones((1, 2, 4), np.float32),
        "cls": np.zeros((1, 4), np.float32),
        "word_mask": np.array([[True, False]]),
        "heads": np.zeros((1, 2), np.int64),
        "labels": np.zeros((1, 2), np.int64),
    }
    assert set(graph.inputs) == set(arrays)
    outputs = graph.run({**arrays, "more": "ignored"})
    assert {name: value.tolist() for name, value in outputs.items()} == {"nodes": [[[1.0] * 4, [0.0] * 4]]}
    graph.close()
    graph.close()
    with pytest.raises(BackendError, match=r"fusion\.onnx is closed"):
        graph.run(arrays)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags: avx2 avx512_vnni", False),
        ("AMD64", "flags: avx2 avx_vnni", False),
        ("x86_64", "flags: avx2", True),
        ("x86_64", None, True),
        ("aarch64", None, False),
    ],
)
def test_bytes_are_multiplied_exactly_everywhere(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str | None, expected: bool
) -> None:
    def read(path: Path) -> str:
        if flags is None:
            raise FileNotFoundError(path)
        return flags

    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", read)
    has_saturating_int8_matmul.cache_clear()
    try:
        assert has_saturating_int8_matmul() == expected
        entry = onnx_cpu.make_session_options(1).get_session_config_entry
        if expected:
            assert entry("session.x64quantprecision") == "1"
        else:
            with pytest.raises(RuntimeError):
                entry("session.x64quantprecision")
    finally:
        monkeypatch.undo()
        has_saturating_int8_matmul.cache_clear()


@pytest.mark.parametrize(
    ("quantization", "slow", "exact"),
    [
        ({}, True, True),
        ({"saturates": True}, True, True),
        ({"saturates": False}, True, False),
        ({"saturates": True}, False, False),
        (None, True, False),
    ],
)
def test_only_bundles_that_may_saturate_run_in_the_exact_mode(
    own_bundle: Path,
    edit_manifest: Callable[[Callable[[Any], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    quantization: dict[str, bool] | None,
    slow: bool,
    exact: bool,
) -> None:
    record = {"data": "x", "sentences": 1, "method": "m", "quantized": 1, "kept": [], "sensitivity": {}}
    edit_manifest(
        lambda content: content.update(quantization=None if quantization is None else {**record, **quantization})
    )
    monkeypatch.setattr(onnx_cpu, "has_saturating_int8_matmul", lambda: slow)
    bundle = Bundle(own_bundle)
    backend = onnx_cpu.OnnxCpuBackend(1)
    profiled = backend.open_profiled("fusion", bundle).subgraph
    assert isinstance(profiled, onnx_cpu.OnnxCpuSubgraph)
    for graph in (backend.open("fusion", bundle), profiled):
        assert graph._session is not None
        entry = graph._session.get_session_options().get_session_config_entry
        if exact:
            assert entry("session.x64quantprecision") == "1"
        else:
            with pytest.raises(RuntimeError):
                entry("session.x64quantprecision")

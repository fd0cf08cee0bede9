"""What is said where a GPU, a library or engines are missing: all of it at once, and only what leads on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from trimf.runtime.engine import cuda, gpu_guidance
from trimf.runtime.engine.gpu_guidance import (
    explain_int8,
    explain_missing_builder,
    explain_missing_engines,
    explain_missing_provider,
)

#: Makes a machine with the modules that are named, and with a GPU or without.
MachineMaker = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> MachineMaker:
    def make(*modules: str, gpu: bool) -> None:
        monkeypatch.setattr(gpu_guidance, "find_spec", lambda name: name if name in modules else None)
        monkeypatch.setattr(cuda, "explain_missing_device", lambda: None if gpu else "no NVIDIA driver")

    return make


def list_commands(told: str) -> list[str]:
    return re.findall(r"`(trimf [^`]+)`", told)


def test_engines_on_a_machine_with_a_gpu(machine: MachineMaker) -> None:
    for modules, command in (
        (["tensorrt", "tensorrt_rtx"], "trimf compile model --backend tensorrt"),
        (["tensorrt_rtx_bindings"], "trimf compile model --backend tensorrt-rtx"),
    ):
        machine(*modules, gpu=True)
        assert explain_missing_engines("model", "fp16") == f"model has no engines; run `{command}`"
    machine(gpu=True)
    told = explain_missing_engines("model", "fp16")
    assert told.index('pip install "trimf[tensorrt]"') < told.index("`trimf compile model --backend tensorrt`")


@pytest.mark.parametrize("installed", [True, False])
def test_engines_without_a_gpu(machine: MachineMaker, installed: bool) -> None:
    machine(*["tensorrt_rtx"] * installed, gpu=False)
    told = explain_missing_engines("model", "fp16")
    assert "no NVIDIA driver; use --backend cpu here" in told
    assert list_commands(told)[-1] == "trimf compile model --backend tensorrt-rtx --target sm_89"
    assert ('pip install "trimf[tensorrt-rtx]"' in told) == (not installed)
    assert "cpu" not in explain_missing_engines("model", "bf16")


def test_a_library_to_compile_with(machine: MachineMaker) -> None:
    machine(gpu=True)
    assert explain_missing_builder("model", "tensorrt", []) == (
        'TensorRT is not installed; pip uninstall -y onnxruntime onnxruntime-gpu && pip install "trimf[tensorrt]"'
    )
    told = explain_missing_builder("model", "tensorrt", ["sm_86", "sm_120"])
    assert list_commands(told) == ["trimf compile model --backend tensorrt-rtx --target sm_86 --target sm_120"]
    told = explain_missing_builder("model", "tensorrt-rtx", [])
    assert told == 'TensorRT for RTX is not installed; pip install "trimf[tensorrt-rtx]"'
    machine(gpu=False)
    assert "give --target, such as sm_89" in explain_missing_builder("model", "tensorrt-rtx", [])
    assert "give --target" not in explain_missing_builder("model", "tensorrt-rtx", ["sm_89"])
    told = explain_missing_builder("model", "tensorrt", [])
    assert told.startswith("TensorRT is not installed")
    assert "no NVIDIA driver" in told
    assert list_commands(told) == ["trimf compile model --backend tensorrt-rtx --target sm_89"]


@pytest.mark.parametrize(
    ("backend", "extra"), [("cuda", "gpu"), ("tensorrt-ep", "tensorrt"), ("tensorrt-rtx-ep", "tensorrt-rtx-ep")]
)
def test_an_execution_provider(machine: MachineMaker, backend: str, extra: str) -> None:
    machine(gpu=True)
    told = explain_missing_provider(backend, "X, which is not installed")
    assert told.startswith(f"backend '{backend}' needs X, which is not installed; run pip ")
    assert told.endswith(f'pip install "trimf[{extra}]"')
    machine(gpu=False)
    told = explain_missing_provider(backend, "X, which is not installed")
    assert told.index("no NVIDIA driver; use --backend cpu here") < told.index(f'pip install "trimf[{extra}]"')


def test_a_bundle_for_cpus(machine: MachineMaker) -> None:
    machine(gpu=False)
    for backend in ("cuda", "tensorrt", "tensorrt-ep", "tensorrt-rtx-ep"):
        told = explain_int8("default", backend)
        assert told.endswith("; or use --backend cpu")
        assert "a checkpoint of `trimf train`" in told
        assert ("--fp16" in told) == (backend != "cuda")
        assert ("--int8-qdq --calibration-data FILE" in told) == (backend != "cuda")
    assert "--backend cpu" not in explain_int8("default", "tensorrt", compiling=True)

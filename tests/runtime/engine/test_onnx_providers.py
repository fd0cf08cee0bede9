"""Execution providers for NVIDIA GPUs: why one cannot run here, and the options of those that can."""

import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from trimf.runtime.engine import onnx_providers
from trimf.runtime.engine.onnx_gpu_backend import OnnxGpuBackend
from trimf.runtime.engine.onnx_providers import PROVIDERS
from trimf.runtime.errors import BackendError


@pytest.mark.parametrize(("name", "extra"), [("cuda", "gpu"), ("tensorrt-ep", "tensorrt")])
def test_a_provider_that_is_not_installed(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        BackendError, match=rf"backend '{name}' needs .*ExecutionProvider, .*trimf\[{extra}\]"
    ) as caught:
        OnnxGpuBackend(name)
    assert "\n" not in str(caught.value)


def test_a_plugin_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    with pytest.raises(BackendError, match="tensorrt-rtx-ep"):
        onnx_providers._register_rtx_plugin.__wrapped__()


def test_a_plugin_without_a_device(capfd: pytest.CaptureFixture[str]) -> None:
    """The real plugin, where it is installed and no GPU is there: refused in one line, and nothing else is printed."""
    pytest.importorskip("onnxruntime_ep_nv_tensorrt_rtx", reason="needs onnxruntime-ep-nv-tensorrt-rtx")
    refusals = []
    for _ in range(2):
        try:
            OnnxGpuBackend("tensorrt-rtx-ep")
        except BackendError as error:
            refusals.append(str(error))
    if not refusals:
        pytest.skip("a GPU is there")
    assert len(set(refusals)) == 1
    assert "\n" not in refusals[0]
    assert "needs an NVIDIA driver and a GPU" in refusals[0]
    assert capfd.readouterr() == ("", "")


def test_a_registered_plugin_that_finds_no_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = SimpleNamespace(get_ep_name=lambda: "RTX", get_library_path=lambda: str(tmp_path / "library.so"))
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", fake)
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda name, path: None)
    with pytest.raises(BackendError, match="'tensorrt-rtx-ep' cannot run here: no device; it needs an NVIDIA driver"):
        onnx_providers._register_rtx_plugin.__wrapped__()


def test_options_for_tensorrt(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = PROVIDERS["tensorrt-ep"].make_options((tiny_bundle / "relations.onnx").read_bytes())
    assert options["trt_profile_min_shapes"] == "nodes:1x1x4,word_mask:1x1,spans:1x3,pairs:1x2"
    assert options["trt_profile_max_shapes"] == "nodes:64x512x4,word_mask:64x512,spans:2048x3,pairs:4096x2"
    assert not [key for key in options if "fp16" in key or "graph" in key]
    folder = Path(options["trt_engine_cache_path"])
    assert folder.parent == tmp_path / "trimf" / "tensorrt-ep"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_cache_folder_that_cannot_be(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BackendError, match=r"backend 'tensorrt-rtx-ep' needs a cache folder: .*; set XDG_CACHE_HOME"):
        PROVIDERS["tensorrt-rtx-ep"].make_options(b"model")

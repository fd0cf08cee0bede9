"""Finding TensorRT, and what its messages become."""

import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from trimf.runtime.engine import tensorrt_library
from trimf.runtime.errors import BackendError


@pytest.fixture(autouse=True)
def _forget() -> Any:
    tensorrt_library.import_library.cache_clear()
    yield
    tensorrt_library.import_library.cache_clear()


def fake(version: str) -> Any:
    module = ModuleType("tensorrt")
    module.__version__ = version
    module.ILogger = type("ILogger", (), {})
    module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    return module


def test_tensorrt_for_rtx_is_found() -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the wheels of TensorRT for RTX")
    library = tensorrt_library.import_library("tensorrt-rtx")
    assert library.version == library.module.__version__
    assert library.title == f"TensorRT for RTX {library.version}"
    assert library.traits.ahead_of_time
    assert not library.traits.timing_cache
    assert tensorrt_library.import_library("tensorrt-rtx") is library


def test_tensorrt_for_rtx_says_why_a_model_cannot_be_read() -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the wheels of TensorRT for RTX")
    library = tensorrt_library.import_library("tensorrt-rtx")
    network = library.create_strongly_typed_network(library.module.Builder(library.logger))
    assert network.get_flag(library.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert not library.module.OnnxParser(network, library.logger).parse(b"rubbish")
    assert "Failed to parse the ONNX model" in library.pop_last_error()
    assert library.pop_last_error() == ""


@pytest.mark.parametrize(("builder", "title"), [("tensorrt", "TensorRT"), ("tensorrt-rtx", "TensorRT for RTX")])
def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch, builder: Any, title: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendError) as error:
        tensorrt_library.import_library(builder)
    assert str(error.value) == f'{title} is not installed; pip install "trimf[{builder}]"'


def test_a_library_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10:\\n no such file')")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"installed but cannot be imported: libnvinfer.so.10: no such file; pip"):
        tensorrt_library.import_library("tensorrt")


@pytest.mark.parametrize(
    ("builder", "version", "oldest"), [("tensorrt", "10.0.1", "10.1"), ("tensorrt-rtx", "1.1.1.26", "1.2")]
)
def test_old_releases_are_refused(builder: Any, version: str, oldest: str) -> None:
    with pytest.raises(BackendError, match=rf"{version} is too old \(need {oldest} or later\); pip install --upgrade"):
        tensorrt_library.describe_library(builder, fake(version))


@pytest.mark.parametrize("version", ["10.1.0", "10.13.3.9", "11.0.0.38"])
def test_tensorrt_10_and_11(version: str) -> None:
    library = tensorrt_library.describe_library("tensorrt", fake(version))
    assert library.traits.timing_cache
    assert not library.traits.ahead_of_time
    flags: list[int] = []
    library.create_strongly_typed_network(SimpleNamespace(create_network=flags.append))
    assert flags == [2]


def test_messages_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    library = tensorrt_library.describe_library("tensorrt", fake("10.13.3"))
    said = [
        ("INTERNAL_ERROR", "a\n b", logging.ERROR),
        ("ERROR", "bad 100 %s", logging.ERROR),
        ("WARNING", "hm", logging.WARNING),
        ("WARNING", "Make sure input spans has Int64 binding.", logging.DEBUG),
        ("INFO", "so", logging.INFO),
        ("VERBOSE", "la", logging.DEBUG),
        ("NEW", "?", logging.WARNING),
    ]
    with caplog.at_level(logging.DEBUG, "trimf.tensorrt"):
        for severity, message, _ in said:
            library.logger.log(SimpleNamespace(name=severity), message)
    assert [(record.getMessage(), record.levelno) for record in caplog.records] == [entry[1:] for entry in said]
    assert library.pop_last_error() == "bad 100 %s"
    assert library.pop_last_error() == ""

"""Bundles with engines, and backends for them on the stand-ins."""

from pathlib import Path

import pytest

from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

from .fake_tensorrt import BUILDERS, EngineSetup


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "trimf" / "tensorrt-rtx"


@pytest.fixture(params=BUILDERS)
def both(request: pytest.FixtureRequest, own_bundle: Path) -> EngineSetup:
    return EngineSetup(own_bundle, request.param)


@pytest.fixture
def tensorrt(own_bundle: Path) -> EngineSetup:
    return EngineSetup(own_bundle, "tensorrt")


@pytest.fixture
def rtx(own_bundle: Path) -> EngineSetup:
    return EngineSetup(own_bundle, "tensorrt-rtx")


@pytest.fixture(scope="module")
def cpu(tiny_bundle: Path) -> Pipeline:
    return open_pipeline(Bundle(tiny_bundle), OnnxCpuBackend(1))

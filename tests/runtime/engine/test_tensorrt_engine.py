"""Engines that the library rejects or that are not what their manifest says, on stand-ins and on the real library."""

from pathlib import Path

import msgspec
import pytest

from trimf.runtime.bundle.manifest import Profile
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import tensorrt_library
from trimf.runtime.engine.tensorrt_backend import TensorRtBackend
from trimf.runtime.errors import BackendError

from .fake_tensorrt import LATENCY, PROFILES, EngineSetup, FakeDevice, with_engines


def test_an_engine_that_cannot_be_read(both: EngineSetup) -> None:
    both.trt.fail.add("deserialize_cuda_engine")
    with pytest.raises(BackendError, match=r"deserialize_cuda_engine failed for engines/encoder\S+: no magic in"):
        both.pipeline()


def test_an_engine_that_the_library_refuses(rtx: EngineSetup, caplog: pytest.LogCaptureFixture) -> None:
    rtx.trt.validity = "SUBOPTIMAL"
    rtx.pipeline()
    assert "may run slowly: UNSUPPORTED_CC" in caplog.text
    rtx.trt.validity = "INVALID"
    with pytest.raises(BackendError, match=r"rejects engines/encoder\S+: UNSUPPORTED_CC; run `trimf compile`"):
        rtx.pipeline()


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (PROFILES[:1], r"number of profiles is 2, expected 1"),
        (
            [PROFILES[0], Profile(name="throughput", axes={**LATENCY, "batch": (1, 4, 64)})],
            r"batch of input_ids in profile throughput is \(1, 4, 12\), expected \(1, 4, 64\)",
        ),
        (
            [PROFILES[0], Profile(name="throughput", axes={"batch": (1, 4, 12)})],
            r"subwords of input_ids in profile throughput is \(3, 16, 80\), expected None",
        ),
    ],
)
def test_an_engine_that_is_not_what_the_manifest_says(both: EngineSetup, stated: list[Profile], message: str) -> None:
    engines = [msgspec.structs.replace(engine, profiles=stated) for engine in both.bundle.manifest.engines]
    both.bundle.manifest = msgspec.structs.replace(both.bundle.manifest, engines=engines)
    with pytest.raises(BackendError, match=message):
        both.pipeline()


def test_the_real_rtx_library_refuses_what_is_no_engine(own_bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="the wheels of TensorRT for RTX are not installed")
    library = tensorrt_library.import_library("tensorrt-rtx")
    bundle = Bundle(with_engines(own_bundle, "tensorrt-rtx"))
    engines = [msgspec.structs.replace(engine, version=library.version) for engine in bundle.manifest.engines]
    bundle.manifest = msgspec.structs.replace(bundle.manifest, engines=engines)
    with pytest.raises(BackendError, match=r"^TensorRT for RTX \S+ rejects engines/encoder\S+: MALFORMED_ENGINE"):
        TensorRtBackend(FakeDevice(), library).open("encoder", bundle)

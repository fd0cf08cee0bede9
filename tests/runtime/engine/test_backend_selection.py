"""Which engine a bundle gets, by name and by ``auto``; the GPU and its libraries are stand-ins that only say they are
there.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import Engine, FileRecord, MatmulCounts, Profile
from trimf.runtime.engine import cuda, onnx_gpu_backend, tensorrt_backend
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.engine.contract import JOINED_SUBGRAPHS, SUBGRAPHS
from trimf.runtime.engine.engine_selection import hash_sources
from trimf.runtime.engine.gpu_guidance import explain_jetson_target
from trimf.runtime.engine.onnxruntime_library import INSTALL_GPU
from trimf.runtime.errors import BackendError

LABELS = Labels(("Peop",), ("Kill",), ())

NO_GPU = "no NVIDIA driver (libcuda.so.1 is not installed)"


def bundle(precision: str = "fp32", *builders: str, target: str = "sm_89", names: tuple[str, ...] = SUBGRAPHS) -> Any:
    """A bundle's manifest, with engines of the builders."""
    files = {f"{name}.onnx": FileRecord(size=1, sha256="a" * 64) for name in SUBGRAPHS}
    engines = [
        Engine(
            file=f"engines/{name}.{builder}.{target}.engine",
            subgraph=name,
            precision=precision,
            builder=builder,
            version="1.0",
            target=target,
            profiles=[Profile(name="any", axes={})],
            onnx_sha256=hash_sources(name, files),
            products=MatmulCounts(),
        )
        for builder in builders
        for name in names
    ]
    manifest = SimpleNamespace(precision=precision, engines=engines, files=files, labels=LABELS)
    return SimpleNamespace(path=Path("model"), manifest=manifest)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "explain_missing_device", lambda: NO_GPU)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A GPU, the named libraries for engines, and perhaps ONNX Runtime's CUDA provider."""

    def set_up(*libraries: str, provider: bool = False) -> None:
        def find(builder: str) -> Any:
            if builder not in libraries:
                raise BackendError(f"{builder} is not installed")
            return SimpleNamespace(name=builder, version="1.0")

        def device_backend(name: str, reason: str = "requested", threads: int | None = None) -> Any:
            return SimpleNamespace(name=name, reason=reason, threads=threads)

        device = SimpleNamespace(name="NVIDIA RTX 4090", target="sm_89")
        monkeypatch.setattr(cuda, "explain_missing_device", lambda: None)
        monkeypatch.setattr(tensorrt_backend, "CudaDevice", lambda: device)
        monkeypatch.setattr(tensorrt_backend, "import_library", find)
        monkeypatch.setattr(onnx_gpu_backend, "OnnxGpuBackend", device_backend)
        providers = [*(["CUDAExecutionProvider"] if provider else []), "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)

    return set_up


def took(files: Any, name: str = "auto") -> tuple[str, str]:
    backend = open_backend(name, None, files)
    return backend.name, backend.reason


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("builders", [(), ("tensorrt",)])
def test_without_a_gpu_the_cpu_is_taken(builders: tuple[str, ...]) -> None:
    assert took(bundle("fp32", *builders)) == ("cpu", NO_GPU)


@pytest.mark.parametrize("precision", ["fp16", "int8-qdq"])
@pytest.mark.usefixtures("no_gpu")
def test_a_cpu_says_what_is_slow_on_it(precision: str) -> None:
    slow = f"{precision} is meant for GPUs, and a CPU runs fp32 or int8 faster"
    assert took(bundle(precision)) == ("cpu", f"{NO_GPU}; {slow}")
    assert took(bundle(precision), "cpu") == ("cpu", f"requested; {slow}")


@pytest.mark.parametrize("name", ["cpu", "auto"])
@pytest.mark.usefixtures("no_gpu")
def test_bf16_does_not_run_on_a_cpu(name: str) -> None:
    with pytest.raises(BackendError, match=r"^model is bf16, which runs only on a GPU.*; re-export it as fp32, or use"):
        open_backend(name, None, bundle("bf16"))


def test_int8_for_cpus_goes_to_the_cpu_though_there_is_a_gpu(gpu: Callable[..., None]) -> None:
    gpu("tensorrt", provider=True)
    assert took(bundle("int8", "tensorrt")) == ("cpu", "this bundle is int8 for CPUs")


@pytest.mark.parametrize("builder", ["tensorrt", "tensorrt-rtx"])
def test_engines_that_fit_are_taken(gpu: Callable[..., None], builder: str) -> None:
    gpu(builder, provider=True)
    assert took(bundle("fp16", "tensorrt", "tensorrt-rtx")) == (
        "tensorrt",
        "the bundle has sm_89 engines for NVIDIA RTX 4090",
    )
    backend = open_backend("tensorrt", None, bundle("fp16", "tensorrt", "tensorrt-rtx"))
    assert isinstance(backend, tensorrt_backend.TensorRtBackend)
    assert (backend.library.name, backend.reason) == (builder, "requested")


def test_engines_tuned_on_the_device_come_first(gpu: Callable[..., None]) -> None:
    gpu("tensorrt", "tensorrt-rtx")
    backend = open_backend("auto", None, bundle("fp16", "tensorrt-rtx", "tensorrt"))
    assert isinstance(backend, tensorrt_backend.TensorRtBackend)
    assert backend.library.name == "tensorrt"


def test_without_engines_cuda_is_taken(gpu: Callable[..., None]) -> None:
    gpu("tensorrt", provider=True)
    assert took(bundle()) == ("cuda", "this bundle has no engines")


@pytest.mark.parametrize(
    ("libraries", "target", "reason"),
    [
        ((), "sm_89", "^tensorrt-rtx is not installed"),
        (
            ("tensorrt-rtx",),
            "sm_120",
            r"^engine engines/encoder\S+ was built for sm_120, but this GPU is sm_89; run `tr",
        ),
    ],
)
def test_without_engines_that_fit_cuda_is_taken(
    gpu: Callable[..., None], libraries: tuple[str, ...], target: str, reason: str
) -> None:
    files = bundle("fp16", "tensorrt-rtx", target=target)
    gpu(*libraries, provider=True)
    name, why = took(files)
    assert name == "cuda"
    with pytest.raises(BackendError, match=reason) as error:
        open_backend("tensorrt", None, files)
    assert str(error.value) == why


def test_an_engine_of_one_subgraph_that_is_missing(gpu: Callable[..., None]) -> None:
    gpu("tensorrt", provider=True)
    files = bundle("fp16", "tensorrt")
    del files.manifest.engines[2]
    assert took(files) == (
        "cuda",
        "model has no engine for entities; run `trimf compile model` on this machine or use the cuda backend",
    )


def test_joined_engines_are_taken_unless_another_parser_needs_separate_ones(gpu: Callable[..., None]) -> None:
    gpu("tensorrt", provider=True)
    files = bundle("fp16", "tensorrt", names=JOINED_SUBGRAPHS)
    assert took(files)[0] == took(files, "tensorrt")[0] == "tensorrt"
    backend = open_backend("auto", None, files, has_external_parser=True)
    assert backend.name == "cuda"
    with pytest.raises(BackendError, match="has no engine for encoder, which a parser other than") as error:
        open_backend("tensorrt", None, files, has_external_parser=True)
    assert backend.reason == str(error.value)


def test_a_gpu_without_any_library_for_it(gpu: Callable[..., None]) -> None:
    gpu()
    name, reason = took(bundle())
    assert name == "cpu"
    assert reason == f"this bundle has no engines; and the installed ONNX Runtime has no CUDA: run {INSTALL_GPU}"
    with pytest.raises(BackendError, match="model is bf16"):
        took(bundle("bf16"))


@pytest.mark.usefixtures("no_gpu")
def test_native_engines_asked_for_are_never_replaced() -> None:
    with pytest.raises(
        BackendError,
        match=r"^model has no engines, and this machine has no NVIDIA .*; use --backend cpu here; .*`trimf compile",
    ):
        open_backend("tensorrt", None, bundle())
    with pytest.raises(BackendError, match=r"^no NVIDIA driver .*; install the NVIDIA driver, or use the cpu backend$"):
        open_backend("tensorrt", None, bundle("fp16", "tensorrt"))


@pytest.mark.parametrize("name", ["cuda", "tensorrt-ep", "tensorrt-rtx-ep"])
def test_providers_asked_for_are_taken(gpu: Callable[..., None], name: str) -> None:
    gpu("tensorrt")
    assert took(bundle("fp16", "tensorrt"), name) == (name, "requested")


@pytest.mark.parametrize("name", ["auto", "cpu", "tensorrt", "cuda"])
def test_threads_must_be_positive(name: str) -> None:
    with pytest.raises(BackendError, match="threads must be >= 1, got 0"):
        open_backend(name, 0, bundle())


def test_an_unknown_name() -> None:
    with pytest.raises(BackendError, match=r"unknown backend 'gpu'; choose from auto, cpu, cuda, tensorrt, "):
        open_backend("gpu", None, bundle())


ON_THE_CPU = """
import ctypes, sys
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.bundle.reader import Bundle

def no_driver(*_, **__):
    raise OSError

ctypes.CDLL = no_driver
print(open_backend("auto", 1, Bundle({path!r})).name, *sys.modules)
"""


def test_where_there_is_no_gpu_nothing_of_it_is_imported(tiny_bundle: Path) -> None:
    code = ON_THE_CPU.format(path=str(tiny_bundle))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    name, *modules = done.stdout.split()
    assert name == "cpu"
    assert "trimf.runtime.engine.cuda" in modules
    heavy = {"cuda.bindings", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"}
    own = ("trimf.runtime.engine.tensorrt", "trimf.runtime.engine.onnx_device", "trimf.runtime.engine.onnx_gpu_backend")
    assert [name for name in modules if name in heavy or name.startswith(own)] == []


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["cuda", "tensorrt", "tensorrt-ep", "tensorrt-rtx-ep"])
def test_int8_on_a_gpu_says_the_whole_way_at_once(name: str) -> None:
    with pytest.raises(BackendError) as caught:
        open_backend(name, None, bundle("int8"))
    told = str(caught.value)
    assert "\n" not in told
    for words in ("model is int8 for CPUs", "trimf export CHECKPOINT", 'pip install "trimf[', "no NVIDIA driver"):
        assert words in told
    assert ("trimf compile my-gpu-model" in told) == (name == "tensorrt")


@pytest.mark.parametrize(
    ("target", "words"),
    [("sm_87", "JetPack's TensorRT"), ("sm_110", "Jetson Thor"), ("sm_72", "Jetson Xavier"), ("sm_53", "Jetson Nano")],
)
def test_the_targets_of_jetsons_point_to_their_page(target: str, words: str) -> None:
    assert words in explain_jetson_target(target)
    assert "docs/jetson.md" in explain_jetson_target(target)
    assert explain_jetson_target("sm_90") == ""

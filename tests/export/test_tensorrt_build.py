"""The calls that TensorRT itself gets, of which there is a stand-in only."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import trimf.runtime.engine.cuda
from trimf.export import engine_builder as engines
from trimf.export.bundle_compiler import compile_bundle
from trimf.export.profiles import DEFAULT_PROFILES
from trimf.runtime.bundle.manifest import MatmulCounts
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import tensorrt_library
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.tensorrt_library import TensorRtLibrary
from trimf.runtime.errors import BackendError, ConfigError


class Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+"


class Config:
    """Knows what TensorRT's has; anything else that is called on it is an error."""

    profiling_verbosity = None
    progress_monitor: Any = None

    def __init__(self) -> None:
        self.cleared: list[str] = []
        self.pools: dict[str, int] = {}
        self.profiles: list[Any] = []
        self.cache: Any = None

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> Cache | None:
        return None if content == b"rubbish" else Cache(content)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content == b"other device":
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache


class OptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, *shapes: Any) -> None:
        self.shapes[name] = shapes


class Network:
    num_inputs = num_layers = 1

    def __init__(self) -> None:
        self.kept = [SimpleNamespace(name=name) for name in ("words", "arc_scores", "heads")]

    @property
    def num_outputs(self) -> int:
        return len(self.kept)

    def get_output(self, place: int) -> Any:
        return self.kept[place]

    def unmark_output(self, output: Any) -> None:
        self.kept.remove(output)

    def get_input(self, _: int) -> Any:
        return SimpleNamespace(name="nodes", shape=(-1, -1, 8), dtype=SimpleNamespace(name="BF16"))

    def get_layer(self, _: int) -> Any:
        return SimpleNamespace(
            type=SimpleNamespace(name="MATRIX_MULTIPLY"),
            num_inputs=2,
            num_outputs=1,
            get_input=self.get_input,
            get_output=lambda _: SimpleNamespace(name="out"),
        )


@pytest.fixture
def configs() -> list[Config]:
    return []


@pytest.fixture
def tensorrt(configs: list[Config]) -> TensorRtLibrary:
    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network:
            assert flags == 1 << 1
            return Network()

        def create_builder_config(self) -> Config:
            configs.append(Config())
            return configs[-1]

        def create_optimization_profile(self) -> OptimizationProfile:
            return OptimizationProfile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            assert [output.name for output in network.kept] == ["words", "heads"]
            monitor = config.progress_monitor
            monitor.phase_start("tune", None, 2)
            goes_on = monitor.step_complete("tune", 0)
            monitor.phase_finish("tune")
            if config.pools.get("workspace") == 1 << 20:
                self.logger.log(SimpleNamespace(name="ERROR"), "no kernel\nfits")
                return None
            return b"engine" if goes_on else None

    class Parser:
        num_errors = 0

        def __init__(self, network: Network, logger: Any) -> None:
            pass

        def parse(self, content: bytes, path: str) -> bool:
            assert path.startswith(os.devnull)
            return True

    module = SimpleNamespace(
        __version__="10.13.3.9",
        ILogger=type("ILogger", (), {}),
        IProgressMonitor=type("IProgressMonitor", (), {}),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        BuilderFlag=SimpleNamespace(TF32="tf32"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        Builder=Builder,
        OnnxParser=Parser,
    )
    return tensorrt_library.describe_library("tensorrt", module)


def test_tensorrt_builds(tensorrt: TensorRtLibrary, configs: list[Config]) -> None:
    steps: list[Any] = []
    content = engines.build_engine(
        tensorrt,
        "entities",
        b"",
        DEFAULT_PROFILES,
        target="sm_87",
        workspace_mb=64,
        on_progress=lambda *step: steps.append(step),
    )
    assert content == b"engine"
    (config,) = configs
    assert config.cleared == ["tf32"]
    assert config.profiling_verbosity == "detailed"
    assert config.pools == {"workspace": 64 << 20}
    assert config.profiles[0] == {"nodes": ((1, 1, 8), (1, 24, 8), (1, 512, 8))}
    assert config.profiles[1] == {"nodes": ((1, 1, 8), (32, 32, 8), (64, 512, 8))}
    assert config.cache is None
    assert steps == [("tune", 0, 2), ("tune", 1, 2), ("tune", 2, 2)]
    assert engines.summarize_network(tensorrt, "entities", b"") == (MatmulCounts(half=1), ("nodes",))


def test_tensorrt_says_why_not(tensorrt: TensorRtLibrary) -> None:
    with pytest.raises(BackendError) as error:
        engines.build_engine(tensorrt, "entities", b"", DEFAULT_PROFILES, target="sm_87", workspace_mb=1)
    assert str(error.value) == "TensorRT 10.13.3.9 cannot build entities for sm_87: no kernel fits"


@pytest.mark.parametrize("found", [None, b"rubbish", b"other device", b"good"])
def test_the_timing_cache(
    tensorrt: TensorRtLibrary, configs: list[Config], tmp_path: Path, found: bytes | None
) -> None:
    path = tmp_path / "caches" / "timing"
    if found is not None:
        path.parent.mkdir()
        path.write_bytes(found)
    engines.build_engine(tensorrt, "entities", b"", DEFAULT_PROFILES, target="sm_87", timing_cache=path)
    assert path.read_bytes() == (b"good+" if found == b"good" else b"+")
    assert [entry.name for entry in path.parent.iterdir()] == ["timing"]


def test_a_timing_cache_that_cannot_be_there(tensorrt: TensorRtLibrary, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        BackendError, match=r"timing cache .*timing: File exists; set XDG_CACHE_HOME to a writable folder"
    ):
        engines.build_engine(
            tensorrt, "entities", b"", DEFAULT_PROFILES, target="sm_87", timing_cache=tmp_path / "file" / "timing"
        )


@pytest.fixture
def on_a_jetson(tensorrt: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.setattr(trimf.runtime.engine.cuda, "CudaDevice", lambda: SimpleNamespace(target="sm_87", name="Orin"))
    monkeypatch.setattr(tensorrt_library, "import_library", lambda _: tensorrt)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda bundle, **options: compile_bundle(bundle, "tensorrt", **options)


@pytest.mark.parametrize("targets", [[], ["sm_87"]])
def test_tensorrt_compiles_for_the_gpu_present(
    on_a_jetson: Callable[..., Any],
    bundle: Path,
    tmp_path: Path,
    targets: list[str],
    edit_manifest: Callable[..., None],
) -> None:
    said: list[str] = []
    edit_manifest(bundle, precision="bf16")
    built = on_a_jetson(bundle, targets=targets, log=said.append)
    assert [engine.target for engine in built] == ["sm_87"] * 4
    assert {engine.builder for engine in Bundle(bundle).manifest.engines} == {"tensorrt"}
    assert [path.name for path in (tmp_path / "cache" / "trimf").iterdir()] == ["tensorrt-10.13.3.9-sm_87.timing"]
    assert [line.split(":")[0] for line in said] == [f"{name} for sm_87" for name in SUBGRAPHS]


def test_tensorrt_compiles_for_no_other_gpu(on_a_jetson: Callable[..., Any], bundle: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"only for the GPU in this machine, sm_87 \(Orin\), not for sm_89; build on that GPU"
    ):
        on_a_jetson(bundle, targets=["sm_89"])


def test_tensorrt_needs_a_gpu(on_a_jetson: Callable[..., Any], bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise BackendError("no NVIDIA driver")

    monkeypatch.setattr(trimf.runtime.engine.cuda, "CudaDevice", none)
    with pytest.raises(BackendError, match="needs the GPU that will run the engine: no NVIDIA driver"):
        on_a_jetson(bundle)

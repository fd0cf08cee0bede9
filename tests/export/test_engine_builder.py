"""Engines: real builds with TensorRT for RTX, which needs no GPU for it, and the calls that TensorRT gets."""

import _thread
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import trimf.runtime.engine.cuda
from trimf.export import bundle_compiler as compiling
from trimf.export import engine_builder as engines
from trimf.export.bundle_compiler import compile_bundle
from trimf.export.half_precision import convert_to_half
from trimf.export.profiles import DEFAULT_PROFILES, parse_profile
from trimf.runtime.bundle.manifest import MatmulCounts, encode_manifest
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import tensorrt_library
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.tensorrt_library import TensorRtLibrary
from trimf.runtime.errors import BackendError, BundleError, ConfigError

BLOCKED = ("torch", "transformers", "trimf_train", "accelerate", "safetensors", "onnx", "onnxscript")


@pytest.fixture(scope="module")
def rtx() -> TensorRtLibrary:
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the wheels of TensorRT for RTX")
    return tensorrt_library.import_library("tensorrt-rtx")


@pytest.fixture(scope="module")
def exported(tiny_checkpoint: Any, quick_export: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    tiny_checkpoint.save(folder / "checkpoint")
    quick_export(folder / "checkpoint", folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def compiled_once(rtx: TensorRtLibrary, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(exported, tmp_path_factory.mktemp("compiled") / "bundle"))
    compile_bundle(folder, "tensorrt-rtx", targets=["sm_89"])
    return folder


@pytest.fixture
def compiled(compiled_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled_once, tmp_path / "bundle"))


def edit(bundle: Path, **changes: Any) -> None:
    manifest = Bundle(bundle).manifest
    (bundle / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, **changes)))


def listing(bundle: Path) -> set[str]:
    return {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}


def model(*nodes: onnx.NodeProto, inputs: list[Any], outputs: list[Any], weights: list[onnx.TensorProto]) -> bytes:
    graph = helper.make_graph(list(nodes), "graph", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(made.SerializeToString())


def product(weight: onnx.TensorProto) -> bytes:
    """``nodes`` times a weight."""
    return model(
        helper.make_node("MatMul", ["nodes", "W"], ["out"]),
        inputs=[helper.make_tensor_value_info("nodes", TensorProto.FLOAT, ["b", "n", 8])],
        outputs=[helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "n", 8])],
        weights=[weight],
    )


PRODUCT = product(numpy_helper.from_array(np.eye(8, dtype=np.float32), "W"))


# Compiling a bundle


def test_engines_are_added_to_the_bundle(compiled: Path, exported: Path, rtx: TensorRtLibrary) -> None:
    opened = Bundle(compiled)
    manifest, before = opened.manifest, Bundle(exported).manifest
    assert [(engine.subgraph, engine.target) for engine in manifest.engines] == [(name, "sm_89") for name in SUBGRAPHS]
    for engine in manifest.engines:
        assert (engine.builder, engine.version, engine.precision) == ("tensorrt-rtx", rtx.version, "fp32")
        assert engine.onnx_sha256 == before.files[f"{engine.subgraph}.onnx"].sha256
        assert [profile.name for profile in engine.profiles] == ["latency", "throughput"]
        assert len(opened.read(engine.file)) == manifest.files[engine.file].size > 1000
    assert manifest.engines[0].profiles[1].axes["subwords"] == (3, 40, 40)
    assert manifest.engines[2].profiles[0].axes.keys() == {"batch", "words"}
    assert listing(compiled) == {*manifest.files, "manifest.json"}
    assert {name: manifest.files[name] for name in before.files} == before.files
    assert msgspec.structs.replace(manifest, engines=[], files=before.files) == before


def test_products_are_those_of_the_graph(compiled: Path) -> None:
    for engine in Bundle(compiled).manifest.engines:
        graph = onnx.load(compiled / f"{engine.subgraph}.onnx").graph
        products = sum(node.op_type in ("MatMul", "Gemm", "Einsum") for node in graph.node)
        assert engine.products == MatmulCounts(single=products)


def test_an_engine_is_replaced_and_others_stay(compiled: Path) -> None:
    before = Bundle(compiled).manifest
    compile_bundle(compiled, "tensorrt-rtx", targets=["sm_120"], shapes=[parse_profile("batch=1:1:1")])
    both = Bundle(compiled).manifest
    assert both.engines[:4] == before.engines
    assert [engine.target for engine in both.engines] == ["sm_89"] * 4 + ["sm_120"] * 4
    compile_bundle(compiled, "tensorrt-rtx", targets=["sm_89"], shapes=[parse_profile("batch=1:2:4")])
    after = Bundle(compiled).manifest
    assert after.engines[:4] == both.engines[4:]
    assert [profile.axes["batch"] for profile in after.engines[4].profiles] == [(1, 2, 4)]
    assert listing(compiled) == {*after.files, "manifest.json"}


def test_compiling_needs_nothing_of_training(bundle: Path, rtx: TensorRtLibrary) -> None:
    code = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
from trimf.export.bundle_compiler import compile_bundle
print(len(compile_bundle({str(bundle)!r}, "tensorrt-rtx", targets=["sm_86"])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("4\n", "")
    assert len(Bundle(bundle).manifest.engines) == 4


@pytest.mark.parametrize("when", ["engines/relations", "manifest.json"])
def test_a_kill_leaves_the_bundle_as_it_was(compiled: Path, when: str) -> None:
    before = (compiled / "manifest.json").read_bytes()
    code = f"""
import os, signal
from trimf.export import compile as compiling
write = compiling.write
def killed(folder, name, content):
    if name.startswith({when!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, name, content)
compiling.write = killed
compiling.compile_bundle({str(compiled)!r}, "tensorrt-rtx", targets=["sm_89"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (compiled / "manifest.json").read_bytes() == before
    opened = Bundle(compiled)
    for name in opened.manifest.files:
        opened.read(name)


def test_a_failure_leaves_no_file(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listing(compiled)
    build = engines.build_engine

    def fails(library: TensorRtLibrary, name: str, *rest: Any, **options: Any) -> bytes:
        if name == "relations":
            raise BackendError("no")
        return build(library, name, *rest, **options)

    monkeypatch.setattr(engines, "build_engine", fails)
    with pytest.raises(BackendError, match="no"):
        compile_bundle(compiled, "tensorrt-rtx", targets=["sm_89"])
    assert listing(compiled) == before
    assert len(Bundle(compiled).manifest.engines) == 4


def test_an_interrupt_after_the_last_step_leaves_the_new_bundle(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = compiling.write_bundle_file

    def interrupted(folder: Path, name: str, content: bytes) -> None:
        write(folder, name, content)
        if name == "manifest.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(compiling, "write_bundle_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile_bundle(compiled, "tensorrt-rtx", targets=["sm_89"], shapes=[parse_profile("batch=1:1:1")])
    manifest = Bundle(compiled).manifest
    assert [len(engine.profiles) for engine in manifest.engines] == [1] * 4
    assert listing(compiled) == {*manifest.files, "manifest.json"}


def test_a_bundle_that_changed_meanwhile(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listing(compiled)

    def changes(*_: Any, **__: Any) -> bytes:
        content = (compiled / "fusion.onnx").read_bytes() + b" "
        (compiled / "fusion.onnx").write_bytes(content)
        edit_files = {
            **Bundle(compiled.parent / "twin").manifest.files,
            "fusion.onnx": compiling.describe_file(content),
        }
        manifest = msgspec.structs.replace(Bundle(compiled.parent / "twin").manifest, files=edit_files)
        (compiled / "manifest.json").write_bytes(encode_manifest(manifest))
        return b"engine"

    shutil.copytree(compiled, compiled.parent / "twin")
    monkeypatch.setattr(engines, "build_engine", changes)
    with pytest.raises(
        BundleError, match=r"fusion.onnx was replaced while its engine was being built; compile the bundle again"
    ):
        compile_bundle(compiled, "tensorrt-rtx", targets=["sm_89"])
    assert listing(compiled) == before


def test_engines_of_another_process_stay(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def builds(library: TensorRtLibrary, name: str, *_: Any, target: str, **__: Any) -> bytes:
        if (name, target) == ("fusion", "sm_120"):
            compile_bundle(compiled, "tensorrt-rtx", targets=["sm_86"])
        return f"{name} {target}".encode()

    monkeypatch.setattr(engines, "build_engine", builds)
    compile_bundle(compiled, "tensorrt-rtx", targets=["sm_120"])
    assert {engine.target for engine in Bundle(compiled).manifest.engines} == {"sm_86", "sm_89", "sm_120"}


def test_a_link_out_of_the_bundle(bundle: Path, tmp_path: Path, rtx: TensorRtLibrary) -> None:
    (tmp_path / "elsewhere").mkdir()
    (bundle / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="this link points outside the bundle"):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_that_cannot_be_written(bundle: Path, rtx: TensorRtLibrary) -> None:
    (bundle / "engines").write_bytes(b"")
    with pytest.raises(BundleError, match=r"encoder.tensorrt-rtx.sm_89.\w{8}.engine: cannot be written: "):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])


# Targets


def test_an_unknown_target(bundle: Path, rtx: TensorRtLibrary) -> None:
    with pytest.raises(ConfigError) as error:
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89", "sm_90"])
    assert f"{rtx.title} cannot build engines for sm_90; choose from sm_75, " in str(error.value)
    assert not (bundle / "engines").exists()


def test_no_target_and_no_gpu(bundle: Path, rtx: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise BackendError("no NVIDIA driver")

    monkeypatch.setattr(trimf.runtime.engine.cuda, "Device", none)
    with pytest.raises(
        BackendError, match=r"no GPU to take the target from \(no NVIDIA driver\); choose a target from sm_75, .*"
    ):
        compile_bundle(bundle, "tensorrt-rtx")


def test_the_gpu_present(bundle: Path, rtx: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimf.runtime.engine.cuda, "Device", lambda: SimpleNamespace(target="sm_86", name="A"))
    assert {engine.target for engine in compile_bundle(bundle, "tensorrt-rtx")} == {"sm_86"}


# Types


def test_half_precision_is_proved(exported: Path, rtx: TensorRtLibrary) -> None:
    for name in SUBGRAPHS:
        content = convert_to_half(onnx.load(exported / f"{name}.onnx"), "fp16").SerializeToString()
        single = engines.summarize_network(rtx, name, (exported / f"{name}.onnx").read_bytes()).products
        assert engines.summarize_network(rtx, name, content).products == MatmulCounts(half=single.single)
        assert engines.build_engine(rtx, name, content, DEFAULT_PROFILES[:1], target="sm_75")


def test_graphs_that_are_not_what_the_manifest_says(bundle: Path, rtx: TensorRtLibrary) -> None:
    edit(bundle, precision="fp16")
    with pytest.raises(
        BundleError, match=r"only 0% of the matrix products are half precision \(0 of \d+: encoder 0 of"
    ):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])
    edit(bundle, precision="int8")
    with pytest.raises(
        BundleError, match="an int8 bundle is for CPUs only and cannot be compiled; re-export it as fp16 or"
    ):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])


def test_the_share_is_of_all_products() -> None:
    products = {"encoder": MatmulCounts(half=90, single=2), "fusion": MatmulCounts(half=1, single=7)}
    assert engines.check_precision(products, "fp16") == ["fusion: 1 of 8 matrix products are half precision"]
    assert engines.check_precision(products, "fp32") == []
    products["relations"] = MatmulCounts(single=2)
    with pytest.raises(BundleError) as error:
        engines.check_precision(products, "bf16")
    assert str(error.value) == (
        "only 89% of the matrix products are half precision (91 of 102: encoder 90 of 92, fusion 1 of 8, relations 0"
        " of 2), but at least 90% must be; re-export the bundle as bf16"
    )


def test_int8_must_be_there() -> None:
    assert engines.check_precision({"encoder": MatmulCounts(half=10, int8=40)}, "int8-qdq") == []
    with pytest.raises(BundleError, match="none of the 10 matrix products is int8, but the bundle is marked int8-qdq"):
        engines.check_precision({"encoder": MatmulCounts(half=10)}, "int8-qdq")


@pytest.mark.parametrize(("both", "expected"), [(True, MatmulCounts(int8=1)), (False, MatmulCounts(single=1))])
def test_int8_is_int8_on_both_sides(rtx: TensorRtLibrary, both: bool, expected: MatmulCounts) -> None:
    weight = np.arange(64, dtype=np.int8).reshape(8, 8)
    nodes = [
        helper.make_node("QuantizeLinear", ["nodes", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"]),
        helper.make_node("DequantizeLinear", ["W", "s", "z"], ["w"]),
        helper.make_node("MatMul", ["dq" if both else "nodes", "w"], ["out"]),
    ]
    content = model(
        *nodes,
        inputs=[helper.make_tensor_value_info("nodes", TensorProto.FLOAT, ["b", "n", 8])],
        outputs=[helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "n", 8])],
        weights=[
            numpy_helper.from_array(weight, "W"),
            numpy_helper.from_array(np.float32(0.1), "s"),
            numpy_helper.from_array(np.int8(0), "z"),
        ],
    )
    assert engines.summarize_network(rtx, "entities", content) == (expected, ("nodes",))


# Single builds


def test_a_model_that_cannot_be_read(rtx: TensorRtLibrary) -> None:
    with pytest.raises(BackendError, match=r"RTX [\d.]+ cannot read encoder.onnx: .*Failed to parse the ONNX model"):
        engines.summarize_network(rtx, "encoder", b"rubbish")


def test_an_operator_that_is_not_known(rtx: TensorRtLibrary) -> None:
    node = helper.make_node("Sheep", ["nodes"], ["out"], domain="farm")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "n", 8]) for name in ("nodes", "out")]
    with pytest.raises(BackendError, match="Sheep") as error:
        engines.build_engine(
            rtx, "fusion", model(node, inputs=info[:1], outputs=info[1:], weights=[]), DEFAULT_PROFILES, target="sm_89"
        )
    assert "\n" not in str(error.value)


def test_weights_outside_the_file_cannot_be_reached(
    rtx: TensorRtLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.bin").write_bytes(np.eye(8, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    for location in ("w.bin", str(tmp_path / "w.bin"), f"../../..{tmp_path}/w.bin"):
        weight = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[8, 8], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value=location)
        with pytest.raises(BackendError, match=r"cannot read entities\.onnx"):
            engines.summarize_network(rtx, "entities", product(weight))


def test_progress(rtx: TensorRtLibrary) -> None:
    heard: list[tuple[str, int, int]] = []
    engines.build_engine(
        rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89", progress=lambda *step: heard.append(step)
    )
    assert heard
    assert all(0 <= done <= steps for _, done, steps in heard)


def test_an_error_in_the_progress_stops_the_build(rtx: TensorRtLibrary) -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engines.build_engine(rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89", progress=fails)


def test_the_keyboard_stops_a_build(rtx: TensorRtLibrary, exported: Path, request: pytest.FixtureRequest) -> None:
    # A shell that starts this in the background has interrupts ignored.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    content = (exported / "relations.onnx").read_bytes()
    once = iter([True])  # a second interrupt might come after the build has ended
    with pytest.raises(KeyboardInterrupt):
        engines.build_engine(
            rtx,
            "relations",
            content,
            DEFAULT_PROFILES,
            target="sm_89",
            progress=lambda *_: _thread.interrupt_main() if next(once, False) else None,
        )


def test_a_profile_that_the_library_refuses(rtx: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.ranges, "shapes", lambda *_: ((2, 2, 8), (1, 1, 8), (4, 4, 8)))
    with pytest.raises(BackendError, match="rejected profile latency of entities"):
        engines.build_engine(rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89")


def test_workspace(bundle: Path, rtx: TensorRtLibrary) -> None:
    with pytest.raises(ConfigError, match="workspace_mb must be >= 1, got 0"):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"], workspace_mb=0)
    assert engines.build_engine(rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89", workspace_mb=64)


# TensorRT itself, of which there is a stand-in only


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
        progress=lambda *step: steps.append(step),
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
    monkeypatch.setattr(trimf.runtime.engine.cuda, "Device", lambda: SimpleNamespace(target="sm_87", name="Orin"))
    monkeypatch.setattr(tensorrt_library, "import_library", lambda _: tensorrt)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda bundle, **options: compile_bundle(bundle, "tensorrt", **options)


@pytest.mark.parametrize("targets", [[], ["sm_87"]])
def test_tensorrt_compiles_for_the_gpu_present(
    on_a_jetson: Callable[..., Any], bundle: Path, tmp_path: Path, targets: list[str]
) -> None:
    said: list[str] = []
    edit(bundle, precision="bf16")
    built = on_a_jetson(bundle, targets=targets, say=said.append)
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

    monkeypatch.setattr(trimf.runtime.engine.cuda, "Device", none)
    with pytest.raises(BackendError, match="needs the GPU that will run the engine: no NVIDIA driver"):
        on_a_jetson(bundle)


def test_manifests_are_written_alike(exported: Path) -> None:
    content = (exported / "manifest.json").read_bytes()
    assert encode_manifest(Bundle(exported).manifest) == content
    assert json.loads(content)["engines"] == []

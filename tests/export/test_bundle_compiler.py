"""Compiling a bundle: real builds with TensorRT for RTX, which needs no GPU for it."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import onnx
import pytest

import trimf.runtime.engine.cuda
from trimf.export import bundle_compiler as compiling
from trimf.export import engine_builder as engines
from trimf.export.bundle_compiler import compile_bundle
from trimf.export.profiles import parse_profile
from trimf.runtime.bundle.manifest import MatmulCounts, encode_manifest
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.tensorrt_library import TensorRtLibrary
from trimf.runtime.errors import BackendError, BundleError, ConfigError, InputError

BLOCKED = ("torch", "transformers", "trimf_train", "accelerate", "safetensors", "onnx", "onnxscript")


@pytest.fixture(scope="module")
def compiled_once(rtx: TensorRtLibrary, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(exported, tmp_path_factory.mktemp("compiled") / "bundle"))
    compile_bundle(folder, "tensorrt-rtx", targets=["sm_89"])
    return folder


@pytest.fixture
def compiled(compiled_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled_once, tmp_path / "bundle"))


def listing(bundle: Path) -> set[str]:
    return {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}


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
    compile_bundle(compiled, "tensorrt-rtx", targets=["sm_120"], profiles=[parse_profile("batch=1:1:1")])
    both = Bundle(compiled).manifest
    assert both.engines[:4] == before.engines
    assert [engine.target for engine in both.engines] == ["sm_89"] * 4 + ["sm_120"] * 4
    compile_bundle(compiled, "tensorrt-rtx", targets=["sm_89"], profiles=[parse_profile("batch=1:2:4")])
    after = Bundle(compiled).manifest
    assert after.engines[:4] == both.engines[4:]
    assert [profile.axes["batch"] for profile in after.engines[4].profiles] == [(1, 2, 4)]
    assert listing(compiled) == {*after.files, "manifest.json"}


@pytest.mark.slow
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
from trimf.export import bundle_compiler as compiling
write = compiling.write_bundle_file
def killed(folder, name, content):
    if name.startswith({when!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, name, content)
compiling.write_bundle_file = killed
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
        compile_bundle(compiled, "tensorrt-rtx", targets=["sm_89"], profiles=[parse_profile("batch=1:1:1")])
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
    with pytest.raises(InputError, match=r"encoder.tensorrt-rtx.sm_89.\w{8}.engine: cannot be written: "):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])


def test_an_unknown_target(bundle: Path, rtx: TensorRtLibrary) -> None:
    with pytest.raises(ConfigError) as error:
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89", "sm_90"])
    assert f"{rtx.title} cannot build engines for sm_90; choose from sm_75, " in str(error.value)
    assert not (bundle / "engines").exists()


def test_no_target_and_no_gpu(bundle: Path, rtx: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise BackendError("no NVIDIA driver")

    monkeypatch.setattr(trimf.runtime.engine.cuda, "CudaDevice", none)
    with pytest.raises(
        BackendError, match=r"no GPU to take the target from \(no NVIDIA driver\); choose a target from sm_75, .*"
    ):
        compile_bundle(bundle, "tensorrt-rtx")


def test_the_gpu_present(bundle: Path, rtx: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimf.runtime.engine.cuda, "CudaDevice", lambda: SimpleNamespace(target="sm_86", name="A"))
    assert {engine.target for engine in compile_bundle(bundle, "tensorrt-rtx")} == {"sm_86"}


def test_graphs_that_are_not_what_the_manifest_says(
    bundle: Path, rtx: TensorRtLibrary, edit_manifest: Callable[..., None]
) -> None:
    edit_manifest(bundle, precision="fp16")
    with pytest.raises(
        BundleError, match=r"only 0% of the matrix products are half precision \(0 of \d+: encoder 0 of"
    ):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])
    edit_manifest(bundle, precision="int8")
    with pytest.raises(
        BundleError,
        match=r"is int8 for CPUs and cannot run on tensorrt-rtx; .*--fp16.*trimf compile",
    ):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])


def test_the_workspace_has_limits(bundle: Path, rtx: TensorRtLibrary) -> None:
    with pytest.raises(ConfigError, match="workspace_mb must be >= 1, got 0"):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"], workspace_mb=0)


def test_manifests_are_written_alike(exported: Path) -> None:
    content = (exported / "manifest.json").read_bytes()
    assert encode_manifest(Bundle(exported).manifest) == content
    assert json.loads(content)["engines"] == []

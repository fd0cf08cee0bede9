"""A model without relation types, from its data to a bundle on every backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from support.encoders import Make

import trimf
from trimf.cli import cli
from trimf.export import parity_limits
from trimf.export.bundle_compiler import compile_bundle
from trimf.export.exporter import export_checkpoint
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import JOINED, list_subgraphs
from trimf.runtime.engine.engine_selection import select_subgraphs
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.engine.onnx_gpu_backend import OnnxGpuBackend
from trimf.runtime.engine.onnx_providers import PROVIDERS, Provider
from trimf.runtime.engine.tensorrt_library import TensorRtLibrary
from trimf.runtime.pipeline_loading import open_pipeline
from trimf_train.config import Config
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import Sentence
from trimf_train.training.train import train_model


class HeadedParser:
    """Every word hangs on the first, with the label of the training data."""

    name = "by-hand"
    labels = ("ROOT", "nsubj")

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Any]:
        return [trimf.Parse([0] * len(words), ["ROOT", *["nsubj"] * (len(words) - 1)]) for words in sentences]


@pytest.fixture(scope="module")
def folders(
    once: Callable[[str, Make], Path], configure_in: Callable[..., Config], sentences: list[Sentence]
) -> dict[str, Path]:
    """Runs on the tiny sentences without their relations, with a parser before the model and with one in it."""

    def make(folder: Path) -> None:
        for source in ("spacy", "encoder"):
            config = configure_in(
                folder,
                source,
                data={"symmetric": []},
                model={"syntax": {"source": source}},
                train={"stage1": {"epochs": 12}, "stage2": {"epochs": 8}, "lr": 1e-2},
            )
            bare = [msgspec.structs.replace(sentence, relations=[]) for sentence in sentences]
            (folder / "train.jsonl").write_bytes(b"".join(map(encode_line, bare)))
            train_model(config)

    folder = once("entities-only", make)
    return {source: folder / source for source in ("spacy", "encoder")} | {"data": folder / "train.jsonl"}


def run(*arguments: Any) -> str:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_training_keeps_the_epoch_with_the_best_entities(folders: dict[str, Path]) -> None:
    lines = [json.loads(line) for line in (folders["spacy"] / "metrics.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["type"] == "epoch"]
    assert all("relation_loss" not in record and record["entity_loss"] >= 0 for record in records)
    best = json.loads((folders["spacy"] / "best" / "trimf.json").read_text())
    scores = [record["dev"]["entities"]["micro"]["f1"] for record in records if record["stage"] == 2]
    assert best["provenance"]["dev"]["entities"]["micro"]["f1"] == max(scores) > 90
    assert best["labels"]["relations"] == []


def test_evaluation_shows_no_relations(folders: dict[str, Path]) -> None:
    shown = run("eval", folders["spacy"] / "best", folders["data"])
    assert "Entities" in shown
    assert "Relations" not in shown
    assert "no relations" in shown


@pytest.mark.slow
@pytest.mark.parametrize(("source", "precision"), [("encoder", "fp32"), ("encoder", "fp16"), ("spacy", "int8")])
def test_a_bundle_has_no_relations_graph(
    folders: dict[str, Path], tmp_path: Path, source: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "int8":  # the limits are for models of a useful size
        monkeypatch.setitem(parity_limits.LIMITS, precision, parity_limits.ParityLimits(0.5, 0.0, 0.0, 0.0, 0.0, 100.0))
    options = {"calibration_data": folders["data"]} if precision == "int8" else {}
    bundle = tmp_path / "bundle"
    manifest = export_checkpoint(folders[source] / "best", bundle, precision=precision, explain=True, **options)
    assert ("joined-fused.onnx" in manifest.files) == (source == "encoder")
    assert "relations-fused.onnx" not in manifest.files
    assert "relations.onnx" not in manifest.files
    assert set(manifest.products) == {"encoder", "fusion", "entities"}
    assert "relation" not in (bundle / "MODEL_CARD.md").read_text().replace("no relation types", "")
    assert "finds entities alone" in run("inspect", bundle)
    run("verify", bundle, "--data", folders["data"])
    if precision == "fp16":
        return  # not for the CPU
    parser = None if source == "encoder" else HeadedParser()
    with trimf.load(bundle, backend="cpu", parser=parser, candidates=True, warm=True, threshold=0.9) as extract:
        doc = extract("Alice lives in Paris .")
        assert [entity.label for entity in doc.entities] == ["Peop", "Loc"]
        assert (doc.relations, doc.notices) == ((), ())
        assert not doc.candidates.relations
        assert trimf.Extraction.from_json(doc.to_json()) == doc
        long = extract("Alice lives in Paris , " * 300)
        assert not [notice for notice in long.notices if "relation" in notice]
        with pytest.raises(trimf.InputError, match="the model has no relation types"):
            extract.relate("Alice", [(0, 5, "Peop")])
    if source == "encoder":
        assert json.loads(run("explain", bundle, "Alice lives in Paris."))[0]["relations"] == []
        return
    with pytest.raises(trimf.InputError, match=r"threshold: the model has no label 'Kill' .*it has none of this kind"):
        trimf.load(bundle, parser=HeadedParser(), threshold={"Kill": 0.9})


@pytest.mark.slow
def test_engines_and_devices(
    folders: dict[str, Path], tmp_path: Path, rtx: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundle"
    export_checkpoint(folders["encoder"] / "best", folder)
    compile_bundle(folder, "tensorrt-rtx", targets=["sm_89"])
    bundle = Bundle(folder)
    assert [engine.subgraph for engine in bundle.manifest.engines] == [JOINED]
    assert select_subgraphs(bundle, True, "sm_89", "tensorrt-rtx", rtx.version) == (JOINED,)
    compile_bundle(folder, "tensorrt-rtx", targets=["sm_89"], separate=True)
    names = select_subgraphs(Bundle(folder), False, "sm_89", "tensorrt-rtx", rtx.version)
    assert names == list_subgraphs(relations=False)

    # The CPU by way of device memory, on which fused graphs run.
    fusing = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0), fuses=True)
    monkeypatch.setitem(PROVIDERS, "fusing", fusing)
    words = [["Alice", "lives", "in", "Paris", "."], ["Bob"]]
    found = []
    for backend in (OnnxGpuBackend("fusing"), OnnxCpuBackend(1)):
        pipeline = open_pipeline(Bundle(folder), backend)
        found.append([[one[:3] for one in result.decoded.entities] for result in pipeline.run_words(words)])
        pipeline.close()
    assert found[0] == found[1] != [[], []]

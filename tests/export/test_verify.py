"""Bundles compared on a backend with PyTorch or with a plain run of their graphs."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from trimf.export import parity_limits
from trimf.export import verify as module
from trimf.export.verify import save_report, verify_bundle
from trimf.runtime.bundle.parity_report import encode_parity
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.errors import BackendError, BundleError, DataError


@pytest.fixture(scope="module")
def bundles(checkpoint_folder, tiny_data, quick_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    for precision in ("fp32", "fp16", "bf16"):
        quick_export(checkpoint_folder, folder / precision, precision=precision, data=tiny_data)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_a_bundle_agrees_with_its_checkpoint_and_with_itself(
    bundles, checkpoint_folder, tiny_data, precision, with_checkpoint
):
    against = checkpoint_folder if with_checkpoint else None
    report = verify_bundle(bundles / precision, backend="cpu", against=against, data=tiny_data, threads=1)
    assert report.failure is None
    assert report.against == ("PyTorch" if with_checkpoint else "ONNX Runtime, unoptimised")
    assert (report.backend, report.reason[:9]) == ("cpu", "requested")
    assert report.extractions.identical == 100.0
    assert report.extractions.reference == report.extractions.exported
    assert set(report.subgraphs) == {
        "encoder.words",
        "encoder.cls",
        "fusion.nodes",
        "entities.entity_logits",
        "relations.relation_logits",
        "relations.triggers",
        "relations.word_logits",
    }
    assert report.skipped == {}


def test_without_data_the_built_in_samples_are_compared(bundles):
    extractions = verify_bundle(bundles / "fp32").extractions
    assert extractions.data == "built-in samples"
    assert extractions.reference is msgspec.UNSET


def test_what_exceeds_a_limit_is_reported_and_named(bundles, tiny_data, monkeypatch):
    exact = parity_limits.ParityLimits(
        max_relative_error=-1.0,
        min_identical=100.0,
        min_entity_agreement=100.0,
        min_relation_agreement=100.0,
        min_identical_arcs=100.0,
        max_f1_loss=0.0,
    )
    monkeypatch.setitem(parity_limits.LIMITS, "fp32", exact)
    assert "encoder.words" in verify_bundle(bundles / "fp32", data=tiny_data).failure


def test_a_damaged_file_is_refused_even_if_the_comparison_would_not_read_it(bundles, tmp_path):
    shutil.copytree(bundles / "fp32", tmp_path / "b")
    card = tmp_path / "b" / "MODEL_CARD.md"
    card.write_bytes(card.read_bytes().replace(b"T", b"t", 1))
    with pytest.raises(BundleError, match=r"MODEL_CARD\.md: SHA-256"):
        verify_bundle(tmp_path / "b")


def test_bf16_says_where_it_runs(bundles):
    with pytest.raises(BackendError, match="bf16, which runs only on a GPU"):
        verify_bundle(bundles / "bf16", backend="cpu")


def test_what_bf16_cannot_be_compared_by_itself_is_named(bundles, checkpoint_folder, tiny_data, monkeypatch):
    """On a device bfloat16 stays there: the whole extraction still tells, here with a stand-in for the device."""

    class Bf16:
        def __init__(self, graph):
            self._graph = graph
            self.inputs, self.outputs = graph.inputs, graph.outputs
            inner = ("words", "cls", "nodes")
            self.types = {name: None if name in inner else kind for name, kind in graph.types.items()}

        def run(self, arrays):
            return self._graph.run(arrays)

        def close(self):
            self._graph.close()

    opened = module.open_pipeline

    def on_a_device(bundle, backend):
        pipeline = opened(bundle, backend)
        if backend.name == "device":
            pipeline.graphs = {name: Bf16(graph) for name, graph in pipeline.graphs.items()}
        return pipeline

    def device(name, threads, files):
        backend = module.OnnxCpuBackend(threads)
        backend.name = "device"
        return backend

    monkeypatch.setattr(module, "open_pipeline", on_a_device)
    monkeypatch.setattr(module, "open_backend", device)
    report = verify_bundle(bundles / "fp32", against=checkpoint_folder, data=tiny_data)
    assert list(report.skipped) == ["encoder", "fusion", "entities", "relations"]
    assert report.subgraphs == {}
    assert report.extractions.identical == 100.0
    assert report.failure is None


def test_another_checkpoint_is_refused(bundles, checkpoint_folder, tiny_checkpoint, tmp_path):
    shutil.copytree(checkpoint_folder, tmp_path / "other")
    description = tmp_path / "other" / "trimf.json"
    first = tiny_checkpoint.description.labels.entity_types[0]
    description.write_text(description.read_text().replace(f'"{first}"', '"Another"'))
    with pytest.raises(BundleError, match="its labels differ from the bundle's"):
        verify_bundle(bundles / "fp32", against=tmp_path / "other")


def test_a_report_is_kept_in_the_manifest_and_replaces_an_older_one(bundles, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(bundles / "fp32", folder)
    before = Bundle(folder).manifest
    report = verify_bundle(folder, backend="cpu")
    save_report(folder, msgspec.structs.replace(report, failure="of old"))
    save_report(folder, report)
    after = Bundle(folder).manifest
    assert after.parity == {**before.parity, "verified": {"cpu": encode_parity(report)}}
    assert msgspec.structs.replace(after, parity=before.parity) == before
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in (bundles / "fp32").iterdir())


def test_empty_data_is_refused(bundles, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty\.jsonl"):
        verify_bundle(bundles / "fp32", data=tmp_path / "empty.jsonl")

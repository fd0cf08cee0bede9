"""Whole exports of a tiny trained model."""

from __future__ import annotations

import io
import json
import logging

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console

import trimf
from trimf.export import exporter as bundles
from trimf.export import parity_limits
from trimf.export.exporter import export_checkpoint
from trimf.export.model_card import render_model_card
from trimf.export.verify import verify_bundle
from trimf.runtime.bundle.parity_report import decode_parity, read_accepted
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BackendError, BundleError, ConfigError, DataError, InputError
from trimf.runtime.output.bundle_tables import build_bundle_tables
from trimf.runtime.pipeline_loading import open_pipeline
from trimf.runtime.text.batch_arrays import Batch, pad_subwords
from trimf.runtime.text.parser import Parse
from trimf_train.evaluation.evaluate import evaluate_file
from trimf_train.evaluation.scores import compute_scores
from trimf_train.model.torch_backend import build_pipeline


@pytest.fixture(scope="module")
def bundle(checkpoint_folder, tiny_data, tmp_path_factory):
    """Traced anew: the one export here that is whole."""
    output = tmp_path_factory.mktemp("bundles") / "fp32"
    export_checkpoint(checkpoint_folder, output, data=tiny_data, licence="CC0")
    return output


@pytest.mark.slow
def test_the_bundle_opens_and_says_what_it_is(bundle):
    opened = Bundle(bundle)
    assert opened.manifest.precision == "fp32"
    assert opened.manifest.licence == "CC0"
    assert opened.manifest.parity["extractions"]["identical"] == 100.0
    assert set(opened.manifest.files) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    said = (bundle / "MODEL_CARD.md").read_text()
    assert "CC0" in said
    assert all(label in said for label in opened.manifest.labels.entity_types)


def test_the_bundle_scores_as_the_checkpoint_does(bundle, checkpoint_folder, tiny_data):
    assert evaluate_file(bundle, tiny_data) == evaluate_file(checkpoint_folder, tiny_data)


@pytest.mark.slow
def test_two_exports_are_equal_byte_by_byte(bundle, checkpoint_folder, tiny_data, tmp_path, quick_export):
    quick_export(checkpoint_folder, tmp_path / "again", data=tiny_data, licence="CC0")
    for path in sorted(bundle.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_card_says_what_scores_were_calibrated_on(bundle):
    manifest = Bundle(bundle).manifest
    assert "temperature" not in render_model_card(manifest)
    fitted = {"temperature": 2.5, "scores": 881, "before": 0.11, "after": 0.034}
    provenance = {**manifest.provenance, "calibration": {"entities": fitted, "relations": fitted}}
    assert (
        "- relation scores: temperature 2.50, fitted on 881 scores; expected calibration error 0.110 before and 0.034 "
        "after"
    ) in render_model_card(msgspec.structs.replace(manifest, provenance=provenance))


@pytest.mark.slow
def test_letter_case_goes_with_the_bundle(create, tiny_heads, quick_export, sentences, tmp_path):
    checkpoint = create(encoder={"casing": True})
    checkpoint.model.load_state_dict(tiny_heads, strict=False)
    with torch.no_grad():
        checkpoint.model.encoder.get_input_embeddings().casing.normal_()
    checkpoint.save(tmp_path / "best")
    quick_export(tmp_path / "best", tmp_path / "bundle")
    opened = Bundle(tmp_path / "bundle")
    assert opened.manifest.casing
    pipelines = (open_pipeline(opened, OnnxCpuBackend(1)), build_pipeline(checkpoint))
    lower = [[word.lower() for word in sentence.tokens] for sentence in sentences]
    states = []
    for words in (lower, [sentence.tokens for sentence in sentences]):
        found = []
        for one in pipelines:
            arrays = dict(zip(Batch._fields, pad_subwords(one.tokenizer.encode(words)), strict=False))
            found.append(np.asarray(one.graphs["encoder"].run(arrays)["words"]))
        np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
        states.append(found[0])
    assert np.abs(states[0] - states[1]).max() > 0.1


@pytest.fixture
def lenient(monkeypatch):
    """A model this small has no reason to agree with itself in few bits."""
    for precision in ("fp16", "bf16", "int8", "int8-qdq"):
        monkeypatch.setitem(parity_limits.LIMITS, precision, parity_limits.ParityLimits(0.5, 0.0, 0.0, 0.0, 0.0, 100.0))


PRODUCTS = {
    "fp32": {"half": 0, "single": 18, "int8": 0},
    "fp16": {"half": 18, "single": 0, "int8": 0},
    "bf16": {"half": 18, "single": 0, "int8": 0},
    "int8": {"half": 0, "single": 6, "int8": 12},
    "int8-qdq": {"half": 6, "single": 0, "int8": 12},
}


@pytest.mark.parametrize("precision", PRODUCTS)
def test_a_precision_is_written_scored_and_the_same_every_time(
    checkpoint_folder, tiny_data, tmp_path, quick_export, lenient, precision
):
    quantized = precision.startswith("int8")
    options = {"precision": precision, "data": tiny_data, "calibration_data": tiny_data if quantized else None}
    manifest = quick_export(checkpoint_folder, tmp_path / "one", **options)
    quick_export(checkpoint_folder, tmp_path / "two", **options)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"manifest.json", *manifest.files}
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    opened = Bundle(tmp_path / "one").manifest
    assert opened == manifest
    assert opened.precision == precision
    assert opened.opset == (19 if precision == "int8-qdq" else 18)
    assert set(opened.products) == set(SUBGRAPHS)
    assert msgspec.structs.asdict(opened.products["encoder"]) == PRODUCTS[precision]
    assert (opened.quantization is not None) == quantized
    assert opened.parity["against"] == "PyTorch"
    assert opened.parity["extractions"]["identical"] >= 75.0
    if quantized:
        assert opened.quantization.data.endswith("/tiny.jsonl")
        assert opened.quantization.sentences == 12
        # Those of the encoder, and on a CPU the fusion's: two with every word, one with the first subword.
        count = 15 if precision == "int8" else 12
        assert opened.quantization.quantized + len(opened.quantization.kept) == count
    if precision == "bf16":
        with pytest.raises(BackendError, match="bf16"):
            evaluate_file(tmp_path / "one", tiny_data, backend="cpu")
        return
    score = evaluate_file(tmp_path / "one", tiny_data, backend="cpu")["entities"]["micro"]["f1"]
    assert score == pytest.approx(opened.parity["extractions"]["exported"]["entities"], abs=5.0)


def test_int8_needs_calibration_and_nothing_else_does(checkpoint_folder, tiny_data, tmp_path):
    for precision in ("int8", "int8-qdq"):
        with pytest.raises(ConfigError, match=f"--{precision} needs --calibration-data FILE"):
            export_checkpoint(checkpoint_folder, tmp_path / "b", precision=precision)
    for precision in ("fp32", "fp16", "bf16"):
        with pytest.raises(ConfigError, match=f"applies only to --int8 and --int8-qdq, not to {precision}"):
            export_checkpoint(checkpoint_folder, tmp_path / "b", precision=precision, calibration_data=tiny_data)
    with pytest.raises(ConfigError, match="--int8 is for CPUs only and excludes --target sm_89"):
        export_checkpoint(
            checkpoint_folder, tmp_path / "b", precision="int8", calibration_data=tiny_data, targets=["sm_89"]
        )
    assert not list(tmp_path.iterdir())


def test_failing_parity_fails_the_export_and_leaves_nothing(checkpoint_folder, tmp_path, monkeypatch, traced):
    wrong = onnx.ModelProto()
    wrong.CopyFrom(traced("bert")["entities"])
    weight = next(one for one in wrong.graph.initializer if len(one.dims) == 2 and 16 in one.dims)
    weight.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weight), weight.name))
    monkeypatch.setattr(bundles, "_trace_subgraphs", lambda *_: {**traced("bert"), "entities": wrong})
    with pytest.raises(
        BundleError, match=r"parity: entities\.entity_logits has a relative error .*maximum 0\.001 for fp32"
    ):
        export_checkpoint(checkpoint_folder, tmp_path / "b")
    assert not list(tmp_path.iterdir())
    with pytest.raises(BundleError, match="--accept-difference writes the bundle all the same and records this"):
        export_checkpoint(checkpoint_folder, tmp_path / "b")
    lines: list[str] = []
    manifest = export_checkpoint(checkpoint_folder, tmp_path / "b", accept_difference=True, log=lines.append)
    accepted = decode_parity(manifest.parity).accepted
    assert accepted[0].subject == "entities.entity_logits"
    assert accepted[0].value > accepted[0].limit == 0.001
    assert any(line.startswith("accepted although a limit is exceeded: entities.entity_logits") for line in lines)
    assert "exceeds limits of fp32" in (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert read_accepted(Bundle(tmp_path / "b").manifest.parity) == accepted
    console = Console(file=io.StringIO(), width=160)
    console.print(build_bundle_tables(Bundle(tmp_path / "b")))
    assert "limits exceeded, accepted at the export" in console.file.getvalue()
    assert verify_bundle(tmp_path / "b", backend="cpu").accepted == accepted


def test_a_bundle_with_accepted_differences_loads(checkpoint_folder, tmp_path, quick_export, monkeypatch):
    strict = parity_limits.ParityLimits(-1.0, 100.0, 100.0, 100.0, 100.0, 0.0)
    monkeypatch.setitem(parity_limits.LIMITS, "fp32", strict)
    quick_export(checkpoint_folder, tmp_path / "b", accept_difference=True)

    class Roots:
        name, labels = "roots", ()

        def parse(self, lists):
            return [Parse(np.arange(len(words)), ["ROOT"] * len(words)) for words in lists]

    with trimf.load(tmp_path / "b", backend="cpu", threads=1, parser=Roots()) as extract:
        assert "encoder.words" in {one["subject"] for one in extract.bundle.manifest.parity["accepted"]}
        assert list(extract.words([["Alice", "lives", "in", "Rome"]]))


def test_an_existing_bundle_is_kept_unless_overwritten(checkpoint_folder, tmp_path, quick_export):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        quick_export(checkpoint_folder, tmp_path / "b")
    assert (tmp_path / "b" / "note.txt").read_text() == "mine"
    with pytest.raises(InputError, match="is not a bundle"):
        quick_export(checkpoint_folder, tmp_path / "b", overwrite=True)
    (tmp_path / "b" / "note.txt").unlink()
    for _ in range(2):
        quick_export(checkpoint_folder, tmp_path / "b", overwrite=True)
    parity_report = Bundle(tmp_path / "b").manifest.parity
    # Without data, sentences that come with TriMF are compared; they have no gold annotation.
    assert parity_report["extractions"]["data"] == "built-in samples"
    assert "exported" not in parity_report["extractions"]


def test_unprepared_data_is_refused(checkpoint_folder, tmp_path):
    (tmp_path / "raw.json").write_text(json.dumps([{"tokens": ["a"], "entities": [], "relations": []}]))
    with pytest.raises(DataError, match="trimf prepare"):
        export_checkpoint(checkpoint_folder, tmp_path / "b", data=tmp_path / "raw.json")


def test_logging_is_left_as_it_was(bundle):
    assert logging.getLogger().level == logging.WARNING


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("family", ["mpnet", "roberta"])
def test_other_families_export(family_checkpoints, tmp_path, quick_export, family, precision):
    family_checkpoints[family].save(tmp_path / "checkpoint")
    manifest = quick_export(tmp_path / "checkpoint", tmp_path / "bundle", precision=precision)
    assert manifest.parity["extractions"]["identical"] == 100.0


def test_an_extractor_gives_what_pytorch_gives(bundle, tiny_checkpoint, sentences):
    class Given:
        name, labels = "given", ()

        def parse(self, lists):
            parses = {tuple(one.tokens): Parse(one.heads, one.labels) for one in sentences}
            return [parses[tuple(words)] for words in lists]

    from trimf_train.evaluation.prediction import predict_annotations

    labels = tiny_checkpoint.description.labels
    expected = predict_annotations(build_pipeline(tiny_checkpoint), labels, sentences)
    extract = trimf.load(bundle, parser=Given())
    docs = list(extract.words([one.tokens for one in sentences], batch_size=3))
    for doc, annotation in zip(docs, expected, strict=True):
        assert [entity.label for entity in doc.entities] == [label for *_, label in annotation.entities]
        assert len(doc.relations) == len(list(annotation.relations))
    assert compute_scores(expected, expected)["sentences"] == len(docs)
    assert msgspec.json.decode(docs[0].to_json())["text"] == " ".join(sentences[0].tokens)

"""Whole exports of a tiny trained model."""

from __future__ import annotations

import json
import logging

import msgspec
import pytest

import trimf
from trimf.export import bundle as bundles
from trimf.export import parity
from trimf.export.bundle import export
from trimf.runtime.bundle import Bundle
from trimf.runtime.errors import BundleError, ConfigError, DataError, InputError
from trimf_train import metrics
from trimf_train.evaluate import evaluate_file
from trimf_train.inference import pipeline


@pytest.fixture(scope="module")
def checkpoint_folder(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "best"
    tiny_checkpoint.save(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint_folder, tiny_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("bundles") / "fp32"
    export(checkpoint_folder, output, data=tiny_data, licence="CC0")
    return output


def test_the_bundle_opens_and_says_what_it_is(bundle):
    opened = Bundle(bundle)
    assert opened.manifest.precision == "fp32"
    assert opened.manifest.licence == "CC0"
    assert opened.manifest.parity["extractions"]["identical"] == 100.0
    assert set(opened.manifest.files) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "CC0" in card
    assert all(label in card for label in opened.manifest.labels.entities)


def test_the_bundle_scores_as_the_checkpoint_does(bundle, checkpoint_folder, tiny_data):
    assert evaluate_file(bundle, tiny_data) == evaluate_file(checkpoint_folder, tiny_data)


def test_two_exports_are_equal_byte_by_byte(bundle, checkpoint_folder, tiny_data, tmp_path):
    export(checkpoint_folder, tmp_path / "again", data=tiny_data, licence="CC0")
    for path in sorted(bundle.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_int8(checkpoint_folder, tiny_data, tmp_path, monkeypatch):
    # A model this small has no reason to agree with itself in eight bits; the limits are tested below.
    monkeypatch.setitem(parity.LIMITS, "int8", parity.Limits(None, 0.0, 0.0, 100.0))
    with pytest.raises(ConfigError, match="--calibrate"):
        export(checkpoint_folder, tmp_path / "b", int8=True)
    manifest = export(checkpoint_folder, tmp_path / "b", int8=True, calibrate=tiny_data, data=tiny_data)
    assert manifest.precision == "int8"
    evaluate_file(tmp_path / "b", tiny_data)


def test_failing_parity_fails_the_export_and_leaves_nothing(checkpoint_folder, tmp_path, monkeypatch):
    build = bundles.build

    def wrong(model, stage):
        graphs = build(model, stage)
        graphs["entities"].of_width += 0.01
        return graphs

    monkeypatch.setattr(bundles, "build", wrong)
    with pytest.raises(BundleError, match=r"parity: entities\.entity_logits differs from PyTorch by .*limit 0\.001"):
        export(checkpoint_folder, tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_an_existing_bundle_is_kept_unless_overwritten(bundle, checkpoint_folder, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export(checkpoint_folder, tmp_path / "b")
    assert (tmp_path / "b" / "note.txt").read_text() == "mine"
    export(checkpoint_folder, tmp_path / "b", overwrite=True)
    parity_report = Bundle(tmp_path / "b").manifest.parity
    # Without data, sentences that come with TriMF are compared; they have no gold annotation.
    assert parity_report["extractions"]["data"] == "built-in samples"
    assert "exported" not in parity_report["extractions"]


def test_unprepared_data_is_refused(checkpoint_folder, tmp_path):
    (tmp_path / "raw.json").write_text(json.dumps([{"tokens": ["a"], "entities": [], "relations": []}]))
    with pytest.raises(DataError, match="trimf prepare"):
        export(checkpoint_folder, tmp_path / "b", data=tmp_path / "raw.json")


def test_logging_is_left_as_it_was(bundle):
    assert logging.getLogger().level == logging.WARNING


@pytest.mark.parametrize("family", ["mpnet", "roberta"])
def test_other_families_export(create, tmp_path, family):
    create(family).save(tmp_path / "checkpoint")
    manifest = export(tmp_path / "checkpoint", tmp_path / "bundle")
    assert manifest.parity["extractions"]["identical"] == 100.0


def report(**changes):
    extractions = {
        "sentences": 10,
        "identical": 100.0,
        "data": "x",
        "agreement": {"entities": 100.0, "relations": 100.0, "support": [5, 5]},
        "pytorch": {"entities": 80.0, "relations": 60.0, "support": [5, 5]},
        "exported": {"entities": 80.0, "relations": 60.0, "support": [5, 5]},
    }
    return {"subgraphs": {"encoder.words": {"max": 1e-5, "mean": 0, "p99": 0}}, "extractions": extractions | changes}


def test_limits():
    parity.check(report(), "fp32")
    with pytest.raises(BundleError, match=r"F1 of relations is 0\.60 below"):
        parity.check(report(exported={"entities": 80.0, "relations": 59.4, "support": [5, 5]}), "int8")
    with pytest.raises(BundleError, match="entities agree"):
        parity.check(report(agreement={"entities": 99.9, "relations": 100.0, "support": [5, 5]}), "fp32")
    nothing = {"entities": 100.0, "relations": 0.0, "support": [5, 0]}
    parity.check(report(agreement=nothing), "fp32")
    with pytest.raises(BundleError, match="relations agree"):
        parity.check(report(agreement=nothing, identical=90.0), "fp32")
    infinite = report()
    infinite["subgraphs"]["encoder.words"]["max"] = float("nan")
    with pytest.raises(BundleError, match=r"encoder\.words"):
        parity.check(infinite, "int8")


def test_an_extractor_gives_what_pytorch_gives(bundle, tiny_checkpoint, sentences):
    class Given:
        name, labels = "given", ()

        def parse(self, lists):
            parses = {tuple(one.tokens): (one.heads, one.labels) for one in sentences}
            return [parses[tuple(words)] for words in lists]

    from trimf_train.evaluate import predict

    labels = tiny_checkpoint.description.labels
    expected = predict(pipeline(tiny_checkpoint), labels, sentences)
    extract = trimf.load(bundle, parser=Given())
    docs = list(extract.words([one.tokens for one in sentences], batch_size=3))
    for doc, annotation in zip(docs, expected, strict=True):
        assert [entity.label for entity in doc.entities] == [label for *_, label in annotation.entities]
        assert len(doc.relations) == len(list(annotation.relations))
    assert metrics.evaluate(expected, expected)["sentences"] == len(docs)
    assert msgspec.json.decode(docs[0].to_json())["text"] == " ".join(sentences[0].tokens)

"""Sensors of checkpoints and bundles are taught; what the models find stays the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimf.cli import main
from trimf.export.bundle_writer import describe_file
from trimf.export.taught_bundle import teach_bundle
from trimf.runtime.bundle.manifest import EFFECTS_FILE, SCHEMA_VERSION, encode_manifest
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.decoding.span_decoding import DecodedSentence
from trimf.runtime.errors import BundleError, DataError, InputError
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.pipeline_loading import read_effects
from trimf_train.evaluation.model_loading import open_bundle
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import load_checkpoint
from trimf_train.triggers.taught_models import describe_sensor, teach_checkpoint

Export = Callable[..., Any]


@pytest.fixture(scope="module")
def taught(checkpoint_folder: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a sensor that was taught."""
    folder = tmp_path_factory.mktemp("taught") / "best"
    teach_checkpoint(checkpoint_folder, [many], None, folder)
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint_folder: Path, quick_export: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    quick_export(checkpoint_folder, folder)
    return folder


@pytest.fixture(scope="module")
def taught_bundle(exported: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught") / "bundle"
    teach_bundle(exported, [many], None, folder, threads=1)
    return folder


def extract(pipeline: Pipeline, parsed: list[ParsedSentence]) -> list[DecodedSentence]:
    return [result.decoded for result in pipeline.run(parsed)]


def open_checkpoint_pipeline(folder: Path) -> Pipeline:
    return inference.build_pipeline(load_checkpoint(folder))


def check_found_stays(one: list[DecodedSentence], other: list[DecodedSentence]) -> None:
    """Entities and relations are the same; only what the sensor says is not."""
    assert [found.entities for found in one] == [found.entities for found in other]
    assert [[link[:4] for link in found.relations] for found in one] == [
        [link[:4] for link in found.relations] for found in other
    ]
    assert any(found.relations for found in one)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_is_taught_and_finds_the_same(
    checkpoint_folder: Path, taught: Path, parsed: list[ParsedSentence]
) -> None:
    assert files_of(taught) == {*files_of(checkpoint_folder), EFFECTS_FILE}
    assert (taught / "model.safetensors").read_bytes() == (checkpoint_folder / "model.safetensors").read_bytes()
    before, after = load_checkpoint(checkpoint_folder), load_checkpoint(taught)
    assert before.effects is None
    assert after.effects is not None
    assert 0.01 <= after.description.trigger_floor <= 0.2
    expected = msgspec.structs.replace(before.description, trigger_floor=after.description.trigger_floor)
    assert after.description == expected
    one, other = (extract(open_checkpoint_pipeline(folder), parsed) for folder in (checkpoint_folder, taught))
    check_found_stays(one, other)
    for sentence, found in zip(parsed, other, strict=True):
        for relation in found.relations:
            assert relation.trigger_weights.shape == (len(sentence.words),)
            for span in found.entities:
                assert not relation.trigger_weights[span.start : span.end].any()


def test_teaching_again_gives_the_same_file(checkpoint_folder: Path, taught: Path, many: Path, tmp_path: Path) -> None:
    teach_checkpoint(checkpoint_folder, [many], None, tmp_path / "again")
    teach_checkpoint(checkpoint_folder, [many], None, tmp_path / "other", seed=1)
    first, again, other = ((folder / EFFECTS_FILE).read_bytes() for folder in (taught, *sorted(tmp_path.iterdir())))
    assert first == again
    assert first != other


def test_a_taught_checkpoint_is_saved_and_taught_in_place(taught: Path, many: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(taught, tmp_path / "copy"))
    with pytest.raises(InputError, match="copy"):
        teach_checkpoint(folder, [many], None, folder)
    sensor = teach_checkpoint(folder, [many], many, folder, seed=3, overwrite=True)
    assert load_checkpoint(folder).description.trigger_floor == sensor.floor
    assert sensor.relations > 50
    assert "\n" not in describe_sensor(sensor)
    assert f"taught with {sensor.relations} relations" in describe_sensor(sensor)
    assert "none of 0" in describe_sensor(sensor._replace(judged=0))


def test_a_bundle_is_taught_and_finds_the_same(
    exported: Path, taught_bundle: Path, parsed: list[ParsedSentence], capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = Bundle(exported).manifest, Bundle(taught_bundle).manifest
    assert files_of(taught_bundle) == {*files_of(exported), EFFECTS_FILE}
    for name in before.files:
        assert (taught_bundle / name).read_bytes() == (exported / name).read_bytes()
    assert (before.triggers, after.triggers) == ("contribution", "effect")
    assert after.schema_version == SCHEMA_VERSION
    assert after.files == {**before.files, EFFECTS_FILE: describe_file((taught_bundle / EFFECTS_FILE).read_bytes())}
    changed = {"triggers": "effect", "trigger_floor": after.trigger_floor, "files": after.files}
    assert after == msgspec.structs.replace(before, **changed)
    check_found_stays(*(extract(open_bundle(folder, 1).pipeline, parsed) for folder in (exported, taught_bundle)))
    assert main(["inspect", str(taught_bundle)]) == 0
    assert "points of probability" in " ".join(capsys.readouterr().out.split())


def test_an_export_carries_the_sensor(
    taught: Path, quick_export: Export, parsed: list[ParsedSentence], tmp_path: Path
) -> None:
    quick_export(taught, tmp_path / "bundle")
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.manifest.triggers == "effect"
    assert bundle.manifest.trigger_floor == load_checkpoint(taught).description.trigger_floor
    assert bundle.read(EFFECTS_FILE) == (taught / EFFECTS_FILE).read_bytes()
    expected = extract(open_checkpoint_pipeline(taught), parsed)
    for one, other in zip(expected, extract(open_bundle(bundle.path, 1).pipeline, parsed), strict=True):
        for relation, copy in zip(one.relations, other.relations, strict=True):
            np.testing.assert_allclose(copy.trigger_weights, relation.trigger_weights, rtol=1e-3, atol=1e-3)


def test_too_little_data_is_a_line(
    checkpoint_folder: Path, exported: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="its trigger sensor needs 50 to learn from; pass more sentences"):
        teach_checkpoint(checkpoint_folder, [tiny_data], None, tmp_path / "out")
    for model in (checkpoint_folder, exported):
        assert main(["triggers", str(model), str(tiny_data), "--output", str(tmp_path / "out")]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert "relations in 12 sentences" in last
        assert "pass more sentences" in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["checkpoint", "bundle"])
def test_the_command_goes_on_with_its_cache(
    kind: str,
    checkpoint_folder: Path,
    exported: Path,
    many: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = checkpoint_folder if kind == "checkpoint" else exported
    output, cache = tmp_path / "out", tmp_path / "kept.jsonl"
    command = ["triggers", str(model), str(many), "--output", str(output), "--cache", str(cache), "--threads", "1"]
    assert main(command) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("trigger sensor: taught with ")
    lines = cache.read_text().splitlines()
    cache.write_text("\n".join(lines[:30]) + "\n[9, [")
    assert main(command) == 2
    message = capsys.readouterr().err
    assert str(output) in message
    assert message.count("\n") == 1
    assert main([*command, "--overwrite"]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("trigger sensor: taught with ")
    assert len(cache.read_text().splitlines()) == len(lines)
    assert cache.read_text().splitlines()[:30] == lines[:30]
    assert (output / EFFECTS_FILE).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no/model", "DATA"], "no/model"),
        (["MODEL", "no.jsonl"], "no.jsonl"),
        (["MODEL"], "DATA"),
        (["MODEL", "DATA", "--cache", "DATA"], "not a file of measured effects, and is not replaced"),
        (["MODEL", "DATA", "--cache", "DATA/kept"], "DATA/kept: cannot be "),
        (["MODEL", "DATA", "--dev", "no.jsonl"], "no.jsonl"),
    ],
)
def test_wrong_arguments_are_a_line(
    arguments: list[str],
    words: str,
    checkpoint_folder: Path,
    many: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"MODEL": str(checkpoint_folder), "DATA": str(many)}

    def name(text: str) -> str:
        for short, full in names.items():
            text = text.replace(short, full) if text.startswith(short) else text
        return text

    content = many.read_bytes()
    assert main(["triggers", *map(name, arguments), "--output", str(tmp_path / "out")]) in (1, 2)
    message = capsys.readouterr().err
    assert words.replace("DATA/", f"{many}/") in message
    assert message.count("\n") == 1, message
    assert many.read_bytes() == content
    assert not (tmp_path / "out").exists()


def test_a_damaged_sensor_is_refused(taught: Path, taught_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(taught, tmp_path / "checkpoint"))
    (folder / EFFECTS_FILE).write_bytes(b"PK")
    with pytest.raises(BundleError, match=r"checkpoint/effects\.npz: not an estimator of the effects of words"):
        load_checkpoint(folder)
    folder = Path(shutil.copytree(taught_bundle, tmp_path / "bundle"))
    (folder / EFFECTS_FILE).write_bytes(b"PK")
    with pytest.raises(BundleError, match=r"effects\.npz"):
        open_bundle(folder, 1)
    # Even where the hash is right.
    manifest = Bundle(taught_bundle).manifest
    files = {**manifest.files, EFFECTS_FILE: describe_file(b"PK")}
    (folder / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))
    with pytest.raises(BundleError, match=r"bundle/effects\.npz: not an estimator of the effects of words") as caught:
        open_bundle(folder, 1)
    assert "\n" not in str(caught.value)


def test_a_sensor_of_another_model_is_refused(taught: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(taught, tmp_path / "checkpoint"))
    effects = load_checkpoint(taught).effects
    assert effects is not None
    fewer = effects.weights._replace(
        relation=effects.weights.relation[:1], local=effects.weights.local[:1], direct=effects.weights.direct[:1]
    )
    (folder / EFFECTS_FILE).write_bytes(type(effects)(fewer).to_bytes())
    with pytest.raises(BundleError, match="relation has shape"):
        load_checkpoint(folder)


def test_a_bundle_that_lacks_its_sensor_is_refused(taught_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(taught_bundle, tmp_path / "bundle"))
    (folder / EFFECTS_FILE).unlink()
    with pytest.raises(BundleError, match=r"effects\.npz"):
        open_bundle(folder, 1)
    manifest = Bundle(taught_bundle).manifest
    files = {name: file for name, file in manifest.files.items() if name != EFFECTS_FILE}
    (folder / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))
    with pytest.raises(BundleError, match=r"does not list effects\.npz, which a bundle like this must contain"):
        Bundle(folder)


def test_bundles_of_schema_7_still_load(exported: Path, parsed: list[ParsedSentence], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "bundle"))
    content = json.loads((folder / "manifest.json").read_bytes())
    content["schema_version"] = 7
    content.pop("trigger_floor", None)
    (folder / "manifest.json").write_text(json.dumps(content))
    bundle = Bundle(folder)
    assert (bundle.manifest.triggers, bundle.manifest.trigger_floor) == ("contribution", 0.05)
    assert read_effects(bundle) is None
    check_found_stays(*(extract(open_bundle(path, 1).pipeline, parsed) for path in (exported, folder)))

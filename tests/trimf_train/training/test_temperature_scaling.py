"""Temperatures: what is found stays, and scores say how often it is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.cli import main
from trimf.runtime.errors import DataError
from trimf.runtime.pipeline import ParsedSentence
from trimf.runtime.triggers.effect_estimator import EffectEstimator
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference
from trimf_train.training import temperature_scaling as calibration
from trimf_train.triggers.estimator_module import EffectModule


@pytest.fixture
def trained(tiny_checkpoint: Any, tmp_path: Path) -> Any:
    """A copy of the trained model that may be changed, and that is far too sure of what it finds."""
    tiny_checkpoint.save(tmp_path / "copy")
    sure = checkpoints.load_checkpoint(tmp_path / "copy")
    with torch.no_grad():
        sure.model.entity_weight.mul_(3)
        sure.model.relation_weight.mul_(3)
    sure.save(tmp_path / "copy", overwrite=True)
    return checkpoints.load_checkpoint(tmp_path / "copy")


@pytest.fixture
def half_right(tiny_checkpoint: Any, sentences: list[Sentence]) -> list[Sentence]:
    """Ten copies of each sentence; what the model finds is gold in as many of them as its score says."""
    copies = []
    for one, result in zip(sentences, found(tiny_checkpoint, sentences), strict=True):
        types = tiny_checkpoint.description.labels
        for limit in np.arange(0.05, 1, 0.1):
            kept = [entity for entity in result.entities if entity.score > limit]
            index = {result.entities.index(entity): place for place, entity in enumerate(kept)}
            entities = [EntityMention(types.entity_types[one.type_index], one.start, one.end) for one in kept]
            relations = [
                RelationMention(types.relation_types[one.type_index], index[one.head], index[one.tail])
                for one in result.relations
                if one.score > limit and one.head in index and one.tail in index
            ]
            copies.append(msgspec.structs.replace(one, entities=entities, relations=relations))
    return copies


def found(checkpoint: Any, sentences: list[Sentence]) -> list[Any]:
    given = [ParsedSentence(one.tokens, one.heads or [], one.labels or []) for one in sentences]
    return [result.decoded for result in inference.build_pipeline(checkpoint).run(given)]


def test_what_is_found_stays_and_its_scores_say_how_often_it_is_right(trained: Any, half_right: list[Sentence]) -> None:
    before = found(trained, half_right)
    calibrated, fitted = calibration.calibrate_checkpoint(trained, half_right)
    after = found(calibrated, half_right)
    for one, other in zip(before, after, strict=True):
        assert [entity[:3] for entity in one.entities] == [entity[:3] for entity in other.entities]
        assert [relation[:3] for relation in one.relations] == [relation[:3] for relation in other.relations]
    for name, share in (("entities", fitted.entities), ("relations", fitted.relations)):
        scores = [item.score for one in after for item in getattr(one, name)]
        assert share.scores == len(scores)
        assert share.temperature > 1
        assert share.after < share.before
        assert np.mean(scores) < np.mean([item.score for one in before for item in getattr(one, name)])
    for one, other in zip(before, after, strict=True):
        for relation, scaled in zip(one.relations, other.relations, strict=True):
            np.testing.assert_allclose(
                scaled.trigger_weights, relation.trigger_weights / fitted.relations.temperature, rtol=1e-3, atol=1e-5
            )
    assert calibrated.description.provenance["calibration"]["entities"]["scores"] == fitted.entities.scores
    _, more = calibration.calibrate_checkpoint(calibrated, half_right)
    assert more.entities.temperature == pytest.approx(1, rel=0.05)
    assert more.relations.temperature == pytest.approx(1, rel=0.05)


def test_a_taught_sensor_is_scaled_with_the_logits(trained: Any, half_right: list[Sentence]) -> None:
    width, types = trained.model.width, len(trained.description.labels.relation_types)
    torch.manual_seed(1)
    trained.effects = EffectEstimator(EffectModule(width, types).to_weights())
    before = found(trained, half_right)
    calibrated, fitted = calibration.calibrate_checkpoint(trained, half_right)
    assert fitted.relations.temperature > 1
    effects = [
        (relation.trigger_weights, scaled.trigger_weights)
        for one, other in zip(before, found(calibrated, half_right), strict=True)
        for relation, scaled in zip(one.relations, other.relations, strict=True)
    ]
    assert any(relation.any() for relation, _ in effects)
    for relation, scaled in effects:
        np.testing.assert_allclose(scaled, relation / fitted.relations.temperature, rtol=1e-3, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 10), st.integers(2, 5), st.integers(0, 99))
def test_a_temperature_is_found_again(temperature: float, classes: int, seed: int) -> None:
    """Of logits from which truth is drawn, sharpened by a temperature."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(4000, classes)) * 2
    logits[:, 0] = logits.max(1)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = generator.random(4000) < shares[:, 0]
    fitted = calibration._fit_temperature(calibration._PredictionLogits(list(logits * temperature), right.tolist()))
    assert fitted.temperature == pytest.approx(temperature, rel=0.25)
    assert fitted.after < 0.05
    assert fitted.after <= fitted.before + 0.02


def test_what_teaches_nothing_is_refused(trained: Any, sentences: list[Sentence]) -> None:
    bare = [msgspec.structs.replace(one, entities=[], relations=[]) for one in sentences]
    with pytest.raises(DataError, match=r"entities predicted in 12 sentences, 0 of them correct"):
        calibration.calibrate_checkpoint(trained, bare)


def test_one_kind_of_predictions_may_be_too_few(
    trained: Any, half_right: list[Sentence], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = [msgspec.structs.replace(one, relations=[]) for one in half_right]
    calibrated, fitted = calibration.calibrate_checkpoint(trained, right)
    assert fitted.entities.temperature > 1
    assert not fitted.entities.kept
    found = fitted.relations.scores
    expected = f"{found} relations predicted in {len(right)} sentences, 0 of them correct"
    assert fitted.relations.kept == f"{expected}, but correct and wrong ones are needed"
    assert fitted.relations.temperature == 1
    assert calibrated.description.decode.relation_threshold == pytest.approx(0.4)
    noted = calibrated.description.provenance["calibration"]["relations"]
    assert noted["kept"] == fitted.relations.kept
    data, folder = tmp_path / "dev.jsonl", tmp_path / "again"
    data.write_bytes(b"".join(map(encode_line, right)))
    assert main(["calibrate", str(tmp_path / "copy"), str(data), "--output", str(folder)]) == 0
    said = capsys.readouterr().err
    assert f"relations: not calibrated, temperature 1: {expected}" in said
    assert "entities: temperature " in said
    assert checkpoints.load_checkpoint(folder).description.decode.relation_threshold == pytest.approx(0.4)


def predictions(logits: list[float], right: list[bool]) -> calibration._PredictionLogits:
    """Predictions of two classes."""
    return calibration._PredictionLogits([np.array([logit, 0.0]) for logit in logits], right)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (predictions([], []), "0 relations predicted in 7 sentences, 0 of them correct, but correct and wrong ones"),
        (
            predictions([1.0] * 9, [True] * 7 + [False] * 2),
            "9 relations predicted in 7 sentences, 7 of them correct, but",
        ),
        (predictions([1.0] * 49, [True] * 40 + [False] * 9), "but at least 50 are needed"),
        (predictions([1.0] * 90, [True] * 90), "90 of them correct, but correct and wrong ones are needed"),
    ],
)
def test_too_few_predictions_keep_their_scores(given: calibration._PredictionLogits, said: str) -> None:
    lack = calibration._find_lack("relations", given, 7)
    assert said in lack
    fit = calibration._choose_temperature(given, lack)
    assert (fit.temperature, fit.before, fit.kept) == (1, fit.after, lack)


def test_the_end_of_the_range_keeps_scores() -> None:
    wrong = [True] * 10 + [False] * 90  # very sure, and nearly always wrong
    fit = calibration._choose_temperature(predictions([30.0] * 100, wrong), "")
    assert (fit.temperature, fit.kept) == (1, "the best temperature lies outside 0.25 to 16")


@settings(max_examples=60, deadline=None)
@given(st.integers(50, 200), st.floats(0.3, 3), st.integers(0, 999))
def test_scores_are_changed_only_where_that_lowers_their_error(count: int, temperature: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits = np.abs(generator.normal(size=count)) * 3
    right = generator.random(count) < 1 / (1 + np.exp(-logits))
    right[:2] = True, False
    fit = calibration._choose_temperature(predictions((logits * temperature).tolist(), right.tolist()), "")
    if fit.kept:
        assert (fit.temperature, fit.after) == (1, fit.before)
        assert "does not lower the calibration error" in fit.kept or "lies outside" in fit.kept
    else:
        assert fit.after < fit.before


def test_the_command(
    trained: Any, tmp_path: Path, half_right: list[Sentence], capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "dev.jsonl", tmp_path / "calibrated"
    data.write_bytes(b"".join(map(encode_line, half_right)))
    arguments = ["calibrate", str(tmp_path / "copy"), str(data), "--output", str(output)]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "entities: temperature " in said
    assert "relations: temperature " in said
    limit = checkpoints.load_checkpoint(output).description.decode.relation_threshold
    assert 0.4 < limit < 0.5
    for model, column in (("copy", "before"), ("calibrated", "after")):
        assert main(["eval", str(tmp_path / model), str(data), "--json", "--calibration"]) == 0
        scores = json.loads(capsys.readouterr().out)["calibration"]
        for name in ("entities", "relations"):
            noted = checkpoints.load_checkpoint(output).description.provenance["calibration"][name]
            assert scores[name]["error"] == pytest.approx(noted[column], abs=1e-3)
            assert scores[name]["found"] == noted["scores"]
    assert main(["eval", str(output), str(data), "--calibration"]) == 0
    assert "calibration error" in capsys.readouterr().out
    assert main(["eval", str(output), str(data), "--json"]) == 0
    assert "calibration" not in json.loads(capsys.readouterr().out)
    assert main(arguments) == 2
    assert "not empty" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0

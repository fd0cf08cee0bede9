"""Calibrate the scores of a checkpoint by temperature scaling on held-out sentences (Guo et al. 2017).

Each of the two classifiers, for entities and for relations, gets its own temperature. It keeps temperature 1 where the
sentences do not support another one, so that calibration never makes scores worse without saying it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from trimf.runtime.decoding import span_decoding as decode
from trimf.runtime.errors import DataError
from trimf_train.data.document_splitting import DocumentSplitting
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.calibration import measure_calibration, score_predictions
from trimf_train.evaluation.prediction import add_missing_parses, run_pipeline
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.training.batched_inference import run_in_batches
from trimf_train.training.dataset import encode_sentences

FloatArray = npt.NDArray[np.float64]

#: Candidate temperatures; the most likely of them is used.
CANDIDATE_TEMPERATURES = np.geomspace(0.25, 16, 193)

#: Predictions below which no temperature is fitted: chance alone would move it.
MIN_PREDICTIONS = 50

#: Parts of the predictions; each part is judged with the temperature that the others give.
_FOLDS = 5

#: Upper limit of a logit; its probability is 1 in float64.
_MAX_LOGIT = 40.0


class TemperatureFit(msgspec.Struct, frozen=True):
    """A temperature, the number of scores it was fitted on, and the expected calibration error before and after.

    The errors are those of ``trimf_train.evaluation.calibration.measure_calibration``. ``kept`` says why the
    temperature stays 1; it is empty if the temperature was fitted.
    """

    temperature: float
    scores: int
    before: float
    after: float
    kept: str = ""


class CalibrationReport(msgspec.Struct, frozen=True):
    """Temperatures of a model's entity and relation scores."""

    entities: TemperatureFit
    relations: TemperatureFit


class _PredictionLogits(NamedTuple):
    """Logits ``[c]`` of each prediction, with the predicted class first, and whether the prediction is correct."""

    logits: list[FloatArray]
    correct: list[bool]


def calibrate_checkpoint(checkpoint: Checkpoint, sentences: Sequence[Sentence]) -> tuple[Checkpoint, CalibrationReport]:
    """Fit both temperatures and fold them into the weights of the classifiers, in place.

    The relation threshold moves with the temperature, so the model still predicts the same entities and relations.
    Entities that overlap are an exception: only the highest-scoring entity is kept, and a temperature can change the
    order of the scores. An entity is correct if its span and type are; a relation is correct if its type and both of
    its entities are.

    Args:
        checkpoint: The model to calibrate; its weights change.
        sentences: Annotated sentences that the model was not trained on, with a parse where the model needs one.

    Returns:
        The checkpoint with its new description, and the fitted temperatures.

    Raises:
        DataError: Neither the entities nor the relations are enough to fit a temperature.
    """
    predictions = dict(zip(("entities", "relations"), _collect_predictions(checkpoint, sentences), strict=True))
    lacks = {name: _find_lack(name, given, len(sentences)) for name, given in predictions.items()}
    if all(lacks.values()):
        named = list(lacks.values())[: 2 if checkpoint.description.labels.has_relations else 1]
        raise DataError(f"nothing to calibrate: {'; '.join(named)}; use more held-out sentences")
    if not checkpoint.description.labels.has_relations:
        lacks["relations"] = "the model has no relation types"
    fitted = CalibrationReport(*(_choose_temperature(predictions[name], lack) for name, lack in lacks.items()))
    entity_temperature, relation_temperature = fitted.entities.temperature, fitted.relations.temperature
    description = checkpoint.description
    threshold = decode.sigmoid(np.array(decode.logit(description.decode.relation_threshold) / relation_temperature))
    provenance = {**description.provenance, "calibration": msgspec.to_builtins(fitted)}
    decoding = msgspec.structs.replace(description.decode, relation_threshold=float(threshold))
    with torch.no_grad():
        checkpoint.model.entity_weight.div_(entity_temperature)
        checkpoint.model.relation_weight.div_(relation_temperature)
    calibrated = msgspec.structs.replace(description, decode=decoding, provenance=provenance)
    effects = checkpoint.effects and checkpoint.effects.rescale(1 / relation_temperature)
    return Checkpoint(checkpoint.model, calibrated, checkpoint.tokenizer_json, effects), fitted


def calibrate_folder(checkpoint: Path, data: Path, output: Path, *, overwrite: bool = False) -> CalibrationReport:
    """Calibrate a checkpoint folder and write the result to another folder.

    Sentences without a dependency parse are parsed first, unless the model has an in-model parser. The rules of the
    model's language split running text.

    Args:
        checkpoint: Checkpoint folder to read.
        data: Annotated sentences that the model was not trained on, in any format of the data readers.
        output: Checkpoint folder to write.
        overwrite: Replace ``output`` if it exists.

    Returns:
        The fitted temperatures.

    Raises:
        BundleError: ``checkpoint`` is not a complete checkpoint.
        DataError: The data cannot be used, or gives too few predictions to fit any temperature.
        BackendError: The spaCy parser is needed and not installed.
        InputError: ``output`` exists and ``overwrite`` is false.
    """
    loaded = checkpoints.load_checkpoint(checkpoint)
    splitting = DocumentSplitting(loaded.description.model.language)
    sentences = list(read_sentences(data, splitting=splitting))
    if loaded.model.parser is None:
        sentences = add_missing_parses(sentences, loaded.description.parser.name)
    calibrated, fitted = calibrate_checkpoint(loaded, sentences)
    calibrated.save(output, overwrite=overwrite)
    return fitted


def _find_lack(name: str, predictions: _PredictionLogits, sentences: int) -> str:
    """Return what the predictions lack for fitting a temperature; empty if nothing."""
    count, right = len(predictions.correct), sum(predictions.correct)
    summary = f"{count} {name} predicted in {sentences} sentences, {right} of them correct"
    if not 0 < right < count:
        return f"{summary}, but correct and wrong ones are needed"
    return f"{summary}, but at least {MIN_PREDICTIONS} are needed" if count < MIN_PREDICTIONS else ""


def _choose_temperature(predictions: _PredictionLogits, lack: str) -> TemperatureFit:
    """Fit a temperature, and keep temperature 1 where the fit cannot be trusted or does not help.

    Args:
        predictions: The predictions of one classifier.
        lack: What they lack for a fit; empty if nothing.
    """
    if lack:
        before = _measure_error(_scores_at(predictions, 1.0), predictions) if predictions.logits else 0.0
        return TemperatureFit(1.0, len(predictions.correct), before, before, lack)
    fit = _fit_temperature(predictions)
    low, high = CANDIDATE_TEMPERATURES[[0, -1]]
    after = max(fit.after, _measure_held_out_error(predictions))
    if fit.temperature in (low, high):
        reason = f"the best temperature lies outside {low:g} to {high:g}"
    elif after >= fit.before:
        reason = f"temperature {fit.temperature:.2f} does not lower the calibration error, {fit.before:.3f}"
    else:
        return fit
    return TemperatureFit(1.0, fit.scores, fit.before, fit.before, reason)


def _fit_temperature(predictions: _PredictionLogits) -> TemperatureFit:
    """Find the temperature with the highest likelihood of which predictions are correct and which are not."""
    temperature = float(CANDIDATE_TEMPERATURES[_log_likelihoods(predictions).sum(1).argmax()])
    before, after = (_measure_error(_scores_at(predictions, one), predictions) for one in (1.0, temperature))
    return TemperatureFit(temperature, len(predictions.correct), before, after)


def _measure_held_out_error(predictions: _PredictionLogits) -> float:
    """Measure the calibration error with temperatures that were fitted on other predictions."""
    likelihoods, fold = _log_likelihoods(predictions), np.arange(len(predictions.correct)) % _FOLDS
    scores = np.empty(len(fold))
    for part in range(_FOLDS):
        best = CANDIDATE_TEMPERATURES[likelihoods[:, fold != part].sum(1).argmax()]
        scores[fold == part] = _scores_at(predictions, best)[fold == part]
    return _measure_error(scores, predictions)


def _log_likelihoods(predictions: _PredictionLogits) -> FloatArray:
    """Return the log-likelihood ``[t,m]`` of the correctness of each prediction at each candidate temperature."""
    logits = np.array(predictions.logits, np.float64)
    scores = np.stack([_first_class_probabilities(logits, temperature) for temperature in CANDIDATE_TEMPERATURES])
    logarithms: FloatArray = np.log(np.maximum(np.where(np.array(predictions.correct), scores, 1 - scores), 1e-12))
    return logarithms


def _measure_error(scores: FloatArray, predictions: _PredictionLogits) -> float:
    return measure_calibration(scores.tolist(), predictions.correct)["error"]


def _scores_at(predictions: _PredictionLogits, temperature: float) -> FloatArray:
    """Return the score ``[m]`` of each prediction at a temperature."""
    return _first_class_probabilities(np.array(predictions.logits, np.float64), temperature)


def _first_class_probabilities(logits: FloatArray, temperature: float) -> FloatArray:
    """Return the softmax probability ``[m]`` of the first class of logits ``[m,c]``."""
    scaled = logits / temperature
    powers: FloatArray = np.exp(scaled - scaled.max(1, keepdims=True))
    probabilities: FloatArray = powers[:, 0] / powers.sum(1)
    return probabilities


def _collect_predictions(
    checkpoint: Checkpoint, sentences: Sequence[Sentence]
) -> tuple[_PredictionLogits, _PredictionLogits]:
    """Predict entities and relations in the sentences that fit one window, and compare them with gold."""
    description = checkpoint.description
    classes = 1 + len(description.labels.entity_types)
    fitting = [
        (sentence, item)
        for sentence, item in zip(sentences, encode_sentences(sentences, checkpoint), strict=True)
        if item is not None
    ]
    kept, items = [sentence for sentence, _ in fitting], [item for _, item in fitting]
    results = run_pipeline(inference.build_pipeline(checkpoint), kept)
    judged = score_predictions(results, kept, description.labels)
    logits_by_sentence: list[list[FloatArray]] = [[] for _ in kept]
    for indices, arrays in run_in_batches(checkpoint.model, description.stage, items):
        for row, index in enumerate(indices):
            for entity in results[index].decoded.entities:
                logits = arrays["entity_logits"][row, entity.start, entity.end - entity.start - 1]
                predicted = entity.type_index + 1
                order = [predicted, *range(predicted), *range(predicted + 1, classes)]
                logits_by_sentence[index].append(logits[order])
    entities = [logits for of_sentence in logits_by_sentence for logits in of_sentence]
    relations = [np.array([min(decode.logit(score), _MAX_LOGIT), 0.0]) for score in judged.relations[0]]
    return _PredictionLogits(entities, judged.entities[1]), _PredictionLogits(relations, judged.relations[1])

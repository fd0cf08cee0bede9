"""Scores that say how often they are right: temperatures of both classifiers, fitted on sentences that were not learnt
(Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from trimf.runtime import decode
from trimf.runtime.errors import DataError
from trimf_train import checkpoint as checkpoints
from trimf_train import inference, metrics
from trimf_train.checkpoint import Checkpoint
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.evaluate import judge, parsed, run
from trimf_train.loading import read_items
from trimf_train.reading import read

FloatArray = npt.NDArray[np.float64]

#: Temperatures that are tried.
TEMPERATURES = np.geomspace(0.25, 16, 193)

#: A logit whose probability is 1 in float64.
_SURE = 40.0


class Fitted(msgspec.Struct, frozen=True):
    """A temperature, the number of scores that it was fitted on, and their expected calibration errors before and
    after (:func:`trimf_train.metrics.calibration`).
    """

    temperature: float
    scores: int
    before: float
    after: float


class Calibration(msgspec.Struct, frozen=True):
    """What was fitted for the entities and the relations that a model finds."""

    entities: Fitted
    relations: Fitted


class _Found(NamedTuple):
    """Of everything found its logits ``[c]``, of which the first class is meant, and whether it is right."""

    logits: list[FloatArray]
    right: list[bool]


def calibrate(checkpoint: Checkpoint, sentences: Sequence[Sentence]) -> tuple[Checkpoint, Calibration]:
    """The checkpoint with the temperatures inside its classifiers' weights, in place, and what they are.

    The threshold of relations moves with them, so the same entities and relations are found, but for entities that
    overlap, of which the surest is taken. An entity is right if its span and type are, a relation if its type and both
    its entities are.

    Raises:
        DataError: the sentences have too little in them to fit on.
    """
    entities, relations = _found(checkpoint, sentences)
    for name, found in (("entities", entities), ("relations", relations)):
        if not 0 < sum(found.right) < len(found.right):
            raise DataError(
                f"{len(found.right)} {name} were found in the {len(sentences)} sentences, {sum(found.right)} of them "
                "right; a temperature needs some that are right and some that are not"
            )
    fitted = Calibration(_fit(entities), _fit(relations))
    of_entities, of_relations = fitted.entities.temperature, fitted.relations.temperature
    description = checkpoint.description
    threshold = decode.sigmoid(np.array(decode.logit(description.decode.relation_threshold) / of_relations))
    provenance = {**description.provenance, "calibration": msgspec.to_builtins(fitted)}
    decoding = msgspec.structs.replace(description.decode, relation_threshold=float(threshold))
    with torch.no_grad():
        checkpoint.model.entity_weight /= of_entities
        checkpoint.model.relation_weight /= of_relations
    new = msgspec.structs.replace(description, decode=decoding, provenance=provenance)
    return Checkpoint(checkpoint.model, new, checkpoint.tokenizer_json), fitted


def calibrate_file(checkpoint: Path, data: Path, output: Path, *, overwrite: bool = False) -> Calibration:
    """The same from folder to folder; sentences without a parse are parsed, where the model needs one.

    Raises:
        BundleError: there is no checkpoint.
        DataError: the data cannot be used, or has too little in it.
        BackendError: the parser is needed and not installed.
        InputError: ``output`` exists and ``overwrite`` is false.
    """
    loaded = checkpoints.load(checkpoint)
    sentences = list(read_sentences(data))
    given = sentences if loaded.model.parser is not None else parsed(sentences, loaded.description.parser.name)
    calibrated, fitted = calibrate(loaded, given)
    calibrated.save(output, overwrite=overwrite)
    return fitted


def _fit(found: _Found) -> Fitted:
    """The temperature under which what was found is likeliest right where it is."""
    logits, right = np.array(found.logits, np.float64), np.array(found.right)
    every = np.stack([_scores(logits, one) for one in TEMPERATURES])
    likely = np.where(right, every, 1 - every)
    best = int(np.log(np.maximum(likely, 1e-12)).sum(1).argmax())
    before, after = (
        metrics.calibration(scores.tolist(), found.right)["error"] for scores in (_scores(logits, 1.0), every[best])
    )
    return Fitted(float(TEMPERATURES[best]), len(right), before, after)


def _scores(logits: FloatArray, temperature: float) -> FloatArray:
    """The probability of the first class ``[m]``."""
    scaled = logits / temperature
    powers: FloatArray = np.exp(scaled - scaled.max(1, keepdims=True))
    shares: FloatArray = powers[:, 0] / powers.sum(1)
    return shares


def _found(checkpoint: Checkpoint, sentences: Sequence[Sentence]) -> tuple[_Found, _Found]:
    """Entities and relations that the model finds, of sentences that fit one window."""
    description = checkpoint.description
    classes = 1 + len(description.labels.entities)
    pairs = [(one, item) for one, item in zip(sentences, read_items(sentences, checkpoint), strict=True) if item]
    given, items = [one for one, _ in pairs], [item for _, item in pairs]
    results = run(inference.pipeline(checkpoint), given)
    judged = judge(results, given, description.labels)
    of_sentence: list[list[FloatArray]] = [[] for _ in given]
    for places, arrays in read(checkpoint.model, description.stage, items):
        for row, place in enumerate(places):
            for entity in results[place].found.entities:
                logits = arrays["entity_logits"][row, entity.start, entity.end - entity.start - 1]
                meant = entity.label + 1
                of_sentence[place].append(logits[[meant, *range(meant), *range(meant + 1, classes)]])
    entities = [logits for of_one in of_sentence for logits in of_one]
    relations = [np.array([min(decode.logit(score), _SURE), 0.0]) for score in judged.relations[0]]
    return _Found(entities, judged.entities[1]), _Found(relations, judged.relations[1])

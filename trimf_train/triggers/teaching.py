"""Teach the trigger sensor of a model: leave words out of sentences, train the estimator, choose the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trimf.runtime.errors import DataError
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.triggers.effect_estimator import EffectEstimator
from trimf.runtime.triggers.trigger_scores import DEFAULT_TRIGGER_FLOOR, lost_probability
from trimf_train.triggers.deletion_cache import DeletionCache
from trimf_train.triggers.deletion_examples import DeletionExample, collect_deletions
from trimf_train.triggers.estimator_training import train_estimator

#: Number of sentences that are learnt from at most; more cost time and memory, and teach little more.
MAX_SENTENCES = 4000

#: Relations below which nothing is learnt.
MIN_RELATIONS = 50

#: Every how many-th sentence is kept out of the training to choose the floor, where there are no other sentences.
HELD_OUT = 5

#: Floors that are tried, in points of probability.
FLOORS = np.arange(0.01, 0.201, 0.01)


class TaughtSensor(NamedTuple):
    """A trigger sensor that was taught.

    Attributes:
        effects: The estimator.
        floor: Probability that a relation must lose without a word for the sensor to show the word.
        relations: Number of relations that it was taught with.
        agreement: Share of the held-out relations with a word that matters whose first word is the right one.
        judged: Number of these relations.
    """

    effects: EffectEstimator
    floor: float
    relations: int
    agreement: float
    judged: int


def teach_sensor(
    pipeline: Pipeline,
    sentences: Sequence[ParsedSentence],
    held_out: Sequence[ParsedSentence] = (),
    *,
    cache: DeletionCache | None = None,
    seed: int = 0,
    log: Callable[[str], None] = lambda _: None,
) -> TaughtSensor:
    """Teach a trigger sensor what the relations of a model rest on.

    Args:
        pipeline: The model.
        sentences: Sentences to leave words out of; no annotation is needed.
        held_out: Sentences that choose the floor and judge the result; none takes every ``HELD_OUT``-th sentence.
        cache: Effects that were measured before, first those of ``sentences``, then those of ``held_out``.
        seed: Seed of the training.
        log: Called with a line of text at each step.

    Returns:
        The estimator, and the floor at which it says most often that a relation rests on words where it does.

    Raises:
        DataError: There are fewer than ``MIN_RELATIONS`` relations to learn from.
        BackendError: The backend fails.
    """
    chosen = [*sentences[:MAX_SENTENCES], *held_out[:MAX_SENTENCES]]
    total = len(sentences) + len(held_out)
    log(f"leaving words out of {len(chosen)} sentences" + f" of {total}" * (len(chosen) < total))
    found = list(collect_deletions(pipeline, chosen, DeletionCache() if cache is None else cache))
    count = min(len(sentences), MAX_SENTENCES)
    judges = [example.number >= count if held_out else example.number % HELD_OUT == 0 for example in found]
    training = [example for example, is_judge in zip(found, judges, strict=True) if not is_judge]
    judging = [example for example, is_judge in zip(found, judges, strict=True) if is_judge]
    relations = sum(len(example.relations) for example in training)
    if relations < MIN_RELATIONS:
        raise DataError(
            f"the model considers {relations} relations in {count} sentences, and its trigger sensor needs "
            f"{MIN_RELATIONS} to learn from; pass more sentences, which need no annotation"
        )
    log(f"learning from {relations} relations")
    effects = train_estimator(training, pipeline.settings.relation_count, seed)
    right, judged = count_agreement(effects, judging)
    return TaughtSensor(effects, choose_floor(effects, judging), relations, right / max(judged, 1), judged)


def count_agreement(effects: EffectEstimator, examples: Sequence[DeletionExample]) -> tuple[int, int]:
    """Count the found relations with a word that matters, and among them those whose first word the estimator names.

    Args:
        effects: The estimator.
        examples: Sentences that it was not trained on.

    Returns:
        The number of right first words, and the number of relations that lose ``DEFAULT_TRIGGER_FLOOR`` or more without
        some word.
    """
    right = judged = 0
    for estimated, measured in _iterate_losses(effects, examples):
        if measured.max() >= DEFAULT_TRIGGER_FLOOR:
            judged += 1
            right += int(estimated.argmax() == measured.argmax())
    return right, judged


def choose_floor(effects: EffectEstimator, examples: Sequence[DeletionExample]) -> float:
    """Choose the floor of the sensor.

    Args:
        effects: The estimator.
        examples: Sentences that it was not trained on.

    Returns:
        The one of ``FLOORS`` at which the sensor tells best, by the mean of both shares, the relations that lose
        ``DEFAULT_TRIGGER_FLOOR`` or more without some word from the others.
    """
    pairs = [(one.max(), other.max() >= DEFAULT_TRIGGER_FLOOR) for one, other in _iterate_losses(effects, examples)]
    highest, matters = np.array([one for one, _ in pairs]), np.array([matter for _, matter in pairs], np.bool_)
    if matters.all() or not matters.any():
        return DEFAULT_TRIGGER_FLOOR
    shares = [(highest[matters] >= floor).mean() + (highest[~matters] < floor).mean() for floor in FLOORS]
    return round(float(FLOORS[int(np.argmax(shares))]), 2)


def _iterate_losses(
    effects: EffectEstimator, examples: Sequence[DeletionExample]
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return the estimated and the measured loss of each candidate word, of all found relations that have any."""
    losses = []
    for example in examples:
        if not example.candidates.any():
            continue
        spans = [entry.relation for entry in example.relations]
        (estimated,) = effects.estimate(example.nodes[None], [example.decoded.entities], [spans], [len(example.words)])
        for entry, relation in zip(example.relations, estimated, strict=True):
            if entry.found:
                losses.append(
                    (
                        _compute_losses(relation.score, relation.trigger_weights[example.candidates]),
                        _compute_losses(relation.score, entry.effects[example.candidates]),
                    )
                )
    return losses


def _compute_losses(probability: float, effects: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.array([lost_probability(probability, effect) for effect in effects.tolist()])

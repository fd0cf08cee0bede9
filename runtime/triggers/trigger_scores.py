"""Say how much of a relation's probability rests on a word, and on what a relation rests at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..decoding.span_decoding import DecodedSentence, RelationSpan
from ..results import Basis
from ..text.batch_arrays import BoolArray
from .trigger_words import followed_word_mask, top_trigger_words, trigger_candidate_mask

#: Probability that a relation must lose without a word, as measured by leaving it out, for the word to be shown.
DEFAULT_TRIGGER_FLOOR = 0.05

#: Limits of a probability. A score of 1 is one that float64 could not tell from 1, and not certainty.
_LOWEST, _HIGHEST = math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0)


class TriggerSpan(NamedTuple):
    """The words ``start`` to ``end`` (exclusive) of a sentence, which a relation rests on.

    Attributes:
        start: Index of the first word.
        end: Index after the last word.
        score: Probability that the relation loses without the words, from 0 to 1; with ``TriggerSettings.attention``
            the attention of the trigger sensor.
    """

    start: int
    end: int
    score: float


class RelationTriggers(NamedTuple):
    """What a relation rests on.

    Attributes:
        spans: Its triggers, by decreasing score.
        basis: See ``Relation.basis``.
    """

    spans: Sequence[TriggerSpan]
    basis: Basis | None


class SentenceTriggers(NamedTuple):
    """What each relation, and each relation candidate, of a decoded sentence rests on, in their order."""

    relations: Sequence[RelationTriggers]
    candidates: Sequence[RelationTriggers] = ()


class TriggerSettings(NamedTuple):
    """Which words the trigger sensor shows.

    Attributes:
        limit: Maximum number of words of a relation.
        floor: Probability that a relation must lose without a word, as the sensor estimates it, for the word to be
            shown. Models without an estimator of effects have 0: what their sensor adds to a logit is a small part of
            what a relation rests on.
        attention: Whether the trigger weights of a relation are attention alone, which says nothing about a loss
            (bundles of manifest schema 4 or older). Then a word is shown if it has any.
    """

    limit: int
    floor: float = 0.0
    attention: bool = False


def lost_probability(probability: float, effect: float) -> float:
    """Compute the probability that a relation loses when its logit falls.

    The result is ``p - sigmoid(logit(p) - e)``, written so that no term overflows or cancels.

    Args:
        probability: Probability ``p`` of the relation, from 0 to 1.
        effect: By how much the logit falls, ``e``; negative if it rises.

    Returns:
        The loss, from ``p - 1`` (if the logit rises without limit) to ``p``.
    """
    p = min(max(probability, _LOWEST), _HIGHEST)
    # The odds p / (1 - p) are divided by exp(e): of the two forms of the fraction, the one without a large exponential.
    if effect >= 0:
        return p * ((1 - p) * -math.expm1(-effect) / ((1 - p) + p * math.exp(-effect)))
    return (1 - p) * (p * math.expm1(effect) / (p + (1 - p) * math.exp(effect)))


def choose_basis(spans: Sequence[TriggerSpan]) -> Basis:
    """Return what a relation rests on whose words were all looked at.

    Args:
        spans: Its triggers.
    """
    return "words" if spans else "names"


def estimate_losses(relation: RelationSpan) -> list[float]:
    """Estimate the probability that a relation loses without each word, from the effects that the sensor has learnt.

    Args:
        relation: The relation; its trigger weights are effects on the logit.

    Returns:
        The loss of each of the words that ``relation.trigger_weights`` covers, negative where a word speaks against the
        relation.
    """
    return [lost_probability(relation.score, effect) for effect in relation.trigger_weights.tolist()]


def sense_triggers(words: Sequence[str], decoded: DecodedSentence, settings: TriggerSettings) -> SentenceTriggers:
    """Select the triggers of every relation of a sentence by the trigger sensor.

    Args:
        words: The words of the sentence.
        decoded: Its entities, relations and relation candidates.
        settings: Which words are shown.

    Returns:
        The triggers.
    """
    if not decoded.relations and not decoded.relation_candidates:
        return SentenceTriggers((), ())
    mask = trigger_candidate_mask(words, decoded.entities)
    followed = followed_word_mask(words, decoded.entities)
    return SentenceTriggers(
        [sense_relation_triggers(relation, mask, settings, followed) for relation in decoded.relations],
        [sense_relation_triggers(relation, mask, settings, followed) for relation in decoded.relation_candidates],
    )


def sense_relation_triggers(
    relation: RelationSpan, mask: BoolArray, settings: TriggerSettings, followed: BoolArray | None = None
) -> RelationTriggers:
    """Select the triggers of a relation by the trigger sensor.

    Args:
        relation: The relation.
        mask: The words of the sentence that may be shown, ``[N]``, as returned by ``trigger_candidate_mask``.
        settings: Which words are shown.
        followed: The words that may be shown with the stop word after them, ``[N]``, as returned by
            ``followed_word_mask``; None shows single words alone.

    Returns:
        The triggers. Their basis is None if none were asked for, if the weights are attention alone, or if the model
        has no trigger sensor: it then gives every word the weight 0.
    """
    if relation.phrase_weights is not None and followed is not None and settings.limit:
        estimated = _estimate_spans(relation, mask, followed, settings.floor)[: settings.limit]
        return RelationTriggers(estimated, choose_basis(estimated))
    found = top_trigger_words(relation, mask, settings.limit)
    if settings.attention:
        return RelationTriggers([TriggerSpan(index, index + 1, weight) for index, weight in found], None)
    if not settings.limit or not (found or np.any(relation.trigger_weights)):
        return RelationTriggers((), None)
    losses = [(index, lost_probability(relation.score, effect)) for index, effect in found]
    spans = [TriggerSpan(index, index + 1, loss) for index, loss in losses if loss >= settings.floor]
    return RelationTriggers(spans, choose_basis(spans))


def _estimate_spans(relation: RelationSpan, mask: BoolArray, followed: BoolArray, floor: float) -> list[TriggerSpan]:
    """Return the words and phrases that reach the floor, by decreasing loss, from both effects of each word.

    As where words are left out, a phrase takes the place of its word if it costs at least the floor more.
    """
    assert relation.phrase_weights is not None
    first, score = relation.first_word, relation.score
    window = slice(first, first + len(relation.trigger_weights))
    highest = np.maximum(relation.trigger_weights, relation.phrase_weights)
    spans = []
    for place in np.flatnonzero(mask[window] & (highest > 0)).tolist():
        start = first + place
        word = lost_probability(score, float(relation.trigger_weights[place]))
        phrase = lost_probability(score, float(relation.phrase_weights[place]))
        if followed[start] and phrase - max(word, 0.0) >= floor:
            spans.append(TriggerSpan(start, start + 2, phrase))
        elif word >= floor:
            spans.append(TriggerSpan(start, start + 1, word))
    return sorted(spans, key=lambda span: (-span.score, span.start))

"""Measure which words and phrases a relation rests on, by leaving them out of the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan, sigmoid
from ..pipeline import DependencyArcs, Pipeline
from ..text.batch_arrays import BoolArray
from ..text.subwords import MAX_WORD_SUBWORDS
from .phrases import SentenceLosses, choose_spans, list_phrases
from .trigger_scores import RelationTriggers, SentenceTriggers, choose_basis
from .trigger_words import trigger_candidate_mask
from .word_deletion import Deletion, HeldRelation, HeldSentence, cut_arcs, score_deletions


class MeasuredRelation(NamedTuple):
    """What a relation rests on.

    Attributes:
        triggers: The words and phrases that reach the floor.
        words: Probability that the relation loses without each candidate word, by its index in the sentence.
    """

    triggers: RelationTriggers
    words: dict[int, float]


class _MeasuredWindow(NamedTuple):
    """Relations of a sentence that were found in the same window, which starts at the word with index ``start``.

    Attributes:
        held: The window.
        start: Index of its first word.
        keys: The relations (``_key``).
        scores: Their probabilities, ``[R]``.
        words: Its words.
        places: Its candidate words, as indices that count from its first word.
        free: Which of its words lie outside all entities.
    """

    held: HeldSentence
    start: int
    keys: list[tuple[int, int, int]]
    scores: npt.NDArray[np.float64]
    words: Sequence[str]
    places: list[int]
    free: BoolArray


def measure_triggers(
    pipeline: Pipeline,
    sentences: Sequence[Sequence[str]],
    decoded: Sequence[DecodedSentence],
    arcs: Sequence[DependencyArcs] | None,
    floor: float,
    batch_size: int = 32,
) -> list[SentenceTriggers]:
    """Find out what every relation, and every relation candidate, of sentences rests on.

    Args:
        pipeline: The model.
        sentences: The words of each sentence.
        decoded: What the pipeline found in each sentence.
        arcs: Dependency arcs of each sentence that the pipeline was given; None with an in-model parser.
        floor: Probability that a relation must lose without a word or phrase for it to be shown.
        batch_size: Maximum number of reduced sentences that go through the model at once.

    Returns:
        The triggers of each sentence.

    Raises:
        BackendError: The backend fails.
    """
    measured = measure_relations(pipeline, sentences, decoded, arcs, floor, batch_size)
    return [
        SentenceTriggers(
            [found[_key(relation)].triggers for relation in sentence.relations],
            [found[_key(relation)].triggers for relation in sentence.relation_candidates],
        )
        for sentence, found in zip(decoded, measured, strict=True)
    ]


def measure_relations(
    pipeline: Pipeline,
    sentences: Sequence[Sequence[str]],
    decoded: Sequence[DecodedSentence],
    arcs: Sequence[DependencyArcs] | None,
    floor: float,
    batch_size: int = 32,
) -> list[dict[tuple[int, int, int], MeasuredRelation]]:
    """Leave out words and phrases of sentences, and score all their relations again.

    First every candidate word is left out: a word outside all entities that is no stop word and no punctuation
    (``trigger_candidate_mask``). Then the phrases of ``list_phrases`` are. In a long sentence both happens in the
    window in which a relation was found.

    Args:
        pipeline: The model.
        sentences: The words of each sentence.
        decoded: What the pipeline found in each sentence.
        arcs: Dependency arcs of each sentence that the pipeline was given; None with an in-model parser.
        floor: Probability that a relation must lose without a word or phrase for it to matter.
        batch_size: Maximum number of reduced sentences that go through the model at once.

    Returns:
        For each sentence, what each of its relations and relation candidates rests on, by head, tail and type index.

    Raises:
        BackendError: The backend fails.
    """
    measured: list[dict[tuple[int, int, int], MeasuredRelation]] = [{} for _ in decoded]
    owners: list[int] = []
    windows: list[_MeasuredWindow] = []
    for index, (words, sentence) in enumerate(zip(sentences, decoded, strict=True)):
        if sentence.relations or sentence.relation_candidates:
            found = _open_windows(pipeline, words, sentence, None if arcs is None else arcs[index])
            owners += [index] * len(found)
            windows += found
    single = [[(place, place + 1) for place in window.places] for window in windows]
    word_losses = _measure_losses(pipeline, windows, single, batch_size)
    phrases = [
        list_phrases(_describe_losses(window, losses), floor)
        for window, losses in zip(windows, word_losses, strict=True)
    ]
    phrase_losses = _measure_losses(pipeline, windows, phrases, batch_size)
    for index, window, losses, spans, of_phrases in zip(
        owners, windows, word_losses, phrases, phrase_losses, strict=True
    ):
        start = window.start
        shifted = [(first + start, end + start) for first, end in spans]
        for column, key in enumerate(window.keys):
            of_words = dict(zip((place + start for place in window.places), losses[:, column].tolist(), strict=True))
            chosen = choose_spans(of_words, dict(zip(shifted, of_phrases[:, column].tolist(), strict=True)), floor)
            measured[index][key] = MeasuredRelation(RelationTriggers(chosen, choose_basis(chosen)), of_words)
    return measured


def _key(relation: RelationSpan) -> tuple[int, int, int]:
    """Return what tells the relations of a sentence apart: head, tail and type."""
    return relation.head, relation.tail, relation.type_index


def _open_windows(
    pipeline: Pipeline, words: Sequence[str], decoded: DecodedSentence, arcs: DependencyArcs | None
) -> list[_MeasuredWindow]:
    """Group the relations of a sentence by the window that each was found in."""
    groups: dict[tuple[int, int], dict[tuple[int, int, int], RelationSpan]] = {}
    for relation in (*decoded.relations, *decoded.relation_candidates):
        window = (relation.first_word, relation.first_word + len(relation.trigger_weights))
        groups.setdefault(window, {})[_key(relation)] = relation
    mask = trigger_candidate_mask(words, decoded.entities)
    free = np.ones(len(words), np.bool_)
    for entity in decoded.entities:
        free[entity.start : entity.end] = False
    capacity = pipeline.settings.max_subwords - pipeline.tokenizer.special_token_count
    parts = [words[start:end] for start, end in groups]
    encoded = pipeline.tokenizer.encode(parts, min(MAX_WORD_SUBWORDS, capacity))
    opened = []
    for (start, end), part, subwords, relations in zip(groups, parts, encoded, groups.values(), strict=True):
        held = [_hold(relation, decoded.entities, start) for relation in relations.values()]
        opened.append(
            _MeasuredWindow(
                HeldSentence(subwords, held, None if arcs is None else cut_arcs(arcs, start, end)),
                start,
                list(relations),
                np.array([relation.score for relation in relations.values()]),
                part,
                np.flatnonzero(mask[start:end]).tolist(),
                free[start:end],
            )
        )
    return opened


def _hold(relation: RelationSpan, entities: Sequence[EntitySpan], start: int) -> HeldRelation:
    """Return a relation with its spans in a window."""
    head, tail = entities[relation.head], entities[relation.tail]
    return HeldRelation(
        (head.start - start, head.end - start), (tail.start - start, tail.end - start), relation.type_index
    )


def _describe_losses(window: _MeasuredWindow, losses: npt.NDArray[np.float64]) -> SentenceLosses:
    between = [
        (min(relation.head[1], relation.tail[1]), max(relation.head[0], relation.tail[0]))
        for relation in window.held.relations
    ]
    return SentenceLosses(window.words, window.places, window.free, between, losses)


def _measure_losses(
    pipeline: Pipeline,
    windows: Sequence[_MeasuredWindow],
    spans: Sequence[Sequence[tuple[int, int]]],
    batch_size: int,
) -> list[npt.NDArray[np.float64]]:
    """Return what each relation of each window loses without each of the spans of words, ``[spans, R]``."""
    deletions = [
        Deletion(window.held, range(first, end))
        for window, found in zip(windows, spans, strict=True)
        for first, end in found
    ]
    logits = iter(score_deletions(pipeline, deletions, batch_size))
    losses = []
    for window, found in zip(windows, spans, strict=True):
        without = np.array([next(logits) for _ in found]).reshape(-1, len(window.keys))
        losses.append(window.scores - sigmoid(without))
    return losses

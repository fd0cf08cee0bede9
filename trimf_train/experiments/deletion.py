"""Measure how much the probability of a relation drops when words with high weight are deleted from the sentence.

The drop tells how well a method for word weights identifies the words that the model relies on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from trimf.runtime.decoding import pair_blocks as pairs
from trimf.runtime.decoding.span_decoding import sigmoid
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.text.batch_arrays import BoolArray
from trimf.runtime.text.subwords import IntArray
from trimf.runtime.window_batching import batch_indices
from trimf_train.experiments.evidence import FloatArray, RelationEvidence

#: Names of the baselines: random words outside all entities, and random words that may be shown as triggers.
RANDOM_WORDS, RANDOM_CANDIDATES = "random words", "random trigger candidates"

#: Number of random draws that are averaged per relation, and number of bootstrap samples for an interval.
RANDOM_DRAWS, BOOTSTRAP_SAMPLES = 3, 2000


class DeletionCurve(msgspec.Struct, frozen=True):
    """Mean drop in probability when k words are deleted, by one method.

    Attributes:
        method: Name of the method.
        k: Numbers of deleted words.
        fall: Mean drop in probability for each k.
        ratio: Mean drop divided by the mean drop for random words.
        low: Lower end of the 95 % interval of the ratio, from a bootstrap over relations.
        high: Upper end of that interval.
        words: Mean number of words that could be deleted, at most k.
    """

    method: str
    k: list[int]
    fall: list[float]
    ratio: list[float]
    low: list[float]
    high: list[float]
    words: list[float]


class _Request(NamedTuple):
    """Relation whose sentence is reduced to the words in ``keep`` ``[N]``."""

    evidence: RelationEvidence
    keep: BoolArray


def deletion_curves(
    pipeline: Pipeline, relations: Sequence[RelationEvidence], max_deleted: int = 5, seed: int = 0
) -> list[DeletionCurve]:
    """Compute a deletion curve for every method and for the two random baselines.

    Each method deletes the words with the highest weight among those that may be shown as triggers. If a sentence has
    fewer such words than k, all of them are deleted. The entities are not predicted again: their words are kept, and
    the model scores the relation between them.

    Args:
        pipeline: The model.
        relations: Predicted relations with word weights.
        max_deleted: Maximum number of deleted words; k runs from 1 to this number.
        seed: Seed of the random baselines and of the bootstrap.

    Returns:
        One curve per method, followed by the curves of the baselines.
    """
    generator = np.random.default_rng(seed)
    methods = list(relations[0].weights) if relations else []
    ks = list(range(1, max_deleted + 1))
    orders: dict[str, list[list[list[int]]]] = {}
    for name in methods:
        orders[name] = [[_rank_words(evidence.weights[name], evidence.trigger_candidates)] for evidence in relations]
    for name, field in ((RANDOM_WORDS, "outside_entities"), (RANDOM_CANDIDATES, "trigger_candidates")):
        orders[name] = [
            [generator.permutation(np.flatnonzero(getattr(evidence, field))).tolist() for _ in range(RANDOM_DRAWS)]
            for evidence in relations
        ]
    complete = [_Request(evidence, np.ones(len(evidence.outside_entities), np.bool_)) for evidence in relations]
    baseline = _relation_probabilities(pipeline, complete)
    falls = {name: _measure_falls(pipeline, relations, orders[name], ks, baseline) for name in orders}
    resampled = generator.integers(0, max(len(relations), 1), (BOOTSTRAP_SAMPLES, len(relations)))
    return [
        _build_curve(
            name,
            ks,
            falls[name],
            falls[RANDOM_WORDS],
            resampled,
            [[len(order[0][:k]) for order in orders[name]] for k in ks],
        )
        for name in orders
    ]


def _build_curve(
    name: str, ks: list[int], falls: FloatArray, random: FloatArray, resampled: IntArray, words: list[list[int]]
) -> DeletionCurve:
    """Average over relations and bootstrap the interval.

    Args:
        name: Name of the method.
        ks: Numbers of deleted words.
        falls: Drop in probability ``[len(ks), relations]``.
        random: Drop in probability for random words ``[len(ks), relations]``.
        resampled: Relation indices of the bootstrap samples ``[RESAMPLED, relations]``.
        words: Number of words that could be deleted, by k and relation.

    Returns:
        The curve; all values are 0 if there are no relations.
    """
    if not falls.size:
        none = [0.0] * len(ks)
        return DeletionCurve(name, ks, none, none, none, none, none)
    ratios = falls[:, resampled].mean(-1) / random[:, resampled].mean(-1)
    low, high = np.percentile(ratios, (2.5, 97.5), axis=1)
    mean = falls.mean(1)
    return DeletionCurve(
        name, ks, mean.tolist(), (mean / random.mean(1)).tolist(), low.tolist(), high.tolist(),
        np.mean(words, 1).tolist(),
    )  # fmt: skip


def _rank_words(weights: FloatArray, allowed: BoolArray) -> list[int]:
    """Return the indices of the allowed words by descending weight."""
    order = np.argsort(-weights, kind="stable")
    return [index for index in order.tolist() if allowed[index]]


def _measure_falls(
    pipeline: Pipeline,
    relations: Sequence[RelationEvidence],
    orders: Sequence[Sequence[Sequence[int]]],
    ks: Sequence[int],
    baseline: FloatArray,
) -> FloatArray:
    """Return the drop in probability ``[len(ks), relations]``, averaged over the deletion orders of each relation.

    ``baseline`` holds the probability of each relation in its complete sentence.
    """
    requests, cells = [], []
    for column, (evidence, relation_orders) in enumerate(zip(relations, orders, strict=True)):
        for order in relation_orders:
            for row, k in enumerate(ks):
                keep = np.ones(len(evidence.outside_entities), np.bool_)
                keep[list(order[:k])] = False
                requests.append(_Request(evidence, keep))
                cells.append((row, column))
    total, count = np.zeros((len(ks), len(relations))), np.zeros((len(ks), len(relations)))
    for (row, column), probability in zip(cells, _relation_probabilities(pipeline, requests), strict=True):
        total[row, column] += baseline[column] - probability
        count[row, column] += 1
    return total / np.maximum(count, 1)


def _relation_probabilities(pipeline: Pipeline, requests: Sequence[_Request], batch_size: int = 32) -> FloatArray:
    """Return the probability of each relation between its two entities in the reduced sentence."""
    sentences = [_reduce_sentence(request) for request in requests]
    encoded = pipeline.tokenizer.encode([sentence.words for sentence in sentences])
    probabilities = np.zeros(len(requests))
    for batch in batch_indices([len(subwords.ids) for subwords in encoded], batch_size):
        trees = None if pipeline.has_parser else [sentences[index] for index in batch]
        arrays = pipeline.encode_sentences([encoded[index] for index in batch], trees)
        spans = np.array(
            [(row, *span) for row, index in enumerate(batch) for span in _entity_spans(requests[index])], np.int64
        )
        words, width = arrays["nodes"].shape[1:]
        blocks = pairs.iterate_pair_blocks([2] * len(batch), spans, words, width, pipeline.settings.relation_count)
        # The first half of a block has the pairs (head, tail) in order; the second half has the reversed pairs.
        logits = np.concatenate(
            [
                np.asarray(pipeline.graphs["relations"].run({**arrays, **block._asdict()})["relation_logits"])[
                    : len(block.pairs) // 2
                ]
                for block in blocks
            ]
        )
        labels = [requests[index].evidence.relation.type_index for index in batch]
        probabilities[batch] = sigmoid(logits[np.arange(len(batch)), labels])
    return probabilities


def _entity_spans(request: _Request) -> Iterator[tuple[int, int]]:
    """Yield the first and last word of head and tail, as indices into the reduced sentence."""
    new_index = np.cumsum(request.keep) - 1
    for entity in (request.evidence.head, request.evidence.tail):
        yield int(new_index[entity.start]), int(new_index[entity.end - 1])


def _reduce_sentence(request: _Request) -> ParsedSentence:
    """Return the sentence without the deleted words; words with a deleted head attach to its closest kept ancestor."""
    sentence, keep = request.evidence.sentence, request.keep
    kept = np.flatnonzero(keep).tolist()
    words = [sentence.words[index] for index in kept]
    if not len(sentence.heads):
        return ParsedSentence(words, [], [])
    new_index = {old: new for new, old in enumerate(kept)}
    heads = [new_index[_kept_ancestor(sentence.heads, keep, index)] for index in kept]
    return ParsedSentence(words, heads, [sentence.labels[index] for index in kept])


def _kept_ancestor(heads: Sequence[int] | IntArray, keep: BoolArray, index: int) -> int:
    """Return the closest ancestor of a word that is kept, or the word itself if there is none."""
    head = int(heads[index])
    while not keep[head] and int(heads[head]) != head:
        head = int(heads[head])
    return head if keep[head] else index


def top_words(
    relations: Iterable[RelationEvidence], method: str, count: int = 5
) -> Iterator[tuple[RelationEvidence, list[str]]]:
    """Find the words with the highest weight for each relation (paper, Table 5).

    Args:
        relations: Predicted relations with word weights.
        method: The method; relations without weights by this method are skipped.
        count: Maximum number of words per relation.

    Yields:
        Each relation with its words by descending weight, restricted to words that may be shown as triggers.
    """
    for evidence in relations:
        if method in evidence.weights:
            order = _rank_words(evidence.weights[method], evidence.trigger_candidates)[:count]
            yield evidence, [evidence.sentence.words[index] for index in order]

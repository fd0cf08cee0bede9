"""How much a relation's probability falls when the words it is said to rest on are deleted from the sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from trimf.runtime import pairs
from trimf.runtime.decode import sigmoid
from trimf.runtime.pipeline import ParsedSentence, Pipeline, batches
from trimf_train.experiments.evidence import Evidence, FloatArray

RANDOM, RANDOM_SHOWN = "random words", "random words that may be triggers"

#: Draws of random words, of which a relation has the mean, and of relations for an interval.
DRAWS, RESAMPLED = 3, 2000


class Curve(msgspec.Struct, frozen=True):
    """Mean fall of probability when k words are deleted, and that over the fall by random words with its 95 % interval.

    The interval resamples relations. ``words`` is the mean number of words that were there to be deleted, at most k.
    """

    method: str
    k: list[int]
    fall: list[float]
    ratio: list[float]
    low: list[float]
    high: list[float]
    words: list[float]


class _Request(NamedTuple):
    """The words to keep of a relation's sentence."""

    evidence: Evidence
    keep: FloatArray


def curves(pipeline: Pipeline, found: Sequence[Evidence], most: int = 5, seed: int = 0) -> list[Curve]:
    """One curve a method, for k from 1 to ``most``; a relation with fewer words to delete loses those it has.

    Methods delete the words of most weight among those that may be shown as triggers. Random words are those of no
    entity, and beside them only those that may be triggers. Entities are held at the words they have.
    """
    generator = np.random.default_rng(seed)
    methods = list(found[0].weights) if found else []
    ks = list(range(1, most + 1))
    orders: dict[str, list[list[list[int]]]] = {}
    for name in methods:
        orders[name] = [[_ranked(one.weights[name], one.shown)] for one in found]
    for name, field in ((RANDOM, "free"), (RANDOM_SHOWN, "shown")):
        orders[name] = [
            [generator.permutation(np.flatnonzero(getattr(one, field))).tolist() for _ in range(DRAWS)] for one in found
        ]
    whole = _probabilities(pipeline, [_Request(one, np.ones(len(one.free), np.bool_)) for one in found])
    falls = {name: _falls(pipeline, found, orders[name], ks, whole) for name in orders}
    chosen = generator.integers(0, max(len(found), 1), (RESAMPLED, len(found)))
    return [
        _curve(
            name, ks, falls[name], falls[RANDOM], chosen, [[len(order[0][:k]) for order in orders[name]] for k in ks]
        )
        for name in orders
    ]


def _curve(
    name: str, ks: list[int], falls: FloatArray, random: FloatArray, chosen: FloatArray, words: list[list[int]]
) -> Curve:
    """``falls`` and ``random`` ``[k, relations]``."""
    if not falls.size:
        none = [0.0] * len(ks)
        return Curve(name, ks, none, none, none, none, none)
    ratios = falls[:, chosen].mean(-1) / random[:, chosen].mean(-1)
    low, high = np.percentile(ratios, (2.5, 97.5), axis=1)
    mean = falls.mean(1)
    return Curve(
        name, ks, mean.tolist(), (mean / random.mean(1)).tolist(), low.tolist(), high.tolist(),
        np.mean(words, 1).tolist(),
    )  # fmt: skip


def _ranked(weights: FloatArray, allowed: FloatArray) -> list[int]:
    """The allowed words by falling weight."""
    order = np.argsort(-weights, kind="stable")
    return [place for place in order.tolist() if allowed[place]]


def _falls(
    pipeline: Pipeline,
    found: Sequence[Evidence],
    orders: Sequence[Sequence[Sequence[int]]],
    ks: Sequence[int],
    whole: FloatArray,
) -> FloatArray:
    """``[k, relations]``: the fall of each, the mean over its orders."""
    requests, places = [], []
    for number, (one, drawn) in enumerate(zip(found, orders, strict=True)):
        for order in drawn:
            for at, k in enumerate(ks):
                keep = np.ones(len(one.free), np.bool_)
                keep[list(order[:k])] = False
                requests.append(_Request(one, keep))
                places.append((at, number))
    total, count = np.zeros((len(ks), len(found))), np.zeros((len(ks), len(found)))
    for (at, number), probability in zip(places, _probabilities(pipeline, requests), strict=True):
        total[at, number] += whole[number] - probability
        count[at, number] += 1
    return total / np.maximum(count, 1)


def _probabilities(pipeline: Pipeline, requests: Sequence[_Request], batch_size: int = 32) -> FloatArray:
    """The probability of each relation between its two entities, read in the words that are kept."""
    sentences = [_cut(request) for request in requests]
    encoded = pipeline.tokenizer.encode([sentence.words for sentence in sentences])
    found = np.zeros(len(requests))
    for chosen in batches([len(one.ids) for one in encoded], batch_size):
        trees = None if pipeline.parses else [sentences[place] for place in chosen]
        arrays = pipeline.read([encoded[place] for place in chosen], trees)
        spans = np.array(
            [(row, *span) for row, place in enumerate(chosen) for span in _ends(requests[place])], np.int64
        )
        words, width = arrays["nodes"].shape[1:]
        blocks = pairs.blocks([2] * len(chosen), spans, words, width, pipeline.settings.relations)
        # The first half of a block has the pairs in their order, the second their converses.
        logits = np.concatenate(
            [
                np.asarray(pipeline.graphs["relations"].run({**arrays, **block._asdict()})["relation_logits"])[
                    : len(block.pairs) // 2
                ]
                for block in blocks
            ]
        )
        labels = [requests[place].evidence.relation.label for place in chosen]
        found[chosen] = sigmoid(logits[np.arange(len(chosen)), labels])
    return found


def _ends(request: _Request) -> Iterator[tuple[int, int]]:
    """First and last word of head and tail among the words that are kept."""
    places = np.cumsum(request.keep) - 1
    for entity in (request.evidence.head, request.evidence.tail):
        yield int(places[entity.start]), int(places[entity.end - 1])


def _cut(request: _Request) -> ParsedSentence:
    """The words that are kept; those whose head is gone hang on the next head above it that is not."""
    sentence, keep = request.evidence.sentence, request.keep
    kept = np.flatnonzero(keep).tolist()
    words = [sentence.words[place] for place in kept]
    if not len(sentence.heads):
        return ParsedSentence(words, [], [])
    numbers = {place: number for number, place in enumerate(kept)}
    heads = [numbers[_above(sentence.heads, keep, place)] for place in kept]
    return ParsedSentence(words, heads, [sentence.labels[place] for place in kept])


def _above(heads: Sequence[int] | FloatArray, keep: FloatArray, place: int) -> int:
    head = int(heads[place])
    while not keep[head] and int(heads[head]) != head:
        head = int(heads[head])
    return head if keep[head] else place


def top(found: Iterable[Evidence], method: str, count: int = 5) -> Iterator[tuple[Evidence, list[str]]]:
    """Each relation with its ``count`` words of most weight among those that may be shown (Table 5)."""
    for one in found:
        if method in one.weights:
            order = _ranked(one.weights[method], one.shown)[:count]
            yield one, [one.sentence.words[place] for place in order]

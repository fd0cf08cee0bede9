"""Measure how much the probability of relations falls when the k highest words of an order are left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trimf.runtime.decoding.span_decoding import FloatArray, sigmoid

from .agreement import rank_words
from .effects import RelationEffects
from .leaving_out import ReducedScores

#: Orders that are no method: by the effect of each word alone, and at random among the candidate words.
EXACT, RANDOM = "leaving out", "random words of the same kind"

#: Number of random orders of a sentence, which all of its relations share.
RANDOM_ORDERS = 3

#: Orders of the candidate words of each relation; the falls of several orders are averaged.
Orders = list[list[list[int]]]


def measure_falls(
    scores: ReducedScores, relations: Sequence[RelationEffects], methods: Sequence[str], max_deleted: int, seed: int
) -> dict[str, FloatArray]:
    """Measure the fall for every method, for the exact order and for random words.

    Each order consists of all candidate words; a relation with fewer than k loses them all. The fall of one random word
    is the mean over all candidates, without sampling.

    Args:
        scores: Scores of the sentences, with those of single words.
        relations: The relations, with weights by the methods.
        methods: Names of the methods.
        max_deleted: Largest k.
        seed: Seed of the random orders.

    Returns:
        Fall in probability by k and relation, ``[max_deleted, R]``, for each method, then ``EXACT`` and ``RANDOM``.
    """
    orders: dict[str, Orders] = {
        name: [[rank_candidates(relation, relation.weights[name])] for relation in relations] for name in methods
    }
    orders[EXACT] = [[rank_candidates(relation, relation.logits)] for relation in relations]
    if max_deleted > 1:
        orders[RANDOM] = _draw_orders(relations, np.random.default_rng(seed))
    scores.compute(
        (relation.sentence, frozenset(order[: k + 1]))
        for columns in orders.values()
        for relation, alternatives in zip(relations, columns, strict=True)
        for order in alternatives
        for k in range(max_deleted)
    )
    falls = {name: _read_falls(scores, relations, columns, max_deleted) for name, columns in orders.items()}
    falls.setdefault(RANDOM, np.zeros((max_deleted, len(relations))))  # the row of one word is all there is
    falls[RANDOM][0] = [relation.points.mean() if len(relation.points) else 0.0 for relation in relations]
    return falls


def rank_candidates(relation: RelationEffects, weights: FloatArray) -> list[int]:
    """Return the candidate words of a relation by descending weight, as indices into the sentence."""
    words: list[int] = relation.candidates[rank_words(weights)].tolist()
    return words


def _draw_orders(relations: Sequence[RelationEffects], generator: np.random.Generator) -> Orders:
    """Draw random orders of the candidates of each sentence, shared by its relations."""
    drawn: dict[int, list[list[int]]] = {}
    for relation in relations:
        if relation.sentence not in drawn:
            drawn[relation.sentence] = [
                generator.permutation(relation.candidates).tolist() for _ in range(RANDOM_ORDERS)
            ]
    return [drawn[relation.sentence] for relation in relations]


def _read_falls(
    scores: ReducedScores, relations: Sequence[RelationEffects], orders: Orders, max_deleted: int
) -> FloatArray:
    falls = np.zeros((max_deleted, len(relations)))
    for column, (relation, alternatives) in enumerate(zip(relations, orders, strict=True)):
        whole = sigmoid(np.array(relation.logit))
        for k in range(max_deleted):
            shorter = [scores.get(relation.sentence, order[: k + 1])[relation.row] for order in alternatives]
            falls[k, column] = np.mean(whole - sigmoid(np.array(shorter)))
    return falls

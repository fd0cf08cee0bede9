"""Measures of trigger words over all relations and per relation type, with the method's agreement and its curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from trimf.runtime.decoding.span_decoding import FloatArray

from .agreement import (
    area_under_curve,
    correlate,
    correlate_ranks,
    guess_first_word,
    mean_over,
    names_first_word,
    ratio_of_means,
    shows_none,
)
from .deletion_curves import EXACT, RANDOM
from .effects import RelationEffects
from .resampling import Estimate, Resamples, as_number


class MethodAgreement(msgspec.Struct, frozen=True):
    """Agreement of a method with the effects of leaving words out.

    Attributes:
        method: Name of the method.
        first_word: Share of the relations with a trigger whose first word by the method has the largest effect. Where a
            method shows no word, it is wrong.
        none_shown: Share of all relations for which the method shows no word.
        has_trigger_auc: Area under the ROC curve of telling relations with a trigger from the others by the highest
            weight of a candidate word; relations without candidate words do not count.
        pearson: Correlation of weight and effect in logits over the candidate words of all relations.
        spearman: The same for ranks.
    """

    method: str
    first_word: Estimate
    none_shown: float | None
    has_trigger_auc: Estimate
    pearson: float | None
    spearman: float | None


class DeletionCurve(msgspec.Struct, frozen=True):
    """Mean fall in probability when the k highest words of an order are left out.

    Attributes:
        method: Name of the order.
        fall: Mean fall for k = 1, 2, …; None without relations.
        ratio: The fall as a share of that of the exact order, for each k.
    """

    method: str
    fall: list[float | None]
    ratio: list[Estimate]


class GroupMeasures(msgspec.Struct, frozen=True):
    """Measures over a group of relations.

    Attributes:
        group: Relation type, or ``all``.
        relations: Number of relations.
        sentences: Number of sentences that they are from.
        with_trigger: Number of relations that have a word whose effect is above the threshold.
        without_candidates: Number of relations in sentences without candidate words.
        chance: Expected share of right first words of a random candidate, as for ``first_word``.
        methods: Agreement of each method.
        curves: Deletion curves of the methods, of the exact order and of random words.
    """

    group: str
    relations: int
    sentences: int
    with_trigger: int
    without_candidates: int
    chance: float | None
    methods: list[MethodAgreement]
    curves: list[DeletionCurve]


def measure_group(
    group: str,
    relations: Sequence[RelationEffects],
    methods: Sequence[str],
    falls: Mapping[str, FloatArray],
    resamples: Resamples,
) -> GroupMeasures:
    """Measure all methods on a group of relations.

    Args:
        group: Name of the group.
        relations: The relations.
        methods: Names of the methods.
        falls: Fall in probability by k and relation, ``[K, R]``, for each method, ``EXACT`` and ``RANDOM``.
        resamples: Resamples of the sentences.

    Returns:
        The measures; what is not defined is None.
    """
    has_trigger = [relation.has_trigger for relation in relations]
    guesses = [guess_first_word(one) if has else 0.0 for one, has in zip(relations, has_trigger, strict=True)]
    sentences = [relation.sentence for relation in relations]
    return GroupMeasures(
        group=group,
        relations=len(relations),
        sentences=len(set(sentences)),
        with_trigger=sum(has_trigger),
        without_candidates=sum(not len(relation.candidates) for relation in relations),
        chance=resamples.estimate(mean_over(guesses, has_trigger), sentences).value,
        methods=[_measure_agreement(method, relations, has_trigger, resamples) for method in methods],
        curves=[
            _build_curve(name, falls[name], falls[EXACT], sentences, resamples) for name in (*methods, EXACT, RANDOM)
        ],
    )


def _measure_agreement(
    method: str, relations: Sequence[RelationEffects], has_trigger: Sequence[bool], resamples: Resamples
) -> MethodAgreement:
    weights = [relation.weights[method] for relation in relations]
    sentences = [relation.sentence for relation in relations]
    right = [
        has and names_first_word(relation, row)
        for relation, row, has in zip(relations, weights, has_trigger, strict=True)
    ]
    none = [shows_none(row) for row in weights]
    with_words = [index for index, row in enumerate(weights) if len(row)]
    all_weights = np.concatenate([np.empty(0), *weights])
    all_effects = np.concatenate([np.empty(0), *(relation.logits for relation in relations)])
    auc = area_under_curve(
        [float(weights[index].max()) for index in with_words], [has_trigger[index] for index in with_words]
    )
    return MethodAgreement(
        method=method,
        first_word=resamples.estimate(mean_over(right, has_trigger), sentences),
        none_shown=as_number(np.mean(none)) if none else None,
        has_trigger_auc=resamples.estimate(auc, [sentences[index] for index in with_words]),
        pearson=as_number(correlate(all_weights, all_effects)),
        spearman=as_number(correlate_ranks(all_weights, all_effects)),
    )


def _build_curve(
    name: str, falls: FloatArray, exact: FloatArray, sentences: Sequence[int], resamples: Resamples
) -> DeletionCurve:
    return DeletionCurve(
        method=name,
        fall=[as_number(row.mean()) if len(row) else None for row in falls],
        ratio=[
            resamples.estimate(ratio_of_means(row, reference), sentences)
            for row, reference in zip(falls, exact, strict=True)
        ],
    )

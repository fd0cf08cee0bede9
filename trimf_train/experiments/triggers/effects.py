"""Measure how much each relation loses when one candidate word is left out: the reference for trigger words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trimf.runtime.decoding.span_decoding import FloatArray, sigmoid
from trimf.runtime.text.subwords import IntArray

from .found_relations import FoundSentence
from .leaving_out import ReducedScores, Reduction

#: Effect in logits above which a word counts: a relation has a trigger if leaving out some word lowers it by more.
EFFECT_THRESHOLD = 0.2


class RelationEffects(NamedTuple):
    """Effect of leaving out each of the C candidate words of a relation.

    Attributes:
        sentence: Index of the sentence.
        row: Index of the relation in its sentence.
        type_index: Relation type.
        logit: Logit of the relation in the whole sentence.
        candidates: Indices of the candidate words, ascending, ``[C]``.
        logits: By how much the logit falls without each word, ``[C]``.
        points: By how much the probability falls without each word, ``[C]``.
        weights: Weights of the candidate words by method, ``[C]``.
    """

    sentence: int
    row: int
    type_index: int
    logit: float
    candidates: IntArray
    logits: FloatArray
    points: FloatArray
    weights: Mapping[str, FloatArray]

    @property
    def has_trigger(self) -> bool:
        """Whether leaving out some word lowers the logit by more than ``EFFECT_THRESHOLD``."""
        return bool(len(self.logits)) and float(self.logits.max()) > EFFECT_THRESHOLD


def list_single_reductions(sentences: Sequence[FoundSentence]) -> Iterator[Reduction]:
    """Generate the whole sentences and the sentences without one of their candidate words.

    Args:
        sentences: The sentences.

    Yields:
        What ``ReducedScores.compute`` takes; one pass serves all relations of a sentence.
    """
    for index, found in enumerate(sentences):
        yield index, frozenset()
        for word in found.candidates.tolist():
            yield index, frozenset((word,))


def measure_effects(
    sentences: Sequence[FoundSentence], scores: ReducedScores, weights: Mapping[str, Sequence[FloatArray]]
) -> list[RelationEffects]:
    """Measure the effect of every candidate word on every relation.

    Args:
        sentences: The sentences.
        scores: Their scores; those of ``list_single_reductions`` are computed here.
        weights: For each method, the weights of each sentence, ``[R, N]``.

    Returns:
        One entry per relation, in order of sentences and relations.
    """
    scores.compute(list_single_reductions(sentences))
    effects = []
    for index, found in enumerate(sentences):
        whole = scores.get(index)
        without = [scores.get(index, (word,)) for word in found.candidates.tolist()]
        table = np.stack(without) if without else np.empty((0, len(whole)))
        points = sigmoid(whole) - sigmoid(table)
        for row, relation in enumerate(found.relations):
            effects.append(
                RelationEffects(
                    sentence=index,
                    row=row,
                    type_index=relation.type_index,
                    logit=float(whole[row]),
                    candidates=found.candidates,
                    logits=whole[row] - table[:, row],
                    points=points[:, row],
                    weights={name: rows[index][row][found.candidates] for name, rows in weights.items()},
                )
            )
    return effects

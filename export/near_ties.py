"""Find differences between two models that are near ties of the reference, which rounding decides.

Every decision has a margin, a difference of logits: of an entity, between its type and the best other type (or none) of
the same words; of a relation, between its score and the threshold; of an arc, between the two heads or labels.
A difference is a near tie if the margin of the reference is below the error that the precision causes: the 99th
percentile of the measured errors of such margins, and never more than the precision may cause (``MAX_TIE_MARGINS``).
Without that maximum, a damaged graph with large errors would excuse itself; and where half of the errors exceed
half of it, the graph does more than round, and nothing is a near tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trimf_train.evaluation.annotation import Annotation, EntityKey, RelationKey

from ..runtime.bundle.labels import Labels
from ..runtime.decoding.span_decoding import logit
from ..runtime.pipeline import SentenceResult

#: Largest margin of a near tie by precision, in logits. A score of 0.5 and one at the margin differ by less than 0.001
#: (fp32), 0.0125 (fp16), 0.06 (bf16) and 0.12 (int8).
MAX_TIE_MARGINS = {"fp32": 0.004, "fp16": 0.05, "bf16": 0.25, "int8": 0.5, "int8-qdq": 0.5}

#: Largest median of the errors of margins that rounding causes, as a part of ``MAX_TIE_MARGINS``.
MAX_TYPICAL_ERROR = 0.5

#: Score that both models must exceed for the error of a margin to be measured, and the part of the relation threshold
#: that it may not exceed.
_SCORE_FLOOR, _THRESHOLD_PART = 0.05, 0.25

#: Smallest probability that is told from 0.
_TINY = 1e-9


class Margins(NamedTuple):
    """Margins of the decisions of a sentence that are not clear; positive for what is chosen."""

    entities: Mapping[EntityKey, float]
    relations: Mapping[RelationKey, float]


class TieLimits(NamedTuple):
    """Margins below which a difference is a near tie, in logits."""

    entities: float
    relations: float


class SettledSentence(NamedTuple):
    """Annotation of the export with near ties decided as the reference decides them.

    Attributes:
        annotation: The annotation.
        entities: Entities that differ only by near ties.
        relations: Relations that differ only by near ties.
    """

    annotation: Annotation
    entities: Set[EntityKey]
    relations: Set[RelationKey]


def choose_score_floor(thresholds: Sequence[float]) -> float:
    """Return the score above which decisions are not clear.

    Args:
        thresholds: Probability that a relation of each type must exceed.
    """
    return min(_SCORE_FLOOR, *(_THRESHOLD_PART * threshold for threshold in thresholds if threshold > 0), 1.0)


def compute_margins(result: SentenceResult, labels: Labels, thresholds: Sequence[float]) -> Margins:
    """Compute the margins of the decisions of a sentence.

    Args:
        result: Result of a pipeline, with candidates.
        labels: Labels of the model.
        thresholds: Probability that a relation of each type must exceed.

    Returns:
        The margins.
    """
    decoded = result.decoded
    by_span: dict[tuple[int, int], dict[int, float]] = {}
    for entity in (*decoded.entity_candidates, *decoded.entities):
        by_span.setdefault((entity.start, entity.end), {})[entity.type_index] = entity.score
    entities: dict[EntityKey, float] = {}
    for (start, end), scores in by_span.items():
        none = 1 - sum(scores.values())
        for index, score in scores.items():
            other = max([none, *(value for key, value in scores.items() if key != index)])
            entities[start, end, labels.entity_types[index]] = math.log(max(score, _TINY)) - math.log(max(other, _TINY))
    ends = [(entity.start, entity.end, labels.entity_types[entity.type_index]) for entity in decoded.entities]
    relations: dict[RelationKey, float] = {
        (ends[relation.head], ends[relation.tail], labels.relation_types[relation.type_index]): logit(relation.score)
        - logit(thresholds[relation.type_index])
        for relation in (*decoded.relation_candidates, *decoded.relations)
    }
    return Margins(entities, relations)


def measure_tie_limits(reference: Sequence[Margins], exported: Sequence[Margins], precision: str) -> TieLimits:
    """Return the margins below which a difference is a near tie, from the errors of an export.

    Args:
        reference: Margins of the reference, by sentence.
        exported: Margins of the export, by sentence.
        precision: Precision of the export, a key of ``MAX_TIE_MARGINS``.

    Returns:
        The margins.
    """
    pairs = list(zip(reference, exported, strict=True))
    return TieLimits(
        *(
            limit_margin(
                [
                    abs(margin - other[key])
                    for first, second in pairs
                    for other in (getattr(second, kind),)
                    for key, margin in getattr(first, kind).items()
                    if key in other
                ],
                precision,
            )
            for kind in TieLimits._fields
        )
    )


def limit_margin(errors: Sequence[float] | npt.NDArray[Any], precision: str) -> float:
    """Return the margin below which a difference is a near tie, from the errors of an export.

    Args:
        errors: Absolute errors of margins.
        precision: Precision of the export, a key of ``MAX_TIE_MARGINS``.

    Returns:
        The 99th percentile of the errors, or the maximum of the precision if that is less or nothing was measured; 0 if
        the errors are larger than those of rounding.
    """
    largest = MAX_TIE_MARGINS[precision]
    finite = np.asarray(errors, np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return largest
    typical, high = np.percentile(finite, (50, 99))
    return 0.0 if typical > largest * MAX_TYPICAL_ERROR else min(largest, float(high))


def settle_ties(
    expected: Annotation,
    actual: Annotation,
    margins: Margins,
    limits: TieLimits,
    words: Set[int],
    *,
    overlap: bool,
) -> SettledSentence:
    """Decide the near ties of an export as the reference decides them.

    An entity also counts as a near tie if it stands where an arc does, or if it competes for its words with an entity
    that does; a relation also if one of its entities does.

    Args:
        expected: Annotation of the reference.
        actual: Annotation of the export.
        margins: Margins of the reference.
        limits: Margins below which a difference is a near tie.
        words: Words whose arc, or a neighbour's, differs by a near tie.
        overlap: Whether entities may overlap, so that they do not compete.

    Returns:
        The annotation, and what was decided.
    """
    wanted, found = set(expected.entities), set(actual.entities)
    missing, added = wanted - found, found - wanted
    differing = missing | added

    def stands_on_tie(entity: EntityKey) -> bool:
        return not words.isdisjoint(range(entity[0], entity[1]))

    ties = {
        entity
        for entity in differing
        if abs(margins.entities.get(entity, math.inf)) < limits.entities or stands_on_tie(entity)
    }
    if not overlap:
        ties |= {
            entity
            for first in missing
            for second in added
            if _share_words(first, second)
            and abs(margins.entities.get(first, math.inf) - margins.entities.get(second, -math.inf)) < limits.entities
            for entity in (first, second)
        }
        ties = _add_competitors(ties, differing)
    wanted_relations, found_relations = set(expected.relations), set(actual.relations)
    relation_ties = {
        relation
        for relation in wanted_relations ^ found_relations
        if abs(margins.relations.get(relation, math.inf)) < limits.relations
        or not ties.isdisjoint(relation[:2])
        or any(map(stands_on_tie, relation[:2]))
    }
    return SettledSentence(
        Annotation(found ^ ties, found_relations ^ relation_ties), frozenset(ties), frozenset(relation_ties)
    )


def _add_competitors(ties: set[EntityKey], differing: set[EntityKey]) -> set[EntityKey]:
    """Add the differing entities that share a word with a near tie, those that share a word with them, and so on."""
    while more := {entity for entity in differing - ties if any(_share_words(entity, other) for other in ties)}:
        ties = ties | more
    return ties


def _share_words(first: EntityKey, second: EntityKey) -> bool:
    return first[0] < second[1] and second[0] < first[1]

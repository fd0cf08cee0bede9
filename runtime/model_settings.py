"""Define what a pipeline must know of its model: label ids, thresholds, window limits, and outputs on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeGuard

import numpy as np

from .bundle.labels import Labels
from .engine.contract import EXTRA, Subgraph
from .errors import InputError, check_probability, describe_value, suggest_name
from .text.batch_arrays import BoolArray

#: Threshold of a caller: a score from 0 to 1, or scores by label, with ``OTHER_LABELS`` for those without their own.
Threshold = float | Mapping[str, float]

#: Key of a threshold that applies to all labels that the dictionary does not name.
OTHER_LABELS = "*"

#: Score that a candidate must exceed.
CANDIDATE_FLOOR = 0.05


class ModelSettings(NamedTuple):
    """Label ids, thresholds and window limits of a model.

    Attributes:
        dependency_label_to_id: Id of each dependency label, from 1.
        symmetric_relations: Indices of the relation types without direction.
        relation_threshold: Probability that a relation must exceed, unless ``thresholds_by_type`` has another.
        overlap: Whether entities of a sentence may overlap.
        max_subwords: Maximum number of subwords in a window, special tokens included.
        max_words: Maximum number of words in a window.
        relation_count: Number of relation types, n_r; 0 if the model finds entities alone.
        allowed_relations: Relation types that may hold between a head type and a tail type, ``[n_e, n_e, n_r]``; None
            allows all.
        thresholds_by_type: Probability that a relation of each type must exceed, ``[n_r]``; None: the same for all.
        entity_thresholds: Probability that an entity of each type must exceed, ``[n_e]``; None: no threshold.
        candidate_floor: Probability that a candidate must exceed; None: no candidates are returned.
        trigger_floor: Probability that a relation must lose without a word, as the trigger sensor estimates it, for the
            word to be shown.
    """

    dependency_label_to_id: Mapping[str, int]
    symmetric_relations: frozenset[int]
    relation_threshold: float
    overlap: bool
    max_subwords: int
    max_words: int
    relation_count: int = 1
    allowed_relations: BoolArray | None = None
    thresholds_by_type: tuple[float, ...] | None = None
    entity_thresholds: tuple[float, ...] | None = None
    candidate_floor: float | None = None
    trigger_floor: float = 0.0

    @property
    def relation_thresholds(self) -> tuple[float, ...]:
        """Probability that a relation of each type must exceed, ``[n_r]``."""
        return self.thresholds_by_type or (self.relation_threshold,) * self.relation_count

    @classmethod
    def from_labels(
        cls, labels: Labels, relation_threshold: float, overlap: bool, max_subwords: int, max_words: int
    ) -> Self:
        """Build the settings of a model from its labels and decoding options.

        Args:
            labels: Label sets of the model; their allowed triples, if any, restrict the relation types.
            relation_threshold: Probability that a relation must exceed.
            overlap: Whether entities of a sentence may overlap.
            max_subwords: Maximum number of subwords in a window, special tokens included.
            max_words: Maximum number of words in a window.

        Returns:
            The settings.
        """
        symmetric = frozenset(labels.relation_type_to_id[name] for name in labels.symmetric)
        return cls(
            labels.dependency_label_to_id,
            symmetric,
            relation_threshold,
            overlap,
            max_subwords,
            max_words,
            len(labels.relation_types),
            _build_allowed_relations(labels, symmetric) if labels.allowed_triples else None,
        )


def resolve_thresholds(
    name: str, threshold: Threshold, labels: Sequence[str], default: Sequence[float]
) -> tuple[float, ...]:
    """Return the threshold of every label.

    Args:
        name: Name of the argument in error messages.
        threshold: One score for all labels, or scores by label.
        labels: The labels of the model.
        default: Threshold of each label that ``threshold`` does not set.

    Returns:
        One probability for each label.

    Raises:
        InputError: A score is no number from 0 to 1, or a label is unknown.
    """
    if not isinstance(threshold, Mapping):
        return (check_probability(name, threshold),) * len(labels)
    for label in threshold:
        if label not in labels and label != OTHER_LABELS:
            close = suggest_name(str(label), labels)
            known = f"choose from {', '.join(labels)}" if labels else "it has none of this kind"
            hint = f"did you mean {close!r}?" if close else known
            raise InputError(f"{name}: the model has no label {describe_value(label)}; {hint}")
    by_label = {label: check_probability(f"{name}[{label!r}]", value) for label, value in threshold.items()}
    others = by_label.get(OTHER_LABELS)
    return tuple(
        by_label.get(label, value if others is None else others) for label, value in zip(labels, default, strict=True)
    )


def parse_thresholds(option: str, values: Sequence[str]) -> Threshold | None:
    """Parse the values of an option such as ``--threshold``: ``X`` for all labels, or ``LABEL=X`` for one.

    Raises:
        InputError: A value is neither.
    """
    scores: dict[str, float] = {}
    for value in values:
        label, equals, number = value.rpartition("=")
        try:
            scores[label if equals else OTHER_LABELS] = check_probability(option, float(number))
        except ValueError:
            raise InputError(f"{option} takes a number from 0 to 1, or LABEL=NUMBER, got {value!r}") from None
    return scores or None


def _build_allowed_relations(labels: Labels, symmetric: frozenset[int]) -> BoolArray:
    """Return which relation types the allowed triples permit between each two entity types, ``[n_e, n_e, n_r]``."""
    allowed = np.zeros((len(labels.entity_types), len(labels.entity_types), len(labels.relation_types)), np.bool_)
    types, columns = labels.entity_type_to_id, labels.relation_type_to_id
    for head, name, tail in labels.allowed_triples:
        ends, relation = (types[head] - 1, types[tail] - 1), columns[name]
        for head_type, tail_type in (ends, ends[::-1]) if relation in symmetric else (ends,):
            allowed[head_type, tail_type, relation] = True
    return allowed


class ExtraOutputSubgraph(Subgraph, Protocol):
    """A subgraph that can also return outputs of ``engine.contract.EXTRA``."""

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        """Run the subgraph.

        Args:
            arrays: Input arrays by name; further ones are ignored.
            extra: Return the outputs of ``engine.contract.EXTRA`` too.

        Returns:
            Output arrays by name.
        """


def has_extra_outputs(graph: Subgraph) -> TypeGuard[ExtraOutputSubgraph]:
    """Return True if a subgraph lists an output of ``engine.contract.EXTRA`` and therefore computes it on request."""
    return not graph.outputs.keys().isdisjoint(EXTRA)

"""Define what a pipeline must know of its model: label ids, thresholds, window limits, and outputs on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeGuard

import numpy as np

from .bundle.labels import Labels
from .engine.contract import EXTRA, Subgraph
from .text.batch_arrays import BoolArray


class ModelSettings(NamedTuple):
    """Label ids, thresholds and window limits of a model.

    Attributes:
        dependency_label_to_id: Id of each dependency label, from 1.
        symmetric_relations: Indices of the relation types without direction.
        relation_threshold: Probability that a relation must exceed.
        overlap: Whether entities of a sentence may overlap.
        max_subwords: Maximum number of subwords in a window, special tokens included.
        max_words: Maximum number of words in a window.
        relation_count: Number of relation types, n_r.
        allowed_relations: Relation types that may hold between a head type and a tail type, ``[n_e, n_e, n_r]``; None
            allows all.
    """

    dependency_label_to_id: Mapping[str, int]
    symmetric_relations: frozenset[int]
    relation_threshold: float
    overlap: bool
    max_subwords: int
    max_words: int
    relation_count: int = 1
    allowed_relations: BoolArray | None = None

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

"""Collect the entity types, relation types and dependency labels of a data set from its training sentences."""

from __future__ import annotations

from collections.abc import Iterable

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.errors import DataError
from trimf_train.data.sentence import Sentence


def collect_labels(
    sentences: Iterable[Sentence],
    symmetric: Iterable[str] = (),
    parse_only: Iterable[Sentence] = (),
    constrain: bool = False,
) -> Labels:
    """Collect the labels that occur in prepared training sentences.

    Args:
        sentences: Annotated sentences with a parse.
        symmetric: Relation types without direction.
        parse_only: Sentences of which only the dependency labels are collected.
        constrain: Also collect the (head type, relation type, tail type) triples of the relations, to which
            predictions are then limited.

    Returns:
        The labels, each kind sorted. Data without relations give a model of entities alone.

    Raises:
        DataError: A sentence has no parse, there are no entities, or a symmetric type does not occur.
    """
    entities: set[str] = set()
    relations: set[str] = set()
    dependencies: set[str] = set()
    signatures: set[tuple[str, str, str]] = set()
    for sentence in sentences:
        if sentence.heads is None or sentence.labels is None:
            raise DataError(f"sentence {sentence.id!r} has no dependency parse; run `trimf prepare` on the file first")
        entities.update(entity.type for entity in sentence.entities)
        relations.update(relation.type for relation in sentence.relations)
        signatures.update(
            (sentence.entities[relation.head].type, relation.type, sentence.entities[relation.tail].type)
            for relation in sentence.relations
        )
        dependencies |= _collect_dependency_labels(sentence)
    for sentence in parse_only:
        dependencies |= _collect_dependency_labels(sentence)
    if not entities:
        raise DataError("no training sentence has an entity, so there is nothing to learn; annotate entities first")
    if unknown := set(symmetric) - relations:
        known = f"choose from {', '.join(sorted(relations))}" if relations else "the training data has no relations"
        raise DataError(f"unknown relation types in data.symmetric: {', '.join(sorted(unknown))}; {known}")
    return Labels(
        tuple(sorted(entities)),
        tuple(sorted(relations)),
        tuple(sorted(dependencies)),
        tuple(sorted(symmetric)),
        tuple(sorted(signatures)) if constrain else (),
    )


def _collect_dependency_labels(sentence: Sentence) -> set[str]:
    """Return the dependency labels of a sentence; a root is its own head and has no label."""
    arcs = enumerate(zip(sentence.heads or [], sentence.labels or [], strict=True))
    return {label for index, (head, label) in arcs if head != index}

"""The label sets of a data set, gathered from its training sentences."""

from __future__ import annotations

from collections.abc import Iterable

from trimf.runtime.errors import DataError
from trimf.runtime.labels import Labels
from trimf_train.data.sentence import Sentence


def collect(
    sentences: Iterable[Sentence],
    symmetric: Iterable[str] = (),
    parsed: Iterable[Sentence] = (),
    constrain: bool = False,
) -> Labels:
    """The labels that occur in prepared training sentences, each set sorted; of ``parsed`` the dependency labels alone.

    To ``constrain`` what is found, with the types of head and tail that each relation type was seen between.

    Raises:
        DataError: a sentence was not prepared, there is no entity or relation at all, or a symmetric type is unknown.
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
            (sentence.entities[one.head].type, one.type, sentence.entities[one.tail].type) for one in sentence.relations
        )
        dependencies |= _dependencies(sentence)
    for sentence in parsed:
        dependencies |= _dependencies(sentence)
    if not entities or not relations:
        raise DataError(
            f"the training data has {len(entities)} entity and {len(relations)} relation types; both need one"
        )
    if unknown := set(symmetric) - relations:
        raise DataError(f"data.symmetric names {sorted(unknown)}, but the relation types are {sorted(relations)}")
    return Labels(
        *(tuple(sorted(names)) for names in (entities, relations, dependencies)),
        tuple(sorted(symmetric)),
        tuple(sorted(signatures)) if constrain else (),
    )


def _dependencies(sentence: Sentence) -> set[str]:
    arcs = enumerate(zip(sentence.heads or [], sentence.labels or [], strict=True))
    return {label for word, (head, label) in arcs if head != word}

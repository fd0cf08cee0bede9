"""Represent gold and predicted annotation, and define when two relations count as equal."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from trimf.runtime.text.tokenization import TokenizedSentence
    from trimf_train.data.document import AnnotatedDocument
    from trimf_train.data.sentence import Sentence

#: First word or character, last one (exclusive), entity type.
EntityKey = tuple[int, int, str]

#: Head entity, tail entity, relation type.
RelationKey = tuple[EntityKey, EntityKey, str]


class Annotation(NamedTuple):
    """Entities and relations of one sentence or document, gold or predicted; order and repetition do not matter."""

    entities: Iterable[EntityKey]
    relations: Iterable[RelationKey]


def gold_annotation(sentence: Sentence) -> Annotation:
    """Return the gold annotation of a sentence record."""
    entities = [(entity.start, entity.end, entity.type) for entity in sentence.entities]
    relations = [(entities[relation.head], entities[relation.tail], relation.type) for relation in sentence.relations]
    return Annotation(entities, relations)


def document_annotation(document: AnnotatedDocument) -> Annotation:
    """Return the gold annotation of a document, in characters."""
    entities = [(entity.start, entity.end, entity.label) for entity in document.entities]
    relations = [(entities[relation.head], entities[relation.tail], relation.label) for relation in document.relations]
    return Annotation(entities, relations)


def locate_annotation(annotation: Annotation, words: TokenizedSentence) -> Annotation:
    """Convert the annotation of a sentence from words to characters of its text.

    Args:
        annotation: Entities and relations in words.
        words: The words of the sentence, with their offsets in the text.
    """

    def locate(entity: EntityKey) -> EntityKey:
        return words.starts[entity[0]], words.ends[entity[1] - 1], entity[2]

    return Annotation(
        [locate(entity) for entity in annotation.entities],
        [(locate(head), locate(tail), label) for head, tail, label in annotation.relations],
    )


def strict_key(relation: RelationKey, symmetric: Collection[str]) -> tuple[Hashable, str]:
    """Return the key under which two relations count as equal in strict evaluation.

    Args:
        relation: The relation with the spans and types of its entities.
        symmetric: Relation types whose head and tail may be exchanged.

    Returns:
        Both entities, sorted if the relation type is symmetric, and the relation type.
    """
    head, tail, label = relation
    pair = (tuple(head), tuple(tail))
    return (tuple(sorted(pair)) if label in symmetric else pair), label


def boundary_key(relation: RelationKey, symmetric: frozenset[str]) -> tuple[Hashable, str]:
    """Return the key under which two relations count as equal in boundary evaluation."""
    head, tail, label = relation
    pair = (tuple(head[:2]), tuple(tail[:2]))
    return (tuple(sorted(pair)) if label in symmetric else pair), label

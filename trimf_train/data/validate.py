"""Check sentences of every format against one set of rules, and merge repeated annotation."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from .json_errors import field_error
from .sentence import EntityMention, RelationMention, Sentence


def validate_sentence(sentence: Sentence, location: str, *, allow_loops: bool = False) -> Sentence:
    """Check that a sentence can be used for training and evaluation.

    The rules for a sentence of N words: every word has a character; an entity covers words
    ``0 <= start < end <= N``; a relation joins two different entities of the sentence; types are not empty; a parse
    has one head in ``0..N-1`` and one label for every word.

    Args:
        sentence: The sentence.
        location: Where it comes from; error messages start with it.
        allow_loops: Accept relations of an entity with itself, for a reader that leaves them out.

    Returns:
        The same sentence.

    Raises:
        DataError: A rule is violated; the message names the location, the field, the value and what was expected.
    """
    words = len(sentence.tokens)
    if not words:
        raise field_error(location, "tokens", [], "a non-empty list of words")
    for i, token in enumerate(sentence.tokens):
        if not token:
            raise field_error(location, f"tokens[{i}]", token, "a non-empty string")
    for i, entity in enumerate(sentence.entities):
        _check_entity(entity, words, location, f"entities[{i}]")
    for i, relation in enumerate(sentence.relations):
        _check_relation(relation, sentence.entities, location, f"relations[{i}]", allow_loops)
    _check_parse(sentence, location)
    return sentence


def _check_entity(entity: EntityMention, words: int, location: str, field: str) -> None:
    if not entity.type:
        raise field_error(location, f"{field}.type", entity.type, "a non-empty string")
    if not 0 <= entity.start < words:
        raise field_error(location, f"{field}.start", entity.start, f"a word index from 0 to {words - 1}")
    if not entity.start < entity.end <= words:
        first = entity.start + 1
        limits = str(words) if first == words else f"from {first} to {words}"
        length = f"the sentence has {words} {'word' if words == 1 else 'words'}"
        raise field_error(location, f"{field}.end", entity.end, f"{limits} (exclusive; {length})")


def _check_relation(
    relation: RelationMention, entities: list[EntityMention], location: str, field: str, allow_loops: bool
) -> None:
    if not relation.type:
        raise field_error(location, f"{field}.type", relation.type, "a non-empty string")
    expected = f"an index into the {len(entities)} entities of the sentence (counted from 0)"
    for name, index in (("head", relation.head), ("tail", relation.tail)):
        if not 0 <= index < len(entities):
            raise field_error(location, f"{field}.{name}", index, expected)
    if not allow_loops and entities[relation.head] == entities[relation.tail]:
        raise field_error(
            location, f"{field}.tail", relation.tail, f"a different entity than the head ({relation.head})"
        )


def _check_parse(sentence: Sentence, location: str) -> None:
    heads, labels, words = sentence.heads, sentence.labels, len(sentence.tokens)
    if (heads is None) != (labels is None):
        missing, present = ("heads", "labels") if heads is None else ("labels", "heads")
        raise field_error(location, missing, None, f"set if {present} are set")
    if heads is None or labels is None:
        return
    for name, values in (("heads", heads), ("labels", labels)):
        if len(values) != words:
            raise field_error(location, name, values, f"a list of {words} items (one per word, not {len(values)})")
    for i, head in enumerate(heads):
        if not 0 <= head < words:
            raise field_error(location, f"heads[{i}]", head, f"a word index from 0 to {words - 1}")
    for i, label in enumerate(labels):
        if not label:
            raise field_error(location, f"labels[{i}]", label, "a non-empty string")


class MergedSentence(NamedTuple):
    """Sentence without repeated annotation, and the types of the entities and relations that were merged away."""

    sentence: Sentence
    removed_entities: list[str]
    removed_relations: list[str]


def merge_repeated_annotation(sentence: Sentence) -> MergedSentence:
    """Merge repeated entities, then repeated relations, of a sentence.

    Entities are equal if span and type are equal; relations, if type, head and tail are equal. The first of equal
    items stays.

    Args:
        sentence: A checked sentence.

    Returns:
        The sentence without repetition, and the types of the items that were removed.
    """
    new_index: dict[EntityMention, int] = {}
    renumbered = [new_index.setdefault(entity, len(new_index)) for entity in sentence.entities]
    relations = [
        RelationMention(relation.type, renumbered[relation.head], renumbered[relation.tail])
        for relation in sentence.relations
    ]
    distinct = list(dict.fromkeys(relations))
    if len(new_index) == len(sentence.entities) and len(distinct) == len(relations):
        return MergedSentence(sentence, [], [])
    entity_types = Counter(entity.type for entity in sentence.entities)
    relation_types = Counter(relation.type for relation in relations)
    return MergedSentence(
        msgspec.structs.replace(sentence, entities=list(new_index), relations=distinct),
        list((entity_types - Counter(entity.type for entity in new_index)).elements()),
        list((relation_types - Counter(relation.type for relation in distinct)).elements()),
    )

"""What makes a sentence usable, checked in one place for every format, and the merging of repeated annotation."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from .sentence import EntityMention, RelationMention, Sentence
from .source import problem


def check(sentence: Sentence, place: str) -> Sentence:
    """Return the sentence if it can be trained on and evaluated.

    N is the number of words. Every word has a character; an entity covers words ``0 <= start < end <= N``; a relation
    joins two different entities of the sentence; types are not empty; a parse has one head in ``0..N-1`` and one
    label for every word.

    Raises:
        DataError: One of these does not hold; the message names place, field, value and what was expected.
    """
    words = len(sentence.tokens)
    if not words:
        raise problem(place, "tokens", [], "at least one word")
    for i, token in enumerate(sentence.tokens):
        if not token:
            raise problem(place, f"tokens[{i}]", token, "a word of at least one character")
    for i, entity in enumerate(sentence.entities):
        _check_entity(entity, words, place, f"entities[{i}]")
    for i, relation in enumerate(sentence.relations):
        _check_relation(relation, sentence.entities, place, f"relations[{i}]")
    _check_parse(sentence, place)
    return sentence


def _check_entity(entity: EntityMention, words: int, place: str, field: str) -> None:
    if not entity.type:
        raise problem(place, f"{field}.type", entity.type, "the name of an entity type")
    if not 0 <= entity.start < words:
        raise problem(place, f"{field}.start", entity.start, f"a word from 0 to {words - 1}")
    if not entity.start < entity.end <= words:
        raise problem(place, f"{field}.end", entity.end, f"an exclusive end from {entity.start + 1} to {words}")


def _check_relation(relation: RelationMention, entities: list[EntityMention], place: str, field: str) -> None:
    if not relation.type:
        raise problem(place, f"{field}.type", relation.type, "the name of a relation type")
    wanted = f"an index into the sentence's {len(entities)} entities, counted from 0"
    for name, index in (("head", relation.head), ("tail", relation.tail)):
        if not 0 <= index < len(entities):
            raise problem(place, f"{field}.{name}", index, wanted)
    if entities[relation.head] == entities[relation.tail]:
        raise problem(place, f"{field}.tail", relation.tail, f"another entity than the head, {relation.head}")


def _check_parse(sentence: Sentence, place: str) -> None:
    heads, labels, words = sentence.heads, sentence.labels, len(sentence.tokens)
    if (heads is None) != (labels is None):
        missing = "heads" if heads is None else "labels"
        raise problem(place, missing, None, "heads and labels together, or neither")
    if heads is None or labels is None:
        return
    for name, values in (("heads", heads), ("labels", labels)):
        if len(values) != words:
            raise problem(place, name, values, f"{words} of them, one for every word, not {len(values)}")
    for i, head in enumerate(heads):
        if not 0 <= head < words:
            raise problem(place, f"heads[{i}]", head, f"a word from 0 to {words - 1}")
    for i, label in enumerate(labels):
        if not label:
            raise problem(place, f"labels[{i}]", label, "the name of a dependency label")


class Merged(NamedTuple):
    """A sentence without repeated annotation, and how many repeated entities and relations were merged."""

    sentence: Sentence
    entities: int
    relations: int


def merge_repeated(sentence: Sentence) -> Merged:
    """Merge entities of the same span and type, then relations of the same type, head and tail; the first one stays."""
    position: dict[EntityMention, int] = {}
    for entity in sentence.entities:
        position.setdefault(entity, len(position))
    renumbered = [position[entity] for entity in sentence.entities]
    relations = dict.fromkeys(
        RelationMention(relation.type, renumbered[relation.head], renumbered[relation.tail])
        for relation in sentence.relations
    )
    entities_merged = len(sentence.entities) - len(position)
    relations_merged = len(sentence.relations) - len(relations)
    if entities_merged or relations_merged:
        sentence = msgspec.structs.replace(sentence, entities=list(position), relations=list(relations))
    return Merged(sentence, entities_merged, relations_merged)

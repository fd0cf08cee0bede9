"""What a data set holds: its sizes, and the peculiarities that are allowed but should be known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from .sentence import EntityMention, Sentence
from .validate import Merged

_LINES = (
    ("sentences", "sentences"),
    ("words", "words"),
    ("entities", "entities"),
    ("relations", "relations"),
    ("longest_sentence", "words in the longest sentence"),
    ("longest_entity", "words in the longest entity"),
    ("sentences_without_entities", "sentences without an entity"),
    ("sentences_without_relations", "sentences without a relation"),
    ("sentences_with_overlap", "sentences with overlapping entities"),
    ("overlapping_entities", "entities that share a word with another"),
    ("long_entities", "entities longer than {max_span} words (kept; no model with this span limit can find them)"),
    ("pairs_with_several_types", "ordered pairs with several relation types"),
    ("merged_entities", "repeated entities merged"),
    ("merged_relations", "repeated relations merged"),
)


@dataclass(slots=True)
class Statistics:
    """Counts over sentences, filled by :meth:`add`.

    ``entities`` and ``relations`` count what is left after merging; ``merged_*`` what was merged away.
    ``overlapping_entities`` counts entities that share at least one word with another entity of their sentence,
    entities of the same span and different types included. ``long_entities`` are longer than ``max_span`` words.
    """

    max_span: int = 10
    sentences: int = 0
    words: int = 0
    entities: int = 0
    relations: int = 0
    longest_sentence: int = 0
    longest_entity: int = 0
    sentences_without_entities: int = 0
    sentences_without_relations: int = 0
    sentences_with_overlap: int = 0
    overlapping_entities: int = 0
    long_entities: int = 0
    pairs_with_several_types: int = 0
    merged_entities: int = 0
    merged_relations: int = 0
    entity_types: Counter[str] = field(default_factory=Counter)
    relation_types: Counter[str] = field(default_factory=Counter)

    def add(self, merged: Merged) -> None:
        """Count one checked and merged sentence."""
        sentence = merged.sentence
        lengths = [entity.end - entity.start for entity in sentence.entities]
        overlapping = len(overlapping_entities(sentence))
        pairs = Counter((relation.head, relation.tail) for relation in sentence.relations)
        self.sentences += 1
        self.words += len(sentence.tokens)
        self.entities += len(sentence.entities)
        self.relations += len(sentence.relations)
        self.longest_sentence = max(self.longest_sentence, len(sentence.tokens))
        self.longest_entity = max(self.longest_entity, *lengths, 0)
        self.sentences_without_entities += not sentence.entities
        self.sentences_without_relations += not sentence.relations
        self.sentences_with_overlap += overlapping > 0
        self.overlapping_entities += overlapping
        self.long_entities += sum(length > self.max_span for length in lengths)
        self.pairs_with_several_types += sum(count > 1 for count in pairs.values())
        self.merged_entities += merged.entities
        self.merged_relations += merged.relations
        self.entity_types.update(entity.type for entity in sentence.entities)
        self.relation_types.update(relation.type for relation in sentence.relations)

    def to_dict(self) -> dict[str, Any]:
        """Every count by name, types in alphabetical order; made of plain values only."""
        counts: dict[str, Any] = {"max_span": self.max_span}
        counts |= {name: getattr(self, name) for name, _ in _LINES}
        counts["entity_types"] = dict(sorted(self.entity_types.items()))
        counts["relation_types"] = dict(sorted(self.relation_types.items()))
        return counts

    def __str__(self) -> str:
        """A short text: one count a line, then the types."""
        lines = [f"{getattr(self, name):>8}  {text.format(max_span=self.max_span)}" for name, text in _LINES]
        for title, types in (("entity types", self.entity_types), ("relation types", self.relation_types)):
            listed = ", ".join(f"{name} {count}" for name, count in sorted(types.items()))
            lines.append(f"{len(types):>8}  {title}{': ' if listed else ''}{listed}")
        return "\n".join(lines)


def overlapping_entities(sentence: Sentence) -> set[int]:
    """The indices of the entities that share a word with another entity of the sentence."""
    found: set[int] = set()
    for (i, one), (j, other) in combinations(enumerate(sentence.entities), 2):
        if _overlap(one, other):
            found |= {i, j}
    return found


def _overlap(one: EntityMention, other: EntityMention) -> bool:
    return one.start < other.end and other.start < one.end

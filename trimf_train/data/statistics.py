"""Count the contents of a data set, including unusual annotation that is valid but worth knowing about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .label_lists import list_labels
from .reading_report import ReadingReport
from .sentence import Sentence
from .validate import MergedSentence

#: Field of ``DataStatistics`` and its description, one per printed line.
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
    (
        "long_entities",
        "entities longer than {max_span} words (kept, but a model with this span limit cannot find them)",
    ),
    ("pairs_with_several_types", "ordered pairs with several relation types"),
    ("merged_entities", "repeated entities merged"),
    ("merged_relations", "repeated relations merged"),
)


@dataclass(slots=True)
class DataStatistics:
    """Counts over sentences, filled by ``add``.

    ``entities`` and ``relations`` count the items left after merging, ``merged_*`` those that were merged away.
    ``overlapping_entities`` counts entities that share at least one word with another entity of their sentence,
    including entities with the same span and different types. ``long_entities`` counts entities longer than
    ``max_span`` words. ``report`` counts what the reader left out or changed, which no other field counts.
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
    merged_entity_types: Counter[str] = field(default_factory=Counter)
    merged_relation_types: Counter[str] = field(default_factory=Counter)
    report: ReadingReport = field(default_factory=ReadingReport)

    def add(self, merged: MergedSentence) -> None:
        """Count one checked and merged sentence."""
        sentence = merged.sentence
        lengths = [entity.end - entity.start for entity in sentence.entities]
        overlapping = len(find_overlapping_entities(sentence))
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
        self.merged_entities += len(merged.removed_entities)
        self.merged_relations += len(merged.removed_relations)
        self.merged_entity_types.update(merged.removed_entities)
        self.merged_relation_types.update(merged.removed_relations)
        self.entity_types.update(entity.type for entity in sentence.entities)
        self.relation_types.update(relation.type for relation in sentence.relations)

    def __str__(self) -> str:
        """Format the counts, what was left out or changed, and how many of each type are left of those in the file."""
        lines = [
            f"{getattr(self, name):>8}  {description.format(max_span=self.max_span)}" for name, description in _LINES
        ]
        lines += self.report.list_lines()
        for items, title, kept, merged in (
            ("entities", "entity types", self.entity_types, self.merged_entity_types),
            ("relations", "relation types", self.relation_types, self.merged_relation_types),
        ):
            in_file = kept + merged + self.report.count_lost(items)
            lines += list_labels(f"{len(kept):>8}  {title}", kept, in_file, title)
            if gone := {label: count for label, count in in_file.items() if not kept[label]}:
                lines += list_labels(f"{len(gone):>8}  {title} of which nothing is left", gone, unit=title)
        return "\n".join(lines)


def find_overlapping_entities(sentence: Sentence) -> set[int]:
    """Return the indices of the entities that share a word with another entity of the sentence."""
    overlapping: set[int] = set()
    longest, end = -1, 0  # of the entities before, the one that ends last, and its end
    entities = sentence.entities
    for index in sorted(range(len(entities)), key=lambda index: entities[index].start):
        if entities[index].start < end:
            overlapping |= {longest, index}
        if entities[index].end > end:
            longest, end = index, entities[index].end
    return overlapping

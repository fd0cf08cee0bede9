"""Split annotated running text into sentences of words, by the rules that split text at inference.

So a model learns from the words and sentence ends that it will see.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal, NamedTuple

from trimf.runtime.text.tokenization import DEFAULT_RULES, SplittingRules, TokenizedSentence, split_sentences
from trimf.runtime.text.words import DEFAULT_LANGUAGE

from .document import AnnotatedDocument, EntityAnnotation
from .reading_report import ReadingReport
from .sentence import EntityMention, RelationMention, Sentence

#: What to do with an entity that begins or ends inside a word: extend it to whole words, or leave it out.
Misaligned = Literal["snap", "skip"]


class DocumentSplitting(NamedTuple):
    """How annotated text becomes sentences of words.

    Attributes:
        language: Language whose rules split the text.
        misaligned: What to do with an entity that begins or ends inside a word.
    """

    language: str = DEFAULT_LANGUAGE
    misaligned: Misaligned = "skip"

    @property
    def rules(self) -> SplittingRules:
        """Return the rules of the runtime for this language."""
        return DEFAULT_RULES._replace(language=self.language)


#: English; entities that begin or end inside a word are left out.
DEFAULT_SPLITTING = DocumentSplitting()


class _Place(NamedTuple):
    """Where an entity stands: its sentence and its words there, the last one exclusive."""

    sentence: int
    first: int
    end: int


def split_document(document: AnnotatedDocument, splitting: DocumentSplitting, report: ReadingReport) -> list[Sentence]:
    """Split a document into sentences with the annotation that lies within each.

    White space at the ends of an entity is no part of it. Entities and relations that extend over several sentences are
    left out, and so are the relations of an entity that was left out.

    Args:
        document: A checked document.
        splitting: How its text becomes words.
        report: Counts what is left out or changed, with examples.

    Returns:
        The sentences; the id of each is that of its document and its number there, counted from 0: ``news-7:0``.
    """
    sentences = split_sentences(document.text, splitting.rules)
    places = [_place_entity(document, entity, sentences, splitting, report) for entity in document.entities]
    entities: defaultdict[int, list[EntityMention]] = defaultdict(list)
    index: dict[int, int] = {}
    for number, (entity, place) in enumerate(zip(document.entities, places, strict=True)):
        if place is not None:
            index[number] = len(entities[place.sentence])
            entities[place.sentence].append(EntityMention(entity.label, place.first, place.end))
    relations: defaultdict[int, list[RelationMention]] = defaultdict(list)
    for relation in document.relations:
        head, tail = places[relation.head], places[relation.tail]
        if head is None or tail is None:
            report.add("relations_of_lost_entities", relation.label)
        elif head.sentence != tail.sentence:
            report.add(
                "relations_across_sentences", relation.label, _describe_pair(document, relation.head, relation.tail)
            )
        elif head == tail and document.entities[relation.head].label == document.entities[relation.tail].label:
            report.add("relations_with_itself", relation.label)
        else:
            relations[head.sentence].append(RelationMention(relation.label, index[relation.head], index[relation.tail]))
    return [
        Sentence(tokens=sentence.words, entities=entities[i], relations=relations[i], id=f"{document.id}:{i}")
        for i, sentence in enumerate(sentences)
    ]


def _place_entity(
    document: AnnotatedDocument,
    entity: EntityAnnotation,
    sentences: list[TokenizedSentence],
    splitting: DocumentSplitting,
    report: ReadingReport,
) -> _Place | None:
    """Find the words of an entity; None if it is left out."""
    start, end = _trim(document.text, entity)
    if (start, end) != (entity.start, entity.end):
        report.add("trimmed_entities", entity.label, _describe_entity(document, entity))
    # Every character that is not white space belongs to one word, so both ends lie in a word of some sentence.
    last = bisect_right([sentence.starts[0] for sentence in sentences], start) - 1
    sentence = sentences[last]
    if end > sentence.ends[-1]:
        report.add("entities_across_sentences", entity.label, _describe_entity(document, entity))
        return None
    first = bisect_right(sentence.starts, start) - 1
    after = bisect_left(sentence.ends, end) + 1
    if sentence.starts[first] != start or sentence.ends[after - 1] != end:
        words = document.text[sentence.starts[first] : sentence.ends[after - 1]]
        example = f"{_describe_entity(document, entity)} within {words!r}"
        report.add(
            "snapped_entities" if splitting.misaligned == "snap" else "misaligned_entities", entity.label, example
        )
        if splitting.misaligned == "skip":
            return None
    return _Place(last, first, after)


def _trim(text: str, entity: EntityAnnotation) -> tuple[int, int]:
    """Return the ends of an entity without white space there."""
    covered = text[entity.start : entity.end]
    return entity.start + len(covered) - len(covered.lstrip()), entity.end - len(covered) + len(covered.rstrip())


def _describe_entity(document: AnnotatedDocument, entity: EntityAnnotation) -> str:
    covered = document.text[entity.start : entity.end]
    return f"{covered!r} ({entity.label}, {entity.start} to {entity.end} of document {document.id})"


def _describe_pair(document: AnnotatedDocument, head: int, tail: int) -> str:
    texts = [document.text[entity.start : entity.end] for entity in (document.entities[head], document.entities[tail])]
    return f"{texts[0]!r} and {texts[1]!r} (document {document.id})"


def iterate_document_sentences(
    documents: Iterator[AnnotatedDocument], splitting: DocumentSplitting, report: ReadingReport
) -> Iterator[Sentence]:
    """Split documents one after another; see ``split_document``."""
    for document in documents:
        yield from split_document(document, splitting, report)

"""Split annotated running text into sentences of words, by the rules that split text at inference.

So a model learns from the words and sentence ends that it will see.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal, NamedTuple

from trimf.runtime.text.tokenization import DEFAULT_RULES, SplittingRules, TokenizedSentence, split_sentences
from trimf.runtime.text.word_alignment import WordFinder, WordRange
from trimf.runtime.text.words import DEFAULT_LANGUAGE

from .document import (
    AnnotatedDocument,
    EntityAnnotation,
    RelationAnnotation,
    describe_entity,
    describe_pair,
    quote_text,
    trim_entity,
)
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


class SplitDocument(NamedTuple):
    """Document that is split into sentences of words.

    Attributes:
        document: The document.
        sentences: Words of each sentence, with their offsets in the text.
        places: Place of each entity of the document; None if no words of one sentence cover it exactly.
        relations: The relations between two different entities of one sentence.
    """

    document: AnnotatedDocument
    sentences: list[TokenizedSentence]
    places: list[WordRange | None]
    relations: list[RelationAnnotation]

    def to_sentences(self) -> list[Sentence]:
        """Return the sentences with the annotation that lies within each.

        The id of a sentence is that of its document and its number there, counted from 0: ``news-7:0``.
        """
        entities: defaultdict[int, list[EntityMention]] = defaultdict(list)
        relations: defaultdict[int, list[RelationMention]] = defaultdict(list)
        index: dict[int, int] = {}
        for number, (entity, place) in enumerate(zip(self.document.entities, self.places, strict=True)):
            if place is not None:
                index[number] = len(entities[place.sentence])
                entities[place.sentence].append(EntityMention(entity.label, place.first, place.end))
        for relation in self.relations:
            place = self.places[relation.head]
            if place is not None:
                mention = RelationMention(relation.label, index[relation.head], index[relation.tail])
                relations[place.sentence].append(mention)
        return [
            Sentence(sentence.words, entities[i], relations[i], id=f"{self.document.id}:{i}")
            for i, sentence in enumerate(self.sentences)
        ]


def split_document(document: AnnotatedDocument, splitting: DocumentSplitting, report: ReadingReport) -> SplitDocument:
    """Split a document into sentences of words, and find the words of its annotation.

    White space at the ends of an entity is no part of it. Entities and relations that extend over several sentences are
    left out, and so are the relations of an entity that was left out.

    Args:
        document: A checked document.
        splitting: How its text becomes words.
        report: Counts what is left out or changed, with examples.

    Returns:
        The split document.
    """
    sentences = split_sentences(document.text, splitting.rules)
    finder = WordFinder(document.text, sentences)
    places = [_place_entity(document, entity, sentences, finder, splitting, report) for entity in document.entities]
    relations = []
    for relation in document.relations:
        head, tail = places[relation.head], places[relation.tail]
        if head is None or tail is None:
            report.add("relations_of_lost_entities", relation.label, describe_pair(document, relation))
        elif head.sentence != tail.sentence:
            report.add("relations_across_sentences", relation.label, describe_pair(document, relation))
        elif (
            head[:3] == tail[:3] and len({document.entities[end].label for end in (relation.head, relation.tail)}) == 1
        ):
            report.add("relations_with_itself", relation.label, describe_pair(document, relation))
        else:
            relations.append(relation)
    return SplitDocument(document, sentences, places, relations)


def _place_entity(
    document: AnnotatedDocument,
    annotated: EntityAnnotation,
    sentences: list[TokenizedSentence],
    finder: WordFinder,
    splitting: DocumentSplitting,
    report: ReadingReport,
) -> WordRange | None:
    """Find the words of an entity; None if it is left out."""
    entity = trim_entity(document.text, annotated)
    if entity is not annotated:
        report.add("trimmed_entities", entity.label, describe_entity(document, annotated))
    place = finder.find(entity.start, entity.end)
    if place is None:
        report.add("entities_across_sentences", entity.label, describe_entity(document, entity))
        return None
    if not place.aligned:
        sentence = sentences[place.sentence]
        words = quote_text(document.text[sentence.starts[place.first] : sentence.ends[place.end - 1]])
        kind = "snapped_entities" if splitting.misaligned == "snap" else "misaligned_entities"
        report.add(kind, entity.label, f"{describe_entity(document, entity)} within {words}")
        if splitting.misaligned == "skip":
            return None
    return place


def iterate_document_sentences(
    documents: Iterator[AnnotatedDocument], splitting: DocumentSplitting, report: ReadingReport
) -> Iterator[Sentence]:
    """Split documents one after another; see ``split_document``."""
    for document in documents:
        yield from split_document(document, splitting, report).to_sentences()

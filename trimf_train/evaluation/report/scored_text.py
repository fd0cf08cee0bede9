"""Represent a text with its gold annotation and all that a model says of it, in characters of the text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.decoding.span_decoding import EntitySpan, RelationSpan
from trimf.runtime.pipeline import SentenceResult
from trimf.runtime.text.tokenization import join_words
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.annotation import Annotation, EntityKey, RelationKey, gold_annotation

_Key = TypeVar("_Key", bound=Hashable)


class ScoredPrediction(NamedTuple):
    """What a model says of a text: the score of each entity and relation.

    Candidates are whatever scores above ``CANDIDATE_FLOOR``, whether or not the model predicts it.
    """

    entities: dict[EntityKey, float]
    relations: dict[RelationKey, float]
    entity_candidates: dict[EntityKey, float]
    relation_candidates: dict[RelationKey, float]


class ScoredText(NamedTuple):
    """A text with its gold annotation and the predictions of one model or two.

    Relations of a type without direction have their entities in order, so that equal keys mean equal relations.

    Attributes:
        id: Identifier of the text.
        text: The text.
        sentences: Start and end of its sentences.
        gold_entities: Gold entities.
        gold_relations: Gold relations.
        predicted: What the model says.
    """

    id: str
    text: str
    sentences: Sequence[tuple[int, int]]
    gold_entities: frozenset[EntityKey]
    gold_relations: frozenset[RelationKey]
    predicted: ScoredPrediction


def sort_ends(relation: RelationKey, symmetric: frozenset[str]) -> RelationKey:
    """Put the entities of a relation without direction in order; see ``annotation.strict_key``."""
    head, tail, label = relation
    return (tail, head, label) if label in symmetric and tail < head else relation


class SentencePart(NamedTuple):
    """A sentence of a text: where its words start and end in the text, and what a pipeline returned for it."""

    starts: Sequence[int]
    ends: Sequence[int]
    result: SentenceResult


def score_sentence(sentence: Sentence, result: SentenceResult, labels: Labels) -> ScoredText:
    """Convert a sentence of words and what a pipeline returned for it to a text: its words, joined by one space.

    Args:
        sentence: The sentence with gold annotation.
        result: Result of the pipeline, with candidates.
        labels: Labels of the model.

    Returns:
        The text, in characters.
    """
    text, (_, starts, ends) = join_words(sentence.tokens)
    entities, relations = gold_annotation(sentence)

    def place(key: EntityKey) -> EntityKey:
        return starts[key[0]], ends[key[1] - 1], key[2]

    gold = Annotation(map(place, entities), [(place(head), place(tail), label) for head, tail, label in relations])
    return score_parts(sentence.id, text, gold, [SentencePart(starts, ends, result)], labels)


def score_parts(id: str, text: str, gold: Annotation, parts: Sequence[SentencePart], labels: Labels) -> ScoredText:
    """Join a text with its gold annotation and what a pipeline returned for its sentences.

    Args:
        id: Identifier of the text.
        text: The text.
        gold: Its gold annotation, in characters.
        parts: Its sentences, each with at least one word.
        labels: Labels of the model.

    Returns:
        The text, in characters.
    """
    symmetric = frozenset(labels.symmetric)
    scored = [_score_part(part, labels, symmetric) for part in parts]
    kinds = zip(*scored, strict=True) if scored else ([],) * len(ScoredPrediction._fields)
    merged = ScoredPrediction(*(keep_best_scores(item for part in kind for item in part.items()) for kind in kinds))
    return ScoredText(
        id,
        text,
        [(part.starts[0], part.ends[-1]) for part in parts],
        frozenset(gold.entities),
        frozenset(sort_ends(relation, symmetric) for relation in gold.relations),
        merged,
    )


def _score_part(part: SentencePart, labels: Labels, symmetric: frozenset[str]) -> ScoredPrediction:
    def place(span: EntitySpan) -> EntityKey:
        return part.starts[span.start], part.ends[span.end - 1], labels.entity_types[span.type_index]

    def place_relations(found: Iterable[RelationSpan]) -> dict[RelationKey, float]:
        names = labels.relation_types
        return keep_best_scores(
            (sort_ends((spans[one.head], spans[one.tail], names[one.type_index]), symmetric), one.score)
            for one in found
        )

    decoded = part.result.decoded
    spans = [place(span) for span in decoded.entities]
    return ScoredPrediction(
        keep_best_scores((key, span.score) for key, span in zip(spans, decoded.entities, strict=True)),
        place_relations(decoded.relations),
        keep_best_scores((place(span), span.score) for span in decoded.entity_candidates),
        place_relations(decoded.relation_candidates),
    )


def keep_best_scores(scored: Iterable[tuple[_Key, float]]) -> dict[_Key, float]:
    """Return the highest score of each key."""
    best: dict[_Key, float] = {}
    for key, score in scored:
        best[key] = max(score, best.get(key, 0.0))
    return best

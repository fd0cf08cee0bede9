"""Find the relations of sentences whose words are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trimf.runtime.decoding.span_decoding import EntitySpan, RelationSpan
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.text.subwords import IntArray
from trimf.runtime.triggers.trigger_words import trigger_candidate_mask
from trimf_train.data.sentence import Sentence


class FoundSentence(NamedTuple):
    """Sentence of N words in which the model finds R relations.

    Attributes:
        sentence: The words, with their arcs unless the model parses.
        pairs: Head and tail of each relation.
        relations: The relations, with the weights that results show.
        candidates: Indices of the words that may be shown as triggers, ascending, ``[C]``.
    """

    sentence: ParsedSentence
    pairs: list[tuple[EntitySpan, EntitySpan]]
    relations: list[RelationSpan]
    candidates: IntArray


class FoundRelations(NamedTuple):
    """Relations of a data set.

    Attributes:
        sentences: Sentences with at least one relation.
        split: Number of sentences that were left out because they do not fit one window of the encoder.
    """

    sentences: list[FoundSentence]
    split: int


def find_relations(pipeline: Pipeline, sentences: Sequence[Sentence], batch_size: int = 32) -> FoundRelations:
    """Find the relations of sentences.

    Args:
        pipeline: The model.
        sentences: Sentences, parsed unless the model parses; their gold annotation is ignored.
        batch_size: Maximum number of sentences in a batch.

    Returns:
        The sentences with relations, in order.
    """
    inputs = [ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []) for sentence in sentences]
    found, split = [], 0
    for sentence, result in zip(inputs, pipeline.run(inputs, batch_size), strict=True):
        split += result.window_count > 1
        entities, relations = result.decoded.entities, result.decoded.relations
        if result.window_count == 1 and relations:
            pairs = [(entities[relation.head], entities[relation.tail]) for relation in relations]
            candidates = np.flatnonzero(trigger_candidate_mask(sentence.words, entities))
            found.append(FoundSentence(sentence, pairs, relations, candidates))
    return FoundRelations(found, split)

"""Leave words out of sentences, one at a time, and record by how much each relation's logit falls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trimf.runtime.decoding.span_decoding import DecodedSentence, RelationSpan
from trimf.runtime.model_settings import CANDIDATE_FLOOR
from trimf.runtime.pipeline import ParsedSentence, Pipeline, SentenceResult
from trimf.runtime.text.batch_arrays import BoolArray
from trimf.runtime.text.subwords import Subwords
from trimf.runtime.triggers.trigger_words import load_stop_words, trigger_candidate_mask
from trimf.runtime.triggers.word_deletion import HeldRelation, HeldSentence, WordEffects, measure_word_effects
from trimf.runtime.window_batching import batch_indices
from trimf_train.triggers.deletion_cache import DeletionCache

#: Maximum number of relations of a sentence that are learnt from; those with the highest scores are taken.
MAX_RELATIONS = 24


class RelationEffects(NamedTuple):
    """A relation of a sentence of N words, and what it loses without each of them.

    Attributes:
        relation: The relation; its trigger weights are those that the model gives now.
        logit: Its logit.
        found: Whether the model finds it, and does not merely consider it.
        effects: By how much the logit falls without each word, ``[N]``; NaN for words that were not left out.
    """

    relation: RelationSpan
    logit: float
    found: bool
    effects: npt.NDArray[np.float32]


class DeletionExample(NamedTuple):
    """A sentence of N words with the effects of its words on its relations.

    Attributes:
        number: Index of the sentence among all that were examined.
        words: The words.
        decoded: What the model finds.
        candidates: Words that may be shown as triggers, ``[N]``.
        nodes: Node states, ``[N, H]``.
        relations: The relations.
    """

    number: int
    words: Sequence[str]
    decoded: DecodedSentence
    candidates: BoolArray
    nodes: npt.NDArray[np.float32]
    relations: list[RelationEffects]


def collect_deletions(
    pipeline: Pipeline, sentences: Sequence[ParsedSentence], cache: DeletionCache, batch_size: int = 32
) -> Iterator[DeletionExample]:
    """Leave every word outside entities, but no punctuation, out of sentences.

    Relations that the model considers, above ``CANDIDATE_FLOOR``, teach as much as those that it finds. A sentence of
    several windows is left out.

    Args:
        pipeline: The model.
        sentences: Sentences with their dependency arcs, which are ignored with an in-model parser.
        cache: What was measured before, by the index of the sentence; what is measured now is added.
        batch_size: Maximum number of sentences that go through the model at once.

    Yields:
        Each sentence that has a relation, with what was found out.
    """
    settings = pipeline.settings
    pipeline.settings = settings._replace(candidate_floor=CANDIDATE_FLOOR)
    try:
        results = pipeline.run(sentences, batch_size)
    finally:
        pipeline.settings = settings
    usable = [
        index
        for index, result in enumerate(results)
        if result.window_count == 1 and (result.decoded.relations or result.decoded.relation_candidates)
    ]
    encoded = pipeline.tokenizer.encode([sentences[index].words for index in usable])
    for batch in batch_indices([len(subwords.ids) for subwords in encoded], batch_size):
        chosen = [usable[place] for place in batch]
        yield from _examine(
            pipeline,
            [sentences[index] for index in chosen],
            [results[index] for index in chosen],
            [encoded[place] for place in batch],
            _CachedEffects(cache, chosen, batch_size),
        )


class _CachedEffects(NamedTuple):
    """Measures the effects of words on the relations of sentences, unless the cache has them.

    Attributes:
        cache: The cache.
        indices: Index of each sentence in the cache.
        batch_size: Maximum number of sentences that go through the model at once.
    """

    cache: DeletionCache
    indices: Sequence[int]
    batch_size: int

    def measure(
        self, pipeline: Pipeline, held: Sequence[HeldSentence], places: Sequence[Sequence[int]]
    ) -> list[WordEffects]:
        """Return the effects of the words at ``places`` of each sentence."""
        missing = [row for row, index in enumerate(self.indices) if self.cache.get(index) is None]
        measured = measure_word_effects(
            pipeline, [held[row] for row in missing], [places[row] for row in missing], self.batch_size
        )
        self.cache.add({self.indices[row]: effects for row, effects in zip(missing, measured, strict=True)})
        found = [self.cache.get(index) for index in self.indices]
        return [effects for effects in found if effects is not None]


def _examine(
    pipeline: Pipeline,
    sentences: Sequence[ParsedSentence],
    results: Sequence[SentenceResult],
    encoded: Sequence[Subwords],
    cached: _CachedEffects,
) -> Iterator[DeletionExample]:
    """Yield the examples of a batch of sentences."""
    arcs = None if pipeline.has_parser else sentences
    nodes = pipeline.read_nodes(pipeline.encode_sentences(encoded, arcs))
    relations = [_list_relations(result.decoded) for result in results]
    held, places, masks = [], [], []
    for sentence, subwords, result, listed in zip(sentences, encoded, results, relations, strict=True):
        entities = result.decoded.entities
        spans = [(entity.start, entity.end) for entity in entities]
        held.append(
            HeldSentence(
                subwords,
                [HeldRelation(spans[one.head], spans[one.tail], one.type_index) for one, _ in listed],
                None if arcs is None else sentence,
            )
        )
        masks.append(trigger_candidate_mask(sentence.words, entities))
        places.append(_find_removable(sentence.words, masks[-1], spans))
    measured = cached.measure(pipeline, held, places)
    for row, (sentence, result, listed, indices, effects) in enumerate(
        zip(sentences, results, relations, places, measured, strict=True)
    ):
        falls = np.full((len(listed), len(sentence.words)), np.nan, np.float32)
        falls[:, indices] = (effects.base - effects.without).T
        yield DeletionExample(
            cached.indices[row],
            sentence.words,
            result.decoded,
            masks[row],
            nodes[row, : len(sentence.words)].astype(np.float32),
            [
                RelationEffects(relation, float(logit), found, fall)
                for (relation, found), logit, fall in zip(listed, effects.base, falls, strict=True)
            ],
        )


def _list_relations(decoded: DecodedSentence) -> list[tuple[RelationSpan, bool]]:
    """Return the relations of a sentence that teach most, and whether each is found."""
    found = {relation[:3]: (relation, True) for relation in decoded.relations}
    considered = {relation[:3]: (relation, False) for relation in decoded.relation_candidates}
    listed = sorted((considered | found).values(), key=lambda entry: -entry[0].score)
    return listed[: max(MAX_RELATIONS, len(found))]


def _find_removable(words: Sequence[str], candidates: BoolArray, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the words outside entities that are candidates or stop words."""
    free = np.ones(len(words), np.bool_)
    for start, end in spans:
        free[start:end] = False
    stops = load_stop_words()
    return [index for index in np.flatnonzero(free).tolist() if candidates[index] or words[index].lower() in stops]

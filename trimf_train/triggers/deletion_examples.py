"""Leave words out of sentences, one at a time, and record by how much each relation's logit falls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.model_settings import CANDIDATE_FLOOR
from trimf.runtime.pipeline import ParsedSentence, Pipeline, SentenceResult
from trimf.runtime.text.batch_arrays import BoolArray
from trimf.runtime.text.subwords import Subwords
from trimf.runtime.triggers.trigger_words import followed_word_mask, load_stop_words, trigger_candidate_mask
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
        phrase_effects: By how much it falls without each word and the stop word after it; the same as ``effects`` for a
            word that none follows, ``[N]``.
    """

    relation: RelationSpan
    logit: float
    found: bool
    effects: npt.NDArray[np.float32]
    phrase_effects: npt.NDArray[np.float32]


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
    """Leave every word outside entities, but no punctuation, out of sentences, and each with the stop word after it.

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
        self, pipeline: Pipeline, held: Sequence[HeldSentence], left_out: Sequence[Sequence[Sequence[int]]]
    ) -> list[WordEffects]:
        """Return the effects of what is left out of each sentence."""
        missing = [row for row in range(len(held)) if not self._fits(row, held[row], left_out[row])]
        measured = measure_word_effects(
            pipeline, [held[row] for row in missing], [left_out[row] for row in missing], self.batch_size
        )
        self.cache.add({self.indices[row]: effects for row, effects in zip(missing, measured, strict=True)})
        found = [self.cache.get(index) for index in self.indices]
        return [effects for effects in found if effects is not None]

    def _fits(self, row: int, held: HeldSentence, left_out: Sequence[Sequence[int]]) -> bool:
        """Return True if the cache has effects of as many relations and words as the sentence has.

        Another device or number of threads may move a relation across ``CANDIDATE_FLOOR``.
        """
        effects = self.cache.get(self.indices[row])
        return effects is not None and effects.without.shape == (len(left_out), len(held.relations))


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
    held, left_out, masks = [], [], []
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
        left_out.append(_list_left_out(sentence.words, masks[-1], entities))
    measured = cached.measure(pipeline, held, left_out)
    for row, (sentence, result, listed, parts, effects) in enumerate(
        zip(sentences, results, relations, left_out, measured, strict=True)
    ):
        falls = np.full((2, len(listed), len(sentence.words)), np.nan, np.float32)
        for part, fall in zip(parts, effects.base - effects.without, strict=True):
            falls[len(part) - 1, :, part[0]] = fall
        falls[1] = np.where(np.isnan(falls[1]), falls[0], falls[1])
        yield DeletionExample(
            cached.indices[row],
            sentence.words,
            result.decoded,
            masks[row],
            nodes[row, : len(sentence.words)].astype(np.float32),
            [
                RelationEffects(relation, float(logit), found, fall, of_phrases)
                for (relation, found), logit, fall, of_phrases in zip(listed, effects.base, *falls, strict=True)
            ],
        )


def _list_relations(decoded: DecodedSentence) -> list[tuple[RelationSpan, bool]]:
    """Return the relations of a sentence that teach most, and whether each is found."""
    found = {relation[:3]: (relation, True) for relation in decoded.relations}
    considered = {relation[:3]: (relation, False) for relation in decoded.relation_candidates}
    listed = sorted((considered | found).values(), key=lambda entry: -entry[0].score)
    return listed[: max(MAX_RELATIONS, len(found))]


def _list_left_out(
    words: Sequence[str], candidates: BoolArray, entities: Sequence[EntitySpan]
) -> list[tuple[int, ...]]:
    """Return what is left out of a sentence: words, and candidates with the stop word after them."""
    free = np.ones(len(words), np.bool_)
    for entity in entities:
        free[entity.start : entity.end] = False
    stops = load_stop_words()
    single = [(index,) for index in np.flatnonzero(free).tolist() if candidates[index] or words[index].lower() in stops]
    followed = followed_word_mask(words, entities)
    return [*single, *((index, index + 1) for index in np.flatnonzero(candidates & followed).tolist())]

"""Score the relations of a sentence again without some of its words, between the same two entities."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trimf.runtime.decoding.pair_blocks import iterate_pair_blocks
from trimf.runtime.decoding.span_decoding import FloatArray
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.text.batch_arrays import BoolArray
from trimf.runtime.text.subwords import IntArray
from trimf.runtime.window_batching import batch_indices

from .found_relations import FoundSentence

#: Index of a sentence and the words that are left out of it.
Reduction = tuple[int, frozenset[int]]

#: Number of shorter sentences that are held in memory at once.
_CHUNK = 4096


class RelationBlock(NamedTuple):
    """Outputs of the relations subgraph for P relations.

    Attributes:
        logits: Logits from head to tail, ``[P, n_r]``.
        reverse: Logits from tail to head, ``[P, n_r]``.
        attention: Attention of the trigger sensor to the words of the batch, ``[P, N]``; None without that output.
    """

    logits: FloatArray
    reverse: FloatArray
    attention: FloatArray | None


class ReducedScores:
    """Logits of the relations of sentences without some of their words; every set of words is scored once.

    Args:
        pipeline: The model.
        sentences: The sentences.
        batch_size: Maximum number of shorter sentences in a batch.
    """

    def __init__(self, pipeline: Pipeline, sentences: Sequence[FoundSentence], batch_size: int = 32) -> None:
        self._pipeline, self._sentences, self._batch_size = pipeline, sentences, batch_size
        self._logits: dict[Reduction, FloatArray] = {}

    def compute(self, reductions: Iterable[Reduction]) -> None:
        """Score the relations of shorter sentences that have no scores yet."""
        missing = [one for one in dict.fromkeys(reductions) if one not in self._logits]
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            found = [self._sentences[index] for index, _ in chunk]
            words = [words for _, words in chunk]
            logits = score_without_words(self._pipeline, found, words, self._batch_size)
            self._logits.update(zip(chunk, logits, strict=True))

    def get(self, sentence: int, left_out: Collection[int] = ()) -> FloatArray:
        """Return the logits of all relations of a sentence without some of its words, ``[R]``."""
        return self._logits[sentence, frozenset(left_out)]


def score_without_words(
    pipeline: Pipeline, sentences: Sequence[FoundSentence], left_out: Sequence[Collection[int]], batch_size: int = 32
) -> list[FloatArray]:
    """Score the relations of sentences without some of their words.

    The entities are not predicted again: their words stay, and the model scores the relation between them. An in-model
    parser parses the shorter sentence. Given arcs are repaired: a word whose head is left out is attached to its
    closest remaining ancestor.

    Args:
        pipeline: The model.
        sentences: The sentences.
        left_out: Indices of the words to leave out of each sentence, none of them in an entity.
        batch_size: Maximum number of sentences in a batch.

    Returns:
        The logits of the relations of each sentence, ``[R]``; of a symmetric relation the higher of both directions, as
        in results.
    """
    keeps = [_mask_remaining(sentence, words) for sentence, words in zip(sentences, left_out, strict=True)]
    shorter = [reduce_sentence(one.sentence, keep) for one, keep in zip(sentences, keeps, strict=True)]
    encoded = pipeline.tokenizer.encode([sentence.words for sentence in shorter])
    found: list[FloatArray] = [np.empty(0)] * len(sentences)
    for batch in batch_indices([len(subwords.ids) for subwords in encoded], batch_size):
        trees = None if pipeline.has_parser else [shorter[index] for index in batch]
        arrays = pipeline.encode_sentences([encoded[index] for index in batch], trees)
        parts = [sentences[index] for index in batch]
        outputs = list(run_relations(pipeline, arrays, parts, [keeps[index] for index in batch]))
        logits = np.concatenate([block.logits for block in outputs]).astype(np.float64)
        reverse = np.concatenate([block.reverse for block in outputs]).astype(np.float64)
        start = 0
        for index in batch:
            types = [relation.type_index for relation in sentences[index].relations]
            rows = np.arange(start, start + len(types))
            symmetric = [one in pipeline.settings.symmetric_relations for one in types]
            found[index] = np.where(
                symmetric, np.maximum(logits[rows, types], reverse[rows, types]), logits[rows, types]
            )
            start += len(types)
    return found


def run_relations(
    pipeline: Pipeline,
    arrays: Mapping[str, Any],
    sentences: Sequence[FoundSentence],
    keeps: Sequence[BoolArray],
) -> Iterator[RelationBlock]:
    """Run the relations subgraph on the heads and tails of a batch.

    Args:
        pipeline: The model.
        arrays: What ``Pipeline.encode_sentences`` returned for the batch.
        sentences: The sentences of the batch.
        keeps: True for the words of each sentence that the batch has, ``[N]``.

    Yields:
        The outputs for a block of relations, in order.
    """
    spans = []
    for row, (found, keep) in enumerate(zip(sentences, keeps, strict=True)):
        new_index = np.cumsum(keep) - 1
        for pair in found.pairs:
            spans += [(row, int(new_index[entity.start]), int(new_index[entity.end - 1])) for entity in pair]
    words, width = arrays["nodes"].shape[1:]
    blocks = iterate_pair_blocks(
        [2] * (len(spans) // 2), np.array(spans, np.int64), words, width, pipeline.settings.relation_count
    )
    for block in blocks:
        outputs = pipeline.graphs["relations"].run({**arrays, **block._asdict()})
        # The first half of a block has the pairs (head, tail) in order; the second half has the reversed pairs.
        count = len(block.pairs) // 2
        logits = np.asarray(outputs["relation_logits"])
        attention = np.asarray(outputs["triggers"])[:count] if "triggers" in outputs else None
        yield RelationBlock(logits[:count], logits[count:], attention)


def reduce_sentence(sentence: ParsedSentence, keep: BoolArray) -> ParsedSentence:
    """Leave words out of a sentence; a word with a missing head is attached to its closest remaining ancestor.

    Args:
        sentence: The sentence of N words.
        keep: True for the words that remain, ``[N]``.

    Returns:
        The shorter sentence, without arcs if the sentence has none.
    """
    kept = np.flatnonzero(keep).tolist()
    words = [sentence.words[index] for index in kept]
    if not len(sentence.heads):
        return ParsedSentence(words, [], [])
    new_index = {old: new for new, old in enumerate(kept)}
    heads = [new_index[_find_kept_ancestor(sentence.heads, keep, index)] for index in kept]
    return ParsedSentence(words, heads, [sentence.labels[index] for index in kept])


def _mask_remaining(found: FoundSentence, left_out: Collection[int]) -> BoolArray:
    keep = np.ones(len(found.sentence.words), np.bool_)
    keep[list(left_out)] = False
    return keep


def _find_kept_ancestor(heads: Sequence[int] | IntArray, keep: BoolArray, index: int) -> int:
    """Return the closest ancestor of a word that is kept, or the word itself if there is none."""
    head = int(heads[index])
    while not keep[head] and int(heads[head]) != head:
        head = int(heads[head])
    return head if keep[head] else index

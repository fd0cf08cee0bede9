"""Score relations again in sentences from which words are left out, with the words of their entities held in place.

Every reduced sentence is encoded once, and all its relations are scored on it. Whether the model would find the
entities again does not matter: the relation between exactly these spans is scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..decoding.pair_blocks import iterate_held_pair_blocks
from ..pipeline import DependencyArcs, Pipeline
from ..text.batch_arrays import BoolArray
from ..text.parser import ROOT_LABEL, Parse
from ..text.subwords import IntArray, Subwords
from ..window_batching import batch_indices


class HeldRelation(NamedTuple):
    """Relation type between two spans of words.

    Attributes:
        head: First word of the head, and the index after its last word.
        tail: The same of the tail.
        type_index: Index of the relation type.
    """

    head: tuple[int, int]
    tail: tuple[int, int]
    type_index: int


class HeldSentence(NamedTuple):
    """Sentence of N words, or one window of a long sentence, with the relations that are scored in it.

    Attributes:
        subwords: The subwords of its words; they must fit one window of the encoder.
        relations: The R relations, at least one. Words of their spans must never be left out.
        arcs: Dependency arcs of its words; None with an in-model parser.
    """

    subwords: Subwords
    relations: Sequence[HeldRelation]
    arcs: DependencyArcs | None = None


class Deletion(NamedTuple):
    """A sentence without some of its words.

    Attributes:
        sentence: The complete sentence.
        words: Indices of the words that are left out, ascending; none scores the complete sentence.
    """

    sentence: HeldSentence
    words: Sequence[int]


class WordEffects(NamedTuple):
    """Logits of the R relations of a sentence with and without each of C words or phrases.

    Attributes:
        base: Logit of each relation in the complete sentence, ``[R]``.
        without: Logit of each relation in the sentence without each word or phrase, ``[C, R]``.
    """

    base: npt.NDArray[np.float64]
    without: npt.NDArray[np.float64]


def measure_word_effects(
    pipeline: Pipeline,
    sentences: Sequence[HeldSentence],
    words: Sequence[Sequence[Sequence[int]]],
    batch_size: int = 32,
) -> list[WordEffects]:
    """Leave out words or phrases one at a time and score all relations again.

    Args:
        pipeline: The model.
        sentences: The sentences.
        words: For each sentence the C words or phrases to leave out, each as the indices of its words, ascending.
        batch_size: Maximum number of reduced sentences that go through the model at once.

    Returns:
        The effects of the words and phrases of each sentence.

    Raises:
        BackendError: The backend fails, or returns logits that are not finite.
    """
    deletions = [
        Deletion(sentence, one) for sentence, indices in zip(sentences, words, strict=True) for one in ((), *indices)
    ]
    scores = iter(score_deletions(pipeline, deletions, batch_size))
    effects = []
    for sentence, indices in zip(sentences, words, strict=True):
        base = next(scores)
        without = [next(scores) for _ in indices]
        effects.append(WordEffects(base, np.array(without).reshape(-1, len(sentence.relations))))
    return effects


def score_deletions(
    pipeline: Pipeline, deletions: Sequence[Deletion], batch_size: int = 32
) -> list[npt.NDArray[np.float64]]:
    """Score the relations of sentences without some of their words.

    Args:
        pipeline: The model.
        deletions: The sentences and the words that are left out. The result of one does not depend on the others.
        batch_size: Maximum number of reduced sentences that go through the model at once.

    Returns:
        For each deletion the logit of each relation of its sentence, ``[R]``; that of a relation type without direction
        is the higher one of both directions.

    Raises:
        BackendError: The backend fails, or returns logits that are not finite.
    """
    scores: dict[int, npt.NDArray[np.float64]] = {}
    lengths = [_count_subwords(deletion) for deletion in deletions]
    for indices in batch_indices(lengths, batch_size, pipeline.split_cost_subwords):
        batch = [deletions[index] for index in indices]
        scores.update(zip(indices, _score_batch(pipeline, batch), strict=True))
    return [scores[index] for index in range(len(deletions))]


def _score_batch(pipeline: Pipeline, batch: Sequence[Deletion]) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the logits of the relations of each deletion of a batch."""
    masks = [_build_mask(deletion) for deletion in batch]
    reduced = [keep_words(deletion.sentence.subwords, keep) for deletion, keep in zip(batch, masks, strict=True)]
    arcs = [
        keep_arcs(deletion.sentence.arcs, keep)
        for deletion, keep in zip(batch, masks, strict=True)
        if deletion.sentence.arcs is not None
    ]
    arrays = pipeline.encode_sentences(reduced, arcs or None)
    spans: list[tuple[int, int, int]] = []
    # For each deletion, the place of every unordered pair of spans.
    places: list[dict[tuple[tuple[int, int], tuple[int, int]], int]] = []
    for row, (deletion, keep) in enumerate(zip(batch, masks, strict=True)):
        new_index = (np.cumsum(keep) - 1).tolist()
        found: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
        for relation in deletion.sentence.relations:
            ends = (min(relation[:2]), max(relation[:2]))
            if ends not in found:
                found[ends] = len(spans) // 2
                spans += [(row, new_index[start], new_index[end - 1]) for start, end in ends]
        places.append(found)
    words, width = arrays["nodes"].shape[1:]
    blocks = iterate_held_pair_blocks(np.array(spans, np.int64), words, width, pipeline.settings.relation_count)
    scored = [pipeline.run_relations(arrays, block)[0] for block in blocks]
    # Both directions of every pair, [2, U, n_r].
    logits = np.concatenate([part.reshape(2, -1, part.shape[1]) for part in scored], axis=1).astype(np.float64)
    for deletion, found in zip(batch, places, strict=True):
        values = []
        for head, tail, kind in deletion.sentence.relations:
            both = logits[:, found[min(head, tail), max(head, tail)], kind]
            values.append(both.max() if kind in pipeline.settings.symmetric_relations else both[int(head > tail)])
        yield np.array(values)


def keep_words(subwords: Subwords, keep: BoolArray) -> Subwords:
    """Return the subwords of a sentence without some of its words.

    Since every word is tokenized by itself, they are those of the words that are kept.

    Args:
        subwords: Subwords of the N words.
        keep: Whether each word is kept, ``[N]``.

    Returns:
        The subwords of the words that are kept, with empty ``unknown_words``.
    """
    first, last = subwords.first_positions, subwords.last_positions
    counts = last - first + 1
    kept = np.ones(len(subwords.ids), np.bool_)
    kept[first[0] : last[-1] + 1] = np.repeat(keep, counts)
    stops = np.cumsum(counts[keep]) + first[0]
    return Subwords(subwords.ids[kept], stops - counts[keep], stops - 1, ())


def keep_arcs(arcs: DependencyArcs, keep: BoolArray) -> Parse:
    """Return the dependency arcs of a sentence without some of its words.

    Args:
        arcs: Arcs of the N words.
        keep: Whether each word is kept, ``[N]``.

    Returns:
        The arcs of the words that are kept. A word whose head is left out attaches to its closest ancestor that is
        kept, with its own label; it becomes a root if there is none.
    """
    heads, labels = np.asarray(arcs.heads).tolist(), arcs.labels
    kept = np.flatnonzero(keep).tolist()
    new_index = {old: new for new, old in enumerate(kept)}
    found = [_find_kept_ancestor(heads, new_index, index) for index in kept]
    return Parse(
        [new_index[head] for head in found],
        [ROOT_LABEL if head == index else labels[index] for head, index in zip(found, kept, strict=True)],
    )


def cut_arcs(arcs: DependencyArcs, start: int, end: int) -> Parse:
    """Return the dependency arcs of the words ``start`` to ``end`` (exclusive); an arc that leaves them is dropped."""
    heads = np.asarray(arcs.heads)[start:end]
    indices = np.arange(start, end)
    inside = np.where((heads >= start) & (heads < end), heads, indices) - start
    return Parse(inside, list(arcs.labels[start:end]))


def _find_kept_ancestor(heads: Sequence[int], kept: dict[int, int], index: int) -> int:
    """Return the closest ancestor of a word that is kept, or the word itself if there is none."""
    head, steps = heads[index], 0
    # The arcs that a caller's parser gives may form a circle.
    while head not in kept and heads[head] != head and steps < len(heads):
        head, steps = heads[head], steps + 1
    return head if head in kept else index


def _build_mask(deletion: Deletion) -> BoolArray:
    """Return which words of the sentence are kept, ``[N]``."""
    keep = np.ones(len(deletion.sentence.subwords.first_positions), np.bool_)
    keep[list(deletion.words)] = False
    return keep


def _count_subwords(deletion: Deletion) -> int:
    """Return the number of subwords of the reduced sentence, special tokens included."""
    subwords, words = deletion.sentence.subwords, list(deletion.words)
    dropped: IntArray = subwords.last_positions[words] - subwords.first_positions[words] + 1
    return len(subwords.ids) - int(dropped.sum())

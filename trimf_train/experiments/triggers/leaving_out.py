"""Score the relations of sentences again without some of their words; every set of words is scored once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from trimf.runtime.decoding.span_decoding import FloatArray
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.triggers.word_deletion import Deletion, HeldRelation, HeldSentence, score_deletions

from .found_relations import FoundSentence

#: Index of a sentence and the words that are left out of it.
Reduction = tuple[int, frozenset[int]]

#: Number of shorter sentences that are held in memory at once.
_CHUNK = 4096


class ReducedScores:
    """Logits of the relations of sentences without some of their words, as the exact triggers of the runtime have them.

    The entities are not predicted again: their words stay, and the model scores the relation between them.

    Args:
        pipeline: The model.
        sentences: The sentences.
        batch_size: Maximum number of shorter sentences in a batch.
    """

    def __init__(self, pipeline: Pipeline, sentences: Sequence[FoundSentence], batch_size: int = 32) -> None:
        self._pipeline, self._batch_size = pipeline, batch_size
        self._held = hold_relations(pipeline, sentences)
        self._logits: dict[Reduction, FloatArray] = {}

    def compute(self, reductions: Iterable[Reduction]) -> None:
        """Score the relations of shorter sentences that have no scores yet."""
        missing = [one for one in dict.fromkeys(reductions) if one not in self._logits]
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            deletions = [Deletion(self._held[index], sorted(words)) for index, words in chunk]
            logits = score_deletions(self._pipeline, deletions, self._batch_size)
            self._logits.update(zip(chunk, logits, strict=True))

    def get(self, sentence: int, left_out: Collection[int] = ()) -> FloatArray:
        """Return the logits of all relations of a sentence without some of its words, ``[R]``."""
        return self._logits[sentence, frozenset(left_out)]


def hold_relations(pipeline: Pipeline, sentences: Sequence[FoundSentence]) -> list[HeldSentence]:
    """Prepare sentences whose relations are scored between the same spans."""
    encoded = pipeline.tokenizer.encode([found.sentence.words for found in sentences])
    held = []
    for found, subwords in zip(sentences, encoded, strict=True):
        relations = [
            HeldRelation((head.start, head.end), (tail.start, tail.end), relation.type_index)
            for (head, tail), relation in zip(found.pairs, found.relations, strict=True)
        ]
        held.append(HeldSentence(subwords, relations, None if pipeline.has_parser else found.sentence))
    return held

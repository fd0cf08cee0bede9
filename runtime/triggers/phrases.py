"""Decide which phrases of a sentence to leave out as a whole, and which words and phrases a relation rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..text.batch_arrays import BoolArray
from .trigger_scores import TriggerSpan
from .trigger_words import load_stop_words

#: Maximum number of stop words and marks between two candidate words that are tried as one phrase.
MAX_WORDS_BETWEEN = 2


class SentenceLosses(NamedTuple):
    """What the R relations of a sentence lose without each of its C candidate words.

    Attributes:
        words: The N words of the sentence.
        places: Indices of the candidate words, ascending, ``[C]``.
        free: Whether each word lies outside all entities, ``[N]``.
        between: For each relation, the words between its two entities: the first and the index after the last.
        losses: Probability that each relation loses without each candidate word, ``[C, R]``.
    """

    words: Sequence[str]
    places: Sequence[int]
    free: BoolArray
    between: Sequence[tuple[int, int]]
    losses: npt.NDArray[np.float64]


def list_phrases(sentence: SentenceLosses, floor: float) -> list[tuple[int, int]]:
    """List the phrases that are worth leaving out as a whole.

    There are few of them, since each costs as much as a word. They are

    - a word that matters to a relation, with the stop word right after it ("works for");
    - where no word matters to a relation, each candidate word between its entities with the stop word right after it
      ("born in"): the two may carry together what neither carries alone;
    - two candidate words that matter to a relation together and that at most ``MAX_WORDS_BETWEEN`` stop words or marks
      divide ("shot and killed", "vice-president").

    Args:
        sentence: What its relations lose without each candidate word.
        floor: Loss from which on words matter.

    Returns:
        First word, and index after the last word, of each phrase, in order. No word of an entity lies in one.
    """
    if not sentence.losses.size:
        return []
    return sorted({*_list_followed_words(sentence, floor), *_list_word_pairs(sentence, floor)})


def _list_followed_words(sentence: SentenceLosses, floor: float) -> Iterator[tuple[int, int]]:
    """Yield the words that are tried with the stop word after them."""
    words, free, stops = sentence.words, sentence.free, load_stop_words()
    matters = (sentence.losses >= floor).any(1).tolist()
    bare = [span for span, best in zip(sentence.between, sentence.losses.max(0).tolist(), strict=True) if best < floor]
    for place, is_important in zip(sentence.places, matters, strict=True):
        after = place + 1
        if after == len(words) or not free[after] or words[after].lower() not in stops:
            continue
        if is_important or any(start <= place and after < end for start, end in bare):
            yield place, after + 1


def _list_word_pairs(sentence: SentenceLosses, floor: float) -> Iterator[tuple[int, int]]:
    """Yield the phrases from one candidate word to the next that matter together."""
    gains = np.maximum(sentence.losses, 0)
    for row, (first, last) in enumerate(pairwise(sentence.places)):
        adjacent = last - first - 1 <= MAX_WORDS_BETWEEN and sentence.free[first : last + 1].all()
        if adjacent and (gains[row] + gains[row + 1] >= floor).any():
            yield first, last + 1


def choose_spans(
    words: Mapping[int, float], phrases: Mapping[tuple[int, int], float], floor: float
) -> list[TriggerSpan]:
    """Choose the words and phrases that a relation rests on.

    A phrase takes the place of its words where leaving it out costs at least the floor more than its words cost one by
    one. Of phrases that share a word, the one that costs most in addition is taken.

    Args:
        words: Loss of the relation without each candidate word.
        phrases: Loss without each phrase.
        floor: Loss from which on a word or phrase is shown.

    Returns:
        The words and phrases that reach the floor, by decreasing loss.
    """
    gains = {
        (first, end): loss - sum(max(words.get(index, 0.0), 0.0) for index in range(first, end))
        for (first, end), loss in phrases.items()
    }
    taken: set[int] = set()
    spans = []
    for (first, end), gain in sorted(gains.items(), key=lambda item: (-item[1], item[0])):
        if gain >= floor and phrases[first, end] >= floor and taken.isdisjoint(range(first, end)):
            taken.update(range(first, end))
            spans.append(TriggerSpan(first, end, phrases[first, end]))
    spans += [
        TriggerSpan(index, index + 1, loss) for index, loss in words.items() if loss >= floor and index not in taken
    ]
    return sorted(spans, key=lambda span: (-span.score, span.start))

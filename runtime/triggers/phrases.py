"""Decide which phrases of a sentence to leave out as a whole, and which words and phrases a relation rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..text.batch_arrays import BoolArray
from .trigger_scores import TriggerSpan
from .trigger_words import load_stop_words

#: Maximum number of stop words and marks between two candidate words that are tried as one phrase.
MAX_WORDS_BETWEEN = 2

#: Maximum number of phrases that are tried for a relation.
MAX_PHRASES = 2


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

    There are few of them, since each costs as much as a word: of each relation at most ``MAX_PHRASES``, those whose
    words matter most to it one by one. They are

    - a word that matters to the relation, with the stop word right after it ("works for");
    - if no word matters to the relation, each candidate word between its entities with the stop word right after it
      ("born in"): the two may carry together what neither carries alone;
    - two candidate words that both support the relation and matter to it together, and that at most
      ``MAX_WORDS_BETWEEN`` stop words or marks divide ("shot and killed", "vice-president").

    Args:
        sentence: What its relations lose without each candidate word.
        floor: Loss from which on words matter.

    Returns:
        First word, and index after the last word, of each phrase, in order. No word of an entity lies in one.
    """
    if not sentence.losses.size:
        return []
    followed = _list_followed_words(sentence)
    pairs = _list_word_pairs(sentence)
    found: set[tuple[int, int]] = set()
    for losses, between in zip(sentence.losses.T.tolist(), sentence.between, strict=True):
        found.update(_rank_phrases(sentence, losses, between, followed, pairs, floor)[:MAX_PHRASES])
    return sorted(found)


def _list_followed_words(sentence: SentenceLosses) -> list[int]:
    """Return the rows of the candidate words that a stop word follows."""
    words, free, stops = sentence.words, sentence.free, load_stop_words()
    return [
        row
        for row, after in enumerate(place + 1 for place in sentence.places)
        if after < len(words) and free[after] and words[after].lower() in stops
    ]


def _list_word_pairs(sentence: SentenceLosses) -> list[int]:
    """Return the rows of the candidate words that the next one stands close to."""
    return [
        row
        for row, (first, last) in enumerate(pairwise(sentence.places))
        if last - first - 1 <= MAX_WORDS_BETWEEN and sentence.free[first : last + 1].all()
    ]


def _rank_phrases(
    sentence: SentenceLosses,
    losses: Sequence[float],
    between: tuple[int, int],
    followed: Sequence[int],
    pairs: Sequence[int],
    floor: float,
) -> list[tuple[int, int]]:
    """Return the phrases of a relation, the most promising first.

    Args:
        sentence: The sentence.
        losses: What the relation loses without each candidate word, ``[C]``.
        between: The words between its entities.
        followed: Rows of ``losses`` of the words that a stop word follows.
        pairs: Rows of the words that the next candidate word stands close to.
        floor: Loss from which on words matter.
    """
    places, (start, end) = sentence.places, between
    is_bare = max(losses) < floor
    promise: dict[tuple[int, int], float] = {}
    for row in followed:
        place = places[row]
        if losses[row] >= floor or (is_bare and start <= place and place + 1 < end):
            promise[place, place + 2] = losses[row]
    for row in pairs:
        one, other = losses[row], losses[row + 1]
        if min(one, other) > 0 and one + other >= floor:
            promise[places[row], places[row + 1] + 1] = one + other
    return sorted(promise, key=lambda phrase: (-promise[phrase], phrase))


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

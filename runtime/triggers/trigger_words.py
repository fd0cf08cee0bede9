"""Select the words of a sentence to show as triggers of a relation (paper, sections 3.5 and 4.7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ..decoding.span_decoding import EntitySpan, RelationSpan
from ..text.batch_arrays import BoolArray

#: spaCy's English stop words, a line each; ``python docs/tools/freeze_word_rules.py`` writes them.
STOP_WORD_FILE = Path(__file__).with_name("stop_words.txt")


@cache
def load_stop_words() -> frozenset[str]:
    """Return spaCy's English stop words in lower case."""
    return frozenset(STOP_WORD_FILE.read_text(encoding="utf-8").split())


def trigger_candidate_mask(words: Sequence[str], entities: Iterable[EntitySpan]) -> BoolArray:
    """Find the words of a sentence that may be shown as triggers.

    Args:
        words: The N words of the sentence.
        entities: The predicted entities of the sentence.

    Returns:
        False for words of entities, stop words and punctuation, True for all others, ``[N]``.
    """
    stops = load_stop_words()
    candidates = np.array(
        [word.lower() not in stops and (word.isalnum() or any(map(str.isalnum, word))) for word in words], np.bool_
    )
    for entity in entities:
        candidates[entity.start : entity.end] = False
    return candidates


def followed_word_mask(words: Sequence[str], entities: Iterable[EntitySpan]) -> BoolArray:
    """Find the words that a stop word outside all entities follows, so that both may be shown as a phrase.

    Args:
        words: The N words of the sentence.
        entities: The predicted entities of the sentence.

    Returns:
        Whether such a word follows, ``[N]``.
    """
    stops = load_stop_words()
    followed = np.array([word.lower() in stops for word in words[1:]] + [False] * bool(words), np.bool_)
    for entity in entities:
        followed[max(entity.start - 1, 0) : entity.end - 1] = False
    return followed


def top_trigger_words(relation: RelationSpan, candidates: BoolArray, count: int) -> list[tuple[int, float]]:
    """Select the candidate words with the highest trigger weights for a relation.

    Args:
        relation: The relation.
        candidates: The words of the sentence that may be shown, ``[N]``, as returned by ``trigger_candidate_mask``.
        count: Maximum number of words.

    Returns:
        Index and weight of each selected word, highest weight first; only words with a positive weight.
    """
    first, weights = relation.first_word, relation.trigger_weights.tolist()
    allowed = candidates[first : first + len(weights)].tolist()
    places = [index for index, weight in enumerate(weights) if weight > 0 and allowed[index]]
    places.sort(key=lambda index: -weights[index])
    return [(first + index, weights[index]) for index in places[:count]]

"""Which words of a sentence to show as the triggers of a relation (paper 3.5, 4.7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from .decode import EntitySpan, FloatArray


@cache
def stop_words() -> frozenset[str]:
    """English stop words, lower case."""
    from spacy.lang.en.stop_words import STOP_WORDS

    return frozenset(STOP_WORDS)


def best_words(weights: FloatArray, words: Sequence[str], entities: Iterable[EntitySpan], count: int) -> list[int]:
    """The ``count`` words of most weight, by falling weight, that are no entity's, no stop word and not punctuation.

    ``weights`` ``[N]`` are one pair's t_ij; a word with none is never shown.
    """
    shown = np.ones(len(words), np.bool_)
    for entity in entities:
        shown[entity.start : entity.end] = False
    ranked = np.argsort(-weights, kind="stable")
    chosen: list[int] = []
    for place in ranked.tolist():
        if len(chosen) == count or weights[place] <= 0:
            break
        word = words[place].lower()
        if shown[place] and word not in stop_words() and any(character.isalnum() for character in word):
            chosen.append(place)
    return chosen

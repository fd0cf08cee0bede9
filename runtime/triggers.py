"""Which words of a sentence to show as the triggers of a relation (paper 3.5, 4.7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from .decode import EntitySpan, RelationSpan
from .features import BoolArray


@cache
def stop_words() -> frozenset[str]:
    """English stop words, lower case."""
    from spacy.lang.en.stop_words import STOP_WORDS

    return frozenset(STOP_WORDS)


def may_trigger(words: Sequence[str], entities: Iterable[EntitySpan]) -> BoolArray:
    """Which words of a sentence may be shown: no entity's, no stop words and not punctuation, ``[N]``."""
    stops = stop_words()
    shown = np.array(
        [word.lower() not in stops and (word.isalnum() or any(map(str.isalnum, word))) for word in words], np.bool_
    )
    for entity in entities:
        shown[entity.start : entity.end] = False
    return shown


def best_words(relation: RelationSpan, shown: BoolArray, count: int) -> list[tuple[int, float]]:
    """The ``count`` words of most weight and their weights, by falling weight, of those that may be ``shown`` ``[N]``.

    A word without weight is never among them.
    """
    weights = relation.triggers
    allowed = shown[relation.first : relation.first + len(weights)] & (weights > 0)
    ranked = np.argsort(np.where(allowed, -weights, 0), kind="stable")[:count]
    return [(relation.first + place, float(weights[place])) for place in ranked.tolist() if allowed[place]]

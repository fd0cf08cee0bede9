"""Dependency trees with a single root, from scores of arcs (Chu and Liu 1965, Edmonds 1967).

The best head of each word alone is enough for messages to pass, but may close a cycle or name several roots. Of the
libraries that could be had, networkx visits every arc in Python, and ufal.chu_liu_edmonds has no build for current
versions of Python; hence this one, which leaves the work on scores to numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .subwords import IntArray

Scores = npt.NDArray[np.floating[Any]]

_NEVER = -np.inf


def single_root(scores: Scores) -> IntArray:
    """The tree with one root whose arcs score most together, as the head of each word; the root is its own.

    ``scores`` ``[N,N]``: how much word j is the head of word i; at j = i, how much i is the root.
    """
    count = len(scores)
    heads: IntArray = scores.argmax(1)
    places = np.arange(count)
    if (heads == places).sum() == 1 and not len(_cycle(np.where(heads == places, -1, heads))):
        return heads
    whole = np.full((count + 1, count + 1), _NEVER)
    whole[1:, 1:] = scores
    np.fill_diagonal(whole, _NEVER)
    # No tree with two roots can make up for this.
    whole[1:, 0] = np.diagonal(scores) - (count + 1) * (float(scores.max()) - float(scores.min()) + 1)
    found = _arborescence(whole)[1:] - 1
    return np.where(found < 0, places, found)


def joined(heads: IntArray, labels: Sequence[str], root: str, other: str) -> tuple[IntArray, list[str]]:
    """One tree of arcs that come from several: words that lead to no root, and all roots but the first, hang on that.

    A root is its own head and has the label ``root``; what is hung on another word gets the label ``other``.
    """
    heads, names = heads.copy(), list(labels)
    places = np.arange(len(heads))
    own = heads == places
    first = int(own.argmax())
    loose = set(np.flatnonzero(own).tolist()) - {first}
    if not own.any():
        heads[first], names[first] = first, root
        own[first] = True
    while len(cycle := _cycle(np.where(own, -1, heads))):
        start = int(cycle.min())
        loose.add(start)
        own[start] = True
    for place in loose:
        heads[place], names[place] = first, other
    return heads, names


def _cycle(heads: IntArray) -> IntArray:
    """The places of one cycle, none where every place leads to a head below 0."""
    seen = np.zeros(len(heads), np.int64)
    for start in range(len(heads)):
        place = start
        while place >= 0 and not seen[place]:
            seen[place] = start + 1
            place = int(heads[place])
        if place >= 0 and seen[place] == start + 1:
            cycle = [place]
            while (place := int(heads[place])) != cycle[0]:
                cycle.append(place)
            return np.array(cycle)
    return np.zeros(0, np.int64)


def _arborescence(scores: Scores) -> IntArray:
    """Heads of the best tree below node 0, whose own is -1; ``scores`` ``[n,n]`` of heads (columns), never of itself.

    As long as the best heads close a cycle, it becomes one node: from outside it is entered where that costs its own
    arcs least. When no cycle is left, they are taken apart again, the last one first.
    """
    contracted: list[tuple[IntArray, IntArray, IntArray, IntArray, IntArray]] = []
    while True:
        heads: IntArray = scores.argmax(1)
        heads[0] = -1
        cycle = _cycle(heads)
        if not len(cycle):
            break
        kept = np.setdiff1d(np.arange(len(scores)), cycle)
        entering = scores[np.ix_(cycle, kept)] - scores[cycle, heads[cycle]][:, None]
        leaving = scores[np.ix_(kept, cycle)]
        size = len(kept)
        smaller = np.full((size + 1, size + 1), _NEVER)
        smaller[:size, :size] = scores[np.ix_(kept, kept)]
        smaller[size, :size] = entering.max(0)
        smaller[:size, size] = leaving.max(1)
        contracted.append((kept, cycle, heads[cycle], cycle[entering.argmax(0)], cycle[leaving.argmax(1)]))
        scores = smaller
    for kept, cycle, inside, entered, left in reversed(contracted):
        size = len(kept)
        outside, of_cycle = heads[:size], int(heads[size])
        heads = np.empty(size + len(cycle), np.int64)
        heads[cycle] = inside
        heads[entered[of_cycle]] = kept[of_cycle]
        heads[kept] = np.where(outside == size, left, kept[np.minimum(outside, size - 1)])
        heads[0] = -1
    return heads

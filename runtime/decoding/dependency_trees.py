"""Build dependency trees with a single root from arc scores (Chu and Liu 1965, Edmonds 1967).

Taking the best head of each word separately is enough for the graph network, but the result may contain a cycle or
several roots. The algorithm is implemented here because networkx visits every arc in Python and ufal.chu_liu_edmonds
has no build for current Python versions; this implementation does the work on scores in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..text.subwords import IntArray

Scores = npt.NDArray[np.floating[Any]]

_MINUS_INFINITY = -np.inf


def find_best_tree(scores: Scores) -> IntArray:
    """Find the dependency tree with exactly one root whose arcs have the highest total score.

    Args:
        scores: Arc scores, ``[N, N]``: entry (i, j) is the score of word j as the head of word i, and entry (i, i) the
            score of word i as the root.

    Returns:
        Index of each word's head, ``[N]``; the root has its own index.
    """
    count = len(scores)
    heads: IntArray = scores.argmax(1)
    indices = np.arange(count)
    if (heads == indices).sum() == 1 and not len(_find_cycle(np.where(heads == indices, -1, heads))):
        return heads
    # Node 0 is an artificial root above all words.
    extended = np.full((count + 1, count + 1), _MINUS_INFINITY)
    extended[1:, 1:] = scores
    np.fill_diagonal(extended, _MINUS_INFINITY)
    # The penalty of a second root is larger than anything that the other arcs can gain.
    extended[1:, 0] = np.diagonal(scores) - (count + 1) * (float(scores.max()) - float(scores.min()) + 1)
    tree = _find_arborescence(extended)[1:] - 1
    return np.where(tree < 0, indices, tree)


def repair_tree(heads: IntArray, labels: Sequence[str], root_label: str, join_label: str) -> tuple[IntArray, list[str]]:
    """Turn arcs with several roots or with cycles into one tree.

    The first root stays the root; if there is none, the first word becomes the root. Every other root is attached to
    it, and so is the first word of each cycle.

    Args:
        heads: Index of each word's head, ``[N]``, N at least 1; a root has its own index.
        labels: Dependency label of each word's arc, ``[N]``.
        root_label: The label of the root.
        join_label: The label of a word that is attached to the root.

    Returns:
        The heads and labels of the tree.
    """
    heads, names = heads.copy(), list(labels)
    is_root = heads == np.arange(len(heads))
    first = int(is_root.argmax())
    loose = set(np.flatnonzero(is_root).tolist()) - {first}
    if not is_root.any():
        heads[first], names[first] = first, root_label
        is_root[first] = True
    while len(cycle := _find_cycle(np.where(is_root, -1, heads))):
        start = int(cycle.min())
        loose.add(start)
        is_root[start] = True
    for index in loose:
        heads[index], names[index] = first, join_label
    return heads, names


def _find_cycle(heads: IntArray) -> IntArray:
    """Return the indices of one cycle, or an empty array if every index leads to a head below 0."""
    seen = np.zeros(len(heads), np.int64)
    for start in range(len(heads)):
        index = start
        while index >= 0 and not seen[index]:
            seen[index] = start + 1
            index = int(heads[index])
        if index >= 0 and seen[index] == start + 1:
            cycle = [index]
            while (index := int(heads[index])) != cycle[0]:
                cycle.append(index)
            return np.array(cycle)
    return np.zeros(0, np.int64)


def _find_arborescence(scores: Scores) -> IntArray:
    """Return the heads of the best tree below node 0, whose own head is -1.

    ``scores`` ``[n, n]`` holds a row per node and a column per head; no node can be its own head. While the best heads
    contain a cycle, the cycle is contracted to one node. An arc from outside enters the cycle at the node where
    replacing its arc within the cycle costs least. When no cycle is left, the cycles are expanded again in reverse
    order.
    """
    contracted: list[tuple[IntArray, IntArray, IntArray, IntArray, IntArray]] = []
    while True:
        heads: IntArray = scores.argmax(1)
        heads[0] = -1
        cycle = _find_cycle(heads)
        if not len(cycle):
            break
        kept = np.setdiff1d(np.arange(len(scores)), cycle)
        entering = scores[np.ix_(cycle, kept)] - scores[cycle, heads[cycle]][:, None]
        leaving = scores[np.ix_(kept, cycle)]
        size = len(kept)
        smaller = np.full((size + 1, size + 1), _MINUS_INFINITY)
        smaller[:size, :size] = scores[np.ix_(kept, kept)]
        smaller[size, :size] = entering.max(0)
        smaller[:size, size] = leaving.max(1)
        contracted.append((kept, cycle, heads[cycle], cycle[entering.argmax(0)], cycle[leaving.argmax(1)]))
        scores = smaller
    for kept, cycle, cycle_heads, entered, left in reversed(contracted):
        size = len(kept)
        outside, cycle_head = heads[:size], int(heads[size])
        heads = np.empty(size + len(cycle), np.int64)
        heads[cycle] = cycle_heads
        heads[entered[cycle_head]] = kept[cycle_head]
        heads[kept] = np.where(outside == size, left, kept[np.minimum(outside, size - 1)])
        heads[0] = -1
    return heads

"""Sentences longer than the encoder: overlapping windows of whole words, and one result from theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .decode import Found, RelationSpan, order, without_overlap
from .parser import Parse
from .subwords import IntArray

#: Words that neighbouring windows share, unless a window is so short that a quarter of it is less.
OVERLAP = 64


def windows(pieces: IntArray, max_pieces: int, max_words: int) -> list[tuple[int, int]]:
    """Word ranges ``(start, end)`` covering a sentence whose words have ``pieces`` ``[N]`` subwords each.

    Every range has at most ``max_pieces`` subwords and ``max_words`` words (at least one word); one range if all fits.
    """
    total = np.concatenate([[0], np.cumsum(pieces)])
    count = len(pieces)
    ranges: list[tuple[int, int]] = []
    start = 0
    while True:
        end = int(np.searchsorted(total, total[start] + max_pieces, side="right")) - 1
        end = max(min(end, start + max_words, count), start + 1)
        ranges.append((start, end))
        if end >= count:
            return ranges
        start = max(end - min(OVERLAP, (end - start) // 4), start + 1)


def _owners(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """For each window the words it answers for: up to the middle of what it shares with its neighbour."""
    start = 0
    for number, (_, end) in enumerate(ranges):
        stop = (ranges[number + 1][0] + end + 1) // 2 if number + 1 < len(ranges) else end
        yield start, stop
        start = stop


def merge(ranges: Sequence[tuple[int, int]], found: Sequence[Found], overlap: bool) -> Found:
    """One result for the sentence from those of its windows.

    An entity is taken from the window that answers for its first word; without ``overlap``, those of two windows that
    share a word are not both kept. A relation is kept where both its entities were; from two windows that saw the same
    one, the surer. Its trigger weights stay those of its window, whatever the length of the sentence.
    """
    if len(ranges) == 1:
        return found[0]
    entities = {
        (entity.start + offset, entity.end + offset, entity.label): entity._replace(
            start=entity.start + offset, end=entity.end + offset
        )
        for (offset, _), (first, stop), result in zip(ranges, _owners(ranges), found, strict=True)
        for entity in result.entities
        if first <= entity.start + offset < stop
    }
    kept = order(list(entities.values())) if overlap else without_overlap(list(entities.values()))
    index = {(entity.start, entity.end, entity.label): number for number, entity in enumerate(kept)}
    relations: dict[tuple[int, int, int], RelationSpan] = {}
    for (offset, _), result in zip(ranges, found, strict=True):
        places = [index.get((entity.start + offset, entity.end + offset, entity.label)) for entity in result.entities]
        for relation in result.relations:
            head, tail = places[relation.head], places[relation.tail]
            if head is None or tail is None:
                continue
            key = (head, tail, relation.label)
            if key in relations and relations[key].score >= relation.score:
                continue
            relations[key] = relation._replace(head=head, tail=tail, first=offset)
    return Found(kept, [relations[key] for key in sorted(relations)])


def join(trees: Sequence[Parse | None], ranges: Sequence[tuple[int, int]]) -> Parse:
    """The arcs of a sentence from those of its windows: each word's from the window that answers for it."""
    heads: list[IntArray] = []
    labels: list[str] = []
    for tree, (offset, _), (first, stop) in zip(trees, ranges, _owners(ranges), strict=True):
        assert tree is not None
        heads.append(np.asarray(tree.heads)[first - offset : stop - offset] + offset)
        labels += tree.labels[first - offset : stop - offset]
    return Parse(np.concatenate(heads), labels)

"""Split long sentences into overlapping windows of words that fit the encoder, and merge the windows' results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..text.parser import Parse
from ..text.subwords import IntArray
from .span_decoding import DecodedSentence, EntitySpan, RelationSpan, greedy_non_overlapping, sort_by_position

#: Number of words that neighbouring windows share, but at most a quarter of a window.
OVERLAP_WORDS = 64


def split_windows(subword_counts: IntArray, max_subwords: int, max_words: int) -> list[tuple[int, int]]:
    """Split a sentence into overlapping windows.

    Args:
        subword_counts: Number of subwords of each word, ``[N]``.
        max_subwords: Maximum number of subwords of a window. A word with more is a window by itself.
        max_words: Maximum number of words of a window.

    Returns:
        Word ranges ``(start, end)``, end exclusive, that cover the sentence; a single range if the sentence fits.
    """
    total = np.concatenate([[0], np.cumsum(subword_counts)])
    count = len(subword_counts)
    ranges: list[tuple[int, int]] = []
    start = 0
    while True:
        end = int(np.searchsorted(total, total[start] + max_subwords, side="right")) - 1
        end = max(min(end, start + max_words, count), start + 1)
        ranges.append((start, end))
        if end >= count:
            return ranges
        start = max(end - min(OVERLAP_WORDS, (end - start) // 4), start + 1)


def _assign_words(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield, per window, the half-open word range whose predictions are kept; overlaps are split in the middle."""
    start = 0
    for index, (_, end) in enumerate(ranges):
        stop = (ranges[index + 1][0] + end + 1) // 2 if index + 1 < len(ranges) else end
        yield start, stop
        start = stop


def merge_windows(
    ranges: Sequence[tuple[int, int]], results: Sequence[DecodedSentence], overlap: bool
) -> DecodedSentence:
    """Merge the results of the windows of a sentence.

    Each word belongs to one window: the words that two windows share are divided in the middle. An entity is taken from
    the window to which its first word belongs. A relation is kept if both its entities are; if two windows predict the
    same relation, the higher score wins. Its trigger weights cover only the words of its window.

    Args:
        ranges: The windows, as returned by ``split_windows``.
        results: The result of each window, with word indices relative to its start.
        overlap: Whether entities may overlap. If False, of two entities from different windows that share a word, only
            the entity with the higher score is kept.

    Returns:
        The result for the sentence.
    """
    if len(ranges) == 1:
        return results[0]
    entities = _collect_spans(ranges, [result.entities for result in results])
    kept = entities if overlap else greedy_non_overlapping(entities)
    kept_indices = {(entity.start, entity.end, entity.type_index): index for index, entity in enumerate(kept)}
    # For each window, the index in ``kept`` of each of its entities, or None.
    indices = [
        [
            kept_indices.get((entity.start + offset, entity.end + offset, entity.type_index))
            for entity in result.entities
        ]
        for (offset, _), result in zip(ranges, results, strict=True)
    ]
    return DecodedSentence(
        kept,
        _collect_relations(ranges, [result.relations for result in results], indices),
        tuple(_collect_spans(ranges, [result.entity_candidates for result in results])),
        tuple(_collect_relations(ranges, [result.relation_candidates for result in results], indices)),
    )


def merge_given_windows(
    ranges: Sequence[tuple[int, int]], results: Sequence[DecodedSentence], entities: Sequence[EntitySpan]
) -> DecodedSentence:
    """Merge the results of the windows of a sentence whose entities the caller gave.

    A relation is kept with its higher score if two windows predict it.

    Args:
        ranges: The windows, as returned by ``split_windows``.
        results: The result of each window; its entities are those of ``entities`` that lie in it, in the same order.
        entities: All entities of the sentence.

    Returns:
        The result for the sentence, with ``entities`` as they are.
    """
    indices = [
        [index for index, entity in enumerate(entities) if start <= entity.start and entity.end <= end]
        for start, end in ranges
    ]
    return DecodedSentence(
        list(entities),
        _collect_relations(ranges, [result.relations for result in results], indices),
        (),
        tuple(_collect_relations(ranges, [result.relation_candidates for result in results], indices)),
    )


def _collect_spans(ranges: Sequence[tuple[int, int]], found: Sequence[Sequence[EntitySpan]]) -> list[EntitySpan]:
    """Return the spans of all windows by position, each from the window to which its first word belongs."""
    spans = {
        (span.start + offset, span.end + offset, span.type_index): span._replace(
            start=span.start + offset, end=span.end + offset
        )
        for (offset, _), (first, stop), window in zip(ranges, _assign_words(ranges), found, strict=True)
        for span in window
        if first <= span.start + offset < stop
    }
    return sort_by_position(list(spans.values()))


def _collect_relations(
    ranges: Sequence[tuple[int, int]],
    found: Sequence[Sequence[RelationSpan]],
    indices: Sequence[Sequence[int | None]],
) -> list[RelationSpan]:
    """Return the relations of all windows whose entities were kept, each once, in order."""
    relations: dict[tuple[int, int, int], RelationSpan] = {}
    for (offset, _), window, kept in zip(ranges, found, indices, strict=True):
        for relation in window:
            head, tail = kept[relation.head], kept[relation.tail]
            if head is None or tail is None:
                continue
            key = (head, tail, relation.type_index)
            if key in relations and relations[key].score >= relation.score:
                continue
            relations[key] = relation._replace(head=head, tail=tail, first_word=offset)
    return [relations[key] for key in sorted(relations)]


def join_window_arcs(parses: Sequence[Parse], ranges: Sequence[tuple[int, int]]) -> Parse:
    """Join the dependency arcs of the windows of a sentence.

    The head of each word comes from the window to which the word belongs, as in ``merge_windows``. The result may have
    several roots or a cycle.

    Args:
        parses: The arcs of each window, with word indices relative to its start.
        ranges: The windows, as returned by ``split_windows``.

    Returns:
        The arcs of the sentence.
    """
    heads: list[IntArray] = []
    labels: list[str] = []
    for parse, (offset, _), (first, stop) in zip(parses, ranges, _assign_words(ranges), strict=True):
        heads.append(np.asarray(parse.heads)[first - offset : stop - offset] + offset)
        labels += parse.labels[first - offset : stop - offset]
    return Parse(np.concatenate(heads), labels)

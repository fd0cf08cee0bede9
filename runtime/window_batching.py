"""Cut sentences into windows that fit the encoder, group windows into batches, and join the windows' results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .decoding.dependency_trees import repair_tree
from .decoding.span_decoding import DecodedSentence, EntitySpan
from .decoding.windows import join_window_arcs, merge_given_windows, merge_windows, split_windows
from .model_settings import ModelSettings
from .text.parser import JOIN_LABEL, ROOT_LABEL, Parse
from .text.subwords import Subwords, SubwordTokenizer

#: Maximum number of subwords, padding included, in one call of the encoder.
MAX_BATCH_SUBWORDS = 4096


class Window(NamedTuple):
    """Words ``start`` to ``end`` (exclusive) of the sentence with index ``sentence``, with their subwords."""

    sentence: int
    start: int
    end: int
    subwords: Subwords


class WindowResult(NamedTuple):
    """Decoded window, or decoded sentence of several windows.

    Attributes:
        decoded: Entities and relations, as word indices that count from the first word.
        unpaired_entities: Number of entities left out of the relation scoring because there are too many.
        arcs: Arcs of the in-model parser, if they were requested.
    """

    decoded: DecodedSentence
    unpaired_entities: int
    arcs: Parse | None


def cut_windows(
    sentences: Sequence[Subwords], tokenizer: SubwordTokenizer, settings: ModelSettings
) -> Iterator[Window]:
    """Cut sentences into windows.

    Args:
        sentences: Subwords of each sentence.
        tokenizer: Tokenizer that made them.
        settings: Limits of a window.

    Yields:
        The windows in the order of the sentences: one of a sentence that fits, none of a sentence without words.
    """
    for index, subwords in enumerate(sentences):
        count = len(subwords.first_positions)
        if not count:
            continue
        if count <= settings.max_words and len(subwords.ids) <= settings.max_subwords:
            yield Window(index, 0, count, subwords)
            continue
        capacity = settings.max_subwords - tokenizer.special_token_count
        for start, end in split_windows(
            subwords.last_positions - subwords.first_positions + 1, capacity, settings.max_words
        ):
            yield Window(index, start, end, tokenizer.slice_words(subwords, start, end))


def batch_indices(
    lengths: Sequence[int], batch_size: int, split_cost_subwords: int | None = None
) -> Iterator[list[int]]:
    """Group sentences of similar length into batches of at most MAX_BATCH_SUBWORDS padded subwords.

    Args:
        lengths: Number of subwords of each sentence.
        batch_size: Maximum number of sentences in a batch.
        split_cost_subwords: Start a new batch where a longer sentence would add more than this many subwords of padding
            to those before it; None never does.

    Yields:
        Indices into ``lengths``, shortest sentences first.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch:
            padding = (lengths[index] - lengths[batch[-1]]) * len(batch)
            full = len(batch) == batch_size or (len(batch) + 1) * lengths[index] > MAX_BATCH_SUBWORDS
            if full or (split_cost_subwords is not None and padding > split_cost_subwords):
                yield batch
                batch = []
        batch.append(index)
    if batch:
        yield batch


def select_window_entities(entities: Sequence[Sequence[EntitySpan]], window: Window) -> list[EntitySpan]:
    """Select the entities of a sentence that lie in one of its windows.

    Args:
        entities: The entities of every sentence.
        window: The window.

    Returns:
        Its entities, in the same order, with word indices relative to its start.
    """
    return [
        span._replace(start=span.start - window.start, end=span.end - window.start)
        for span in entities[window.sentence]
        if window.start <= span.start and span.end <= window.end
    ]


def join_window_results(
    windows: Sequence[Window],
    results: Sequence[WindowResult],
    *,
    overlap: bool,
    tree: bool,
    given: Sequence[EntitySpan] | None = None,
) -> WindowResult:
    """Join the results of the windows of one sentence.

    Args:
        windows: All windows of the sentence.
        results: Result of each window.
        overlap: Whether entities may overlap.
        tree: Turn the joined arcs into a tree with a single root.
        given: The caller's entities of the sentence; None if the windows found them.

    Returns:
        The result of the sentence.
    """
    if len(windows) == 1:
        return results[0]
    ranges = [(window.start, window.end) for window in windows]
    parses = [result.arcs for result in results if result.arcs is not None]
    arcs = join_window_arcs(parses, ranges) if parses else None
    if arcs is not None and tree:
        arcs = Parse(*repair_tree(np.asarray(arcs.heads), arcs.labels, ROOT_LABEL, JOIN_LABEL))
    decoded = [result.decoded for result in results]
    return WindowResult(
        merge_windows(ranges, decoded, overlap) if given is None else merge_given_windows(ranges, decoded, given),
        sum(result.unpaired_entities for result in results),
        arcs,
    )

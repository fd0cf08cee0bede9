"""Sentences of words, with their arcs, to entities and relations in words: everything between text and engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from . import decode, features
from .backend import Subgraph
from .errors import BackendError, InputError
from .labels import Labels
from .subwords import MAX_PIECES, Subwords, SubwordTokenizer
from .windows import merge, windows

#: Most padded subwords of one call of the encoder, and most pairs of one call of the relation classifier.
MAX_BATCH_SUBWORDS = 4096
MAX_PAIRS = 4096


class Settings(NamedTuple):
    """What decoding needs to know of a model: label numbers, thresholds and the limits of one window."""

    dependencies: Mapping[str, int]
    symmetric: frozenset[int]
    relation_threshold: float
    overlap: bool
    max_subwords: int
    max_words: int

    @classmethod
    def of(cls, labels: Labels, relation_threshold: float, overlap: bool, max_subwords: int, max_words: int) -> Self:
        """Settings with the numbers that ``labels`` give its names."""
        symmetric = frozenset(labels.relation_numbers[name] for name in labels.symmetric)
        return cls(labels.dependency_numbers, symmetric, relation_threshold, overlap, max_subwords, max_words)


class ParsedSentence(NamedTuple):
    """N words with the head and the arc label of each (a root is its own head)."""

    words: Sequence[str]
    heads: Sequence[int]
    labels: Sequence[str]


class Result(NamedTuple):
    """Found entities and relations, the words the tokenizer could not read, and how many windows it took."""

    found: decode.Found
    unknown: tuple[int, ...]
    windows: int


class Pipeline:
    """Runs sentences through the four subgraphs. Stateless, so as many threads may share it as the engine allows."""

    def __init__(self, graphs: Mapping[str, Subgraph], tokenizer: SubwordTokenizer, settings: Settings) -> None:
        self.graphs, self.tokenizer, self.settings = graphs, tokenizer, settings

    @property
    def _room(self) -> int:
        """Subwords of words that one window holds."""
        return self.settings.max_subwords - self.tokenizer.specials

    def run(self, sentences: Sequence[ParsedSentence], batch_size: int = 32) -> list[Result]:
        """Results in the order of ``sentences``; a sentence's result does not depend on the others.

        Sentences are sorted by length and cut into batches of at most ``batch_size`` windows.

        Raises:
            InputError: ``batch_size`` is not positive.
            BackendError: the engine fails, or gives logits that are not finite.
        """
        if batch_size < 1:
            raise InputError(f"batch_size = {batch_size}, but at least 1 is needed")
        items: list[features.Item] = []
        ranges: list[list[tuple[int, int]]] = []
        encoded = self.tokenizer.encode([sentence.words for sentence in sentences], min(MAX_PIECES, self._room))
        for sentence, subwords in zip(sentences, encoded, strict=True):
            spans = self._windows(subwords)
            ranges.append(spans)
            items.extend(self._items(sentence, subwords, spans))
        found: list[decode.Found] = [decode.Found([], [])] * len(items)
        for chosen in batches([len(item.subwords.ids) for item in items], batch_size):
            for place, result in zip(chosen, self._batch([items[place] for place in chosen]), strict=True):
                found[place] = result
        results = []
        offset = 0
        for spans, subwords in zip(ranges, encoded, strict=True):
            parts = found[offset : offset + len(spans)]
            offset += len(spans)
            whole = merge(spans, parts, self.settings.overlap) if spans else decode.Found([], [])
            results.append(Result(whole, subwords.unknown, len(spans)))
        return results

    def _windows(self, subwords: Subwords) -> list[tuple[int, int]]:
        if not len(subwords.first):
            return []
        return windows(subwords.last - subwords.first + 1, self._room, self.settings.max_words)

    def _items(
        self, sentence: ParsedSentence, subwords: Subwords, spans: Sequence[tuple[int, int]]
    ) -> Iterator[features.Item]:
        for start, end in spans:
            part = subwords if len(spans) == 1 else self.tokenizer.cut(subwords, start, end)
            heads, labels = features.arcs(sentence.heads, sentence.labels, self.settings.dependencies, start, end)
            yield features.Item(part, heads, labels)

    def _batch(self, items: Sequence[features.Item]) -> list[decode.Found]:
        arrays: dict[str, Any] = features.pad(items)._asdict()
        lengths = [item.length for item in items]
        for name in ("encoder", "fusion", "entities"):
            arrays.update(self.graphs[name].run(arrays))
        entities = decode.entity_spans(_finite(arrays, "entity_logits"), lengths, self.settings.overlap)
        relations = self._relations(arrays, entities, lengths)
        return [decode.Found(*both) for both in zip(entities, relations, strict=True)]

    def _relations(
        self, arrays: dict[str, Any], entities: list[list[decode.EntitySpan]], lengths: list[int]
    ) -> list[list[decode.RelationSpan]]:
        found: list[list[decode.RelationSpan]] = [[] for _ in entities]
        counts = [len(spans) for spans in entities]
        pairs = decode.all_pairs(counts)
        if not len(pairs):
            return found
        found_spans = np.asarray(
            [(row, span.start, span.end - 1) for row, spans in enumerate(entities) for span in spans], np.int64
        )
        owner = np.repeat(np.arange(len(counts)), counts)
        first = np.cumsum([0, *counts])
        for start in range(0, len(pairs), MAX_PAIRS):
            block = pairs[start : start + MAX_PAIRS]
            used = np.zeros(len(found_spans), np.bool_)
            used[block] = True
            numbers = np.cumsum(used) - 1
            outputs = self.graphs["relations"].run({**arrays, "spans": found_spans[used], "pairs": numbers[block]})
            scores = decode.sigmoid(_finite(outputs, "relation_logits"))
            triggers = np.asarray(outputs["triggers"])
            for pair, label in zip(*np.nonzero(scores > self.settings.relation_threshold), strict=True):
                head, tail = block[pair]
                row = int(owner[head])
                found[row].append(
                    decode.RelationSpan(
                        int(head - first[row]),
                        int(tail - first[row]),
                        int(label),
                        float(scores[pair, label]),
                        triggers[pair, : lengths[row]].copy(),
                    )
                )
        return [decode.fold_symmetric(relations, self.settings.symmetric) for relations in found]


def _finite(arrays: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """Logits on the host.

    Raises:
        BackendError: one is NaN or infinite: a half-precision graph has overflowed, which would read as nothing found.
    """
    logits = np.asarray(arrays[name])
    if not np.isfinite(logits).all():
        raise BackendError(f"{name} holds a number that is not finite; export the model as fp32 or bf16")
    return logits


def batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in groups of like length, each of at most ``batch_size`` rows and MAX_BATCH_SUBWORDS padded subwords."""
    chosen: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chosen and (len(chosen) == batch_size or (len(chosen) + 1) * lengths[place] > MAX_BATCH_SUBWORDS):
            yield chosen
            chosen = []
        chosen.append(place)
    if chosen:
        yield chosen

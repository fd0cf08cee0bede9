"""What to classify in a training sentence: gold spans and pairs, and negatives drawn anew each epoch (paper 3.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trimf.runtime import features
from trimf.runtime.labels import Labels
from trimf.runtime.subwords import IntArray
from trimf_train.data.sentence import Sentence
from trimf_train.model.trimf import Inputs


class Example(NamedTuple):
    """A training sentence as numbers.

    ``spans`` ``[s,2]`` (first, last) and ``types`` ``[s]`` are the gold entities of up to K words, ``negatives``
    ``[n,2]`` every other span. ``entities`` ``[m,2]`` are all gold entities, ``pairs`` ``[p,2]`` their ordered pairs
    and ``targets`` ``[p,n_r]`` the types of each, several where a pair has several.
    """

    item: features.Item
    spans: IntArray
    types: IntArray
    negatives: IntArray
    entities: IntArray
    pairs: IntArray
    targets: torch.Tensor


class Targets(NamedTuple):
    """Gold of a batch: entity class of every span ``[S]`` and relation types of every pair ``[P,n_r]``."""

    types: Tensor
    relations: Tensor


def example(sentence: Sentence, item: features.Item, labels: Labels, max_width: int) -> Example:
    """Turn a prepared sentence into an :class:`Example`. A symmetric relation holds in both directions."""
    numbers, columns = labels.entity_numbers, labels.relation_numbers
    short = [entity for entity in sentence.entities if entity.end - entity.start <= max_width]
    gold = {(entity.start, entity.end - 1) for entity in sentence.entities}
    words = item.length
    every = ((first, last) for first in range(words) for last in range(first, min(first + max_width, words)))
    count = len(sentence.entities)
    pairs = [(head, tail) for head in range(count) for tail in range(count) if head != tail]
    places = {pair: place for place, pair in enumerate(pairs)}
    targets = torch.zeros(len(pairs), len(columns))
    for relation in sentence.relations:
        targets[places[relation.head, relation.tail], columns[relation.type]] = 1
        if relation.type in labels.symmetric:
            targets[places[relation.tail, relation.head], columns[relation.type]] = 1
    return Example(
        item=item,
        spans=_rows([(entity.start, entity.end - 1) for entity in short], 2),
        types=np.asarray([numbers[entity.type] for entity in short], np.int64),
        negatives=_rows([span for span in every if span not in gold], 2),
        entities=_rows([(entity.start, entity.end - 1) for entity in sentence.entities], 2),
        pairs=_rows(pairs, 2),
        targets=targets,
    )


def unannotated(item: features.Item, relations: int) -> Example:
    """A sentence in which nothing is to be classified, among ``relations`` types."""
    none = _rows([], 2)
    return Example(item, none, np.zeros(0, np.int64), none, none, none, torch.zeros(0, relations))


def collate(
    examples: Sequence[Example], generators: Sequence[np.random.Generator], negative_spans: int, negative_pairs: int
) -> tuple[Inputs, Targets]:
    """One padded training batch; each sentence draws its negatives with a generator of its own."""
    batch = features.pad([example.item for example in examples])
    spans, types, entities, pairs, relations = [], [], [], [], []
    offset = 0
    for row, (one, generator) in enumerate(zip(examples, generators, strict=True)):
        drawn = one.negatives[_draw(generator, len(one.negatives), negative_spans)]
        spans += [_with_row(row, one.spans), _with_row(row, drawn)]
        types += [one.types, np.zeros(len(drawn), np.int64)]
        entities.append(_with_row(row, one.entities))
        positive = one.targets.any(1).numpy() if len(one.pairs) else np.zeros(0, bool)
        absent = np.flatnonzero(~positive)
        chosen = np.concatenate([np.flatnonzero(positive), absent[_draw(generator, len(absent), negative_pairs)]])
        pairs.append(one.pairs[chosen] + offset)
        relations.append(one.targets[torch.from_numpy(chosen)])
        offset += len(one.entities)
    joined = (np.concatenate(parts) for parts in (spans, entities, pairs))
    inputs = Inputs(*(torch.from_numpy(array) for array in (*batch, *joined)))
    return inputs, Targets(torch.from_numpy(np.concatenate(types)), torch.cat(relations))


def _draw(generator: np.random.Generator, available: int, wanted: int) -> IntArray:
    if available <= wanted:
        return np.arange(available)
    return generator.choice(available, wanted, replace=False)


def _with_row(row: int, spans: IntArray) -> IntArray:
    return np.concatenate([np.full((len(spans), 1), row, np.int64), spans], 1)


def _rows(values: Sequence[tuple[int, ...]], width: int) -> IntArray:
    return np.asarray(values, np.int64).reshape(-1, width)

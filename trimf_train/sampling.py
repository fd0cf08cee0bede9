"""What to classify in a training sentence: gold spans and pairs, and negatives drawn anew each epoch (paper 3.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trimf.runtime import features
from trimf.runtime.labels import Labels
from trimf.runtime.subwords import IntArray
from trimf_train.data.sentence import Sentence
from trimf_train.model.trimf import Inputs

_NONE: IntArray = np.zeros(0, np.int64)


class Soft(NamedTuple):
    """Probabilities that teachers give a sentence: the classes of every span of up to K words ``[N,K,n_e+1]`` and the
    relation types of its gold entities' ordered pairs ``[p,n_r]``.
    """

    types: Tensor
    relations: Tensor


class Example(NamedTuple):
    """A training sentence as numbers.

    ``spans`` ``[s,2]`` (first, last) and ``types`` ``[s]`` are the gold entities of up to K words, ``negatives``
    ``[n,2]`` every other span. ``entities`` ``[m,2]`` are all gold entities, ``pairs`` ``[p,2]`` their ordered pairs
    and ``targets`` ``[p,n_r]`` the types of each, several where a pair has several.

    ``mined`` ``[w]`` are the places among the negatives of spans that the model takes for entities. ``soft`` is what
    teachers say of the sentence.
    """

    item: features.Item
    spans: IntArray
    types: IntArray
    negatives: IntArray
    entities: IntArray
    pairs: IntArray
    targets: torch.Tensor
    mined: IntArray = _NONE
    soft: Soft | None = None


class Targets(NamedTuple):
    """Gold of a batch: entity class of every span ``[S]`` and relation types of every pair ``[P,n_r]``.

    ``soft_types`` ``[S,n_e+1]`` and ``soft_relations`` ``[P,n_r]`` are the teachers' probabilities, gold where they
    have none; without teachers the classes are left out, ``[S,0]`` and ``[P,0]``.
    """

    types: Tensor
    relations: Tensor
    soft_types: Tensor
    soft_relations: Tensor


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
    """One padded training batch; each sentence draws its negatives with a generator of its own.

    What was mined comes first among negative spans, and its pairs with entities and with one another are drawn among
    the negative pairs.
    """
    batch = features.pad([example.item for example in examples])
    kinds = next((one.soft.types.shape[-1] for one in examples if one.soft is not None), 0)
    drawn = [
        _drawn(one, generator, negative_spans, negative_pairs, kinds)
        for one, generator in zip(examples, generators, strict=True)
    ]
    offsets = np.cumsum([0, *(len(one.ends) for one in drawn)]).tolist()
    spans = np.concatenate([with_row(row, one.spans) for row, one in enumerate(drawn)])
    ends = np.concatenate([with_row(row, one.ends) for row, one in enumerate(drawn)])
    pairs = np.concatenate([one.pairs + offset for one, offset in zip(drawn, offsets, strict=False)])
    inputs = Inputs(*(torch.from_numpy(array) for array in (*batch, spans, ends, pairs)))
    truths = zip(*((one.types, one.relations, one.soft_types, one.soft_relations) for one in drawn), strict=True)
    return inputs, Targets(*map(torch.cat, truths))


class _Drawn(NamedTuple):
    """What one sentence asks: spans with their classes, and pairs of ends with their types; see :class:`Targets`."""

    spans: IntArray
    ends: IntArray
    pairs: IntArray
    types: Tensor
    relations: Tensor
    soft_types: Tensor
    soft_relations: Tensor


def _drawn(
    one: Example, generator: np.random.Generator, negative_spans: int, negative_pairs: int, kinds: int
) -> _Drawn:
    """Everything positive and as many negatives; ``kinds`` is the number of classes teachers know, 0 without any."""
    mined = one.mined[_draw(generator, len(one.mined), negative_spans)]
    others = np.delete(np.arange(len(one.negatives)), one.mined)
    others = others[_draw(generator, len(others), negative_spans - len(mined))]
    spans = np.concatenate([one.spans, one.negatives[mined], one.negatives[others]])
    types = torch.from_numpy(np.concatenate([one.types, np.zeros(len(mined) + len(others), np.int64)]))
    ends = np.concatenate([one.entities, one.negatives[mined]])
    pairs, relations = _pairs(one, len(ends))
    positive = relations.any(1).numpy() if len(pairs) else np.zeros(0, bool)
    absent = np.flatnonzero(~positive)
    chosen = np.concatenate([np.flatnonzero(positive), absent[_draw(generator, len(absent), negative_pairs)]])
    places = torch.from_numpy(chosen)
    if kinds:
        soft_types, soft_relations = _taught(one, spans, types, relations, kinds)
        soft_relations = soft_relations[places]
    else:
        soft_types, soft_relations = torch.zeros(len(types), 0), torch.zeros(len(places), 0)
    return _Drawn(spans, ends, pairs[chosen], types, relations[places], soft_types, soft_relations)


def twice(inputs: Inputs, targets: Targets) -> tuple[Inputs, Targets]:
    """The batch after itself: two readings of each sentence, which differ by dropout alone."""
    shifts = {"spans": (len(inputs.input_ids), 0, 0), "entities": (len(inputs.input_ids), 0, 0)}
    shifts["pairs"] = (len(inputs.entities), len(inputs.entities))
    doubled = (
        torch.cat([value, value + torch.tensor(shifts[name])]) if name in shifts else torch.cat([value, value])
        for name, value in inputs._asdict().items()
    )
    return Inputs(*doubled), Targets(*(torch.cat([value, value]) for value in targets))


def _pairs(one: Example, ends: int) -> tuple[IntArray, Tensor]:
    """The ordered pairs of the gold entities, then those that have a mined span among the first ``ends`` spans; and
    their types.
    """
    gold = len(one.entities)
    if ends == gold:
        return one.pairs, one.targets
    more = [(head, tail) for head in range(ends) for tail in range(ends) if head != tail and max(head, tail) >= gold]
    return np.concatenate([one.pairs, _rows(more, 2)]), torch.cat(
        [one.targets, one.targets.new_zeros(len(more), one.targets.shape[1])]
    )


def _taught(one: Example, spans: IntArray, types: Tensor, truth: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """What teachers say of these spans, among ``kinds`` classes, and pairs; gold where they have said nothing."""
    relations = truth.clone()
    if one.soft is None:
        return functional.one_hot(types, kinds).float(), relations
    relations[: len(one.soft.relations)] = one.soft.relations.float()
    first, last = torch.from_numpy(spans).unbind(-1)
    return one.soft.types[first, last - first].float(), relations


def _draw(generator: np.random.Generator, available: int, wanted: int) -> IntArray:
    if available <= wanted:
        return np.arange(available)
    return generator.choice(available, wanted, replace=False)


def with_row(row: int, spans: IntArray) -> IntArray:
    """Spans ``[n,2]`` as (sentence, first, last) ``[n,3]``."""
    return np.concatenate([np.full((len(spans), 1), row, np.int64), spans], 1)


def _rows(values: Sequence[tuple[int, ...]], width: int) -> IntArray:
    return np.asarray(values, np.int64).reshape(-1, width)

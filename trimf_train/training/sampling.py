"""Sample what is classified in each training sentence (paper, section 3.6).

These are all gold spans and pairs, and negatives that are resampled each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.text import batch_arrays as features
from trimf.runtime.text.subwords import IntArray
from trimf_train.data.sentence import Sentence
from trimf_train.model.trimf import TrainingBatch

#: An empty array of indices.
_NO_INDICES: IntArray = np.zeros(0, np.int64)


class SoftTargets(NamedTuple):
    """Teacher probabilities of one sentence.

    ``types`` ``[N,K,n_e+1]`` are the probabilities of the classes of each span of up to K words; ``relations``
    ``[p,n_r]`` are those of the relation types of the ordered pairs of gold entities.
    """

    types: Tensor
    relations: Tensor


class Example(NamedTuple):
    """An encoded training sentence.

    ``spans`` ``[s,2]`` (first, last) and ``types`` ``[s]`` are the gold entities of up to K words; ``negatives``
    ``[n,2]`` are all other spans of up to K words. ``entities`` ``[m,2]`` are all gold entities, ``pairs`` ``[p,2]``
    their ordered pairs, and ``relation_targets`` ``[p,n_r]`` is 1 for each relation type of a pair, which may have
    several.

    ``hard_negatives`` ``[w]`` are the indices of the negatives that the model predicts as entities. ``soft_targets``
    are the teachers' probabilities, if there are any.
    """

    item: features.EncodedSentence
    spans: IntArray
    types: IntArray
    negatives: IntArray
    entities: IntArray
    pairs: IntArray
    relation_targets: torch.Tensor
    hard_negatives: IntArray = _NO_INDICES
    soft_targets: SoftTargets | None = None


class Targets(NamedTuple):
    """Targets of a batch: the entity class of each span ``[S]`` and the relation types of each pair ``[P,n_r]``.

    ``soft_types`` ``[S,n_e+1]`` and ``soft_relations`` ``[P,n_r]`` are the teachers' probabilities, or gold where the
    teachers have none. Without teachers they are empty, ``[S,0]`` and ``[P,0]``.
    """

    types: Tensor
    relations: Tensor
    soft_types: Tensor
    soft_relations: Tensor


def build_example(sentence: Sentence, item: features.EncodedSentence, labels: Labels, max_width: int) -> Example:
    """Build the training example of an annotated sentence.

    Args:
        sentence: The sentence; a relation of a symmetric type counts in both directions.
        item: The encoded sentence.
        labels: Entity and relation types of the model.
        max_width: Longest span that is classified, in words.

    Returns:
        The example, without teacher probabilities.
    """
    classes, columns = labels.entity_type_to_id, labels.relation_type_to_id
    short = [entity for entity in sentence.entities if entity.end - entity.start <= max_width]
    gold = {(entity.start, entity.end - 1) for entity in sentence.entities}
    words = item.word_count
    spans = ((first, last) for first in range(words) for last in range(first, min(first + max_width, words)))
    count = len(sentence.entities) if columns else 0
    pairs = [(head, tail) for head in range(count) for tail in range(count) if head != tail]
    rows = {pair: row for row, pair in enumerate(pairs)}
    targets = torch.zeros(len(pairs), len(columns))
    for relation in sentence.relations:
        targets[rows[relation.head, relation.tail], columns[relation.type]] = 1
        if relation.type in labels.symmetric:
            targets[rows[relation.tail, relation.head], columns[relation.type]] = 1
    return Example(
        item=item,
        spans=_to_array([(entity.start, entity.end - 1) for entity in short], 2),
        types=np.asarray([classes[entity.type] for entity in short], np.int64),
        negatives=_to_array([span for span in spans if span not in gold], 2),
        entities=_to_array([(entity.start, entity.end - 1) for entity in sentence.entities], 2),
        pairs=_to_array(pairs, 2),
        relation_targets=targets,
    )


def build_parse_only_example(item: features.EncodedSentence, relations: int) -> Example:
    """Build the example of a parse-only sentence, in which nothing is classified.

    Args:
        item: The encoded sentence.
        relations: Number of relation types of the model.

    Returns:
        The example, without spans and pairs.
    """
    empty = _to_array([], 2)
    return Example(item, empty, np.zeros(0, np.int64), empty, empty, empty, torch.zeros(0, relations))


def collate_batch(
    examples: Sequence[Example], generators: Sequence[np.random.Generator], negative_spans: int, negative_pairs: int
) -> tuple[TrainingBatch, Targets]:
    """Draw negatives and build a padded training batch.

    Mined spans come first among the negative spans. Their pairs with entities and with each other are candidates for
    the negative pairs.

    Args:
        examples: The sentences of the batch.
        generators: A random generator for each sentence.
        negative_spans: Maximum negative spans per sentence.
        negative_pairs: Maximum negative pairs per sentence.

    Returns:
        Inputs and targets of the batch.
    """
    batch = features.pad_batch([example.item for example in examples])
    classes = next(
        (example.soft_targets.types.shape[-1] for example in examples if example.soft_targets is not None), 0
    )
    samples = [
        _sample_sentence(example, generator, negative_spans, negative_pairs, classes)
        for example, generator in zip(examples, generators, strict=True)
    ]
    offsets = np.cumsum([0, *(len(sample.entities) for sample in samples)]).tolist()
    spans = np.concatenate([prepend_row_index(row, sample.spans) for row, sample in enumerate(samples)])
    entities = np.concatenate([prepend_row_index(row, sample.entities) for row, sample in enumerate(samples)])
    pairs = np.concatenate([sample.pairs + offset for sample, offset in zip(samples, offsets, strict=False)])
    inputs = TrainingBatch(*(torch.from_numpy(array) for array in (*batch, spans, entities, pairs)))
    targets = zip(
        *((sample.types, sample.relations, sample.soft_types, sample.soft_relations) for sample in samples), strict=True
    )
    return inputs, Targets(*map(torch.cat, targets))


class _SampledSentence(NamedTuple):
    """Spans and pairs of a sentence that a batch classifies, with their targets (see ``Targets``).

    ``pairs`` are indices into ``entities``: the gold entities, then the mined spans.
    """

    spans: IntArray
    entities: IntArray
    pairs: IntArray
    types: Tensor
    relations: Tensor
    soft_types: Tensor
    soft_relations: Tensor


def _sample_sentence(
    example: Example, generator: np.random.Generator, negative_spans: int, negative_pairs: int, classes: int
) -> _SampledSentence:
    """Take all positives and draw the negatives; ``classes`` is the number of the teachers' classes, 0 without any."""
    mined = example.hard_negatives[_draw_indices(generator, len(example.hard_negatives), negative_spans)]
    others = np.delete(np.arange(len(example.negatives)), example.hard_negatives)
    others = others[_draw_indices(generator, len(others), negative_spans - len(mined))]
    spans = np.concatenate([example.spans, example.negatives[mined], example.negatives[others]])
    types = torch.from_numpy(np.concatenate([example.types, np.zeros(len(mined) + len(others), np.int64)]))
    entities = np.concatenate([example.entities, example.negatives[mined]])
    pairs, relations = _list_pairs(example, len(entities))
    positive = relations.any(1).numpy() if len(pairs) else np.zeros(0, bool)
    unrelated = np.flatnonzero(~positive)
    drawn = unrelated[_draw_indices(generator, len(unrelated), negative_pairs)]
    selected = np.concatenate([np.flatnonzero(positive), drawn])
    rows = torch.from_numpy(selected)
    if classes:
        soft_types, soft_relations = _select_soft_targets(example, spans, types, relations, classes)
        soft_relations = soft_relations[rows]
    else:
        soft_types, soft_relations = torch.zeros(len(types), 0), torch.zeros(len(rows), 0)
    return _SampledSentence(spans, entities, pairs[selected], types, relations[rows], soft_types, soft_relations)


def _list_pairs(example: Example, count: int) -> tuple[IntArray, Tensor]:
    """Return the ordered pairs of the first ``count`` entities and their targets.

    Pairs of gold entities come first, then those with a mined span, which have no relation. Without relation types
    there are none.
    """
    gold = len(example.entities)
    if count == gold or not example.relation_targets.shape[1]:
        return example.pairs, example.relation_targets
    mined = [(head, tail) for head in range(count) for tail in range(count) if head != tail and max(head, tail) >= gold]
    return np.concatenate([example.pairs, _to_array(mined, 2)]), torch.cat(
        [example.relation_targets, example.relation_targets.new_zeros(len(mined), example.relation_targets.shape[1])]
    )


def _select_soft_targets(
    example: Example, spans: IntArray, types: Tensor, gold_relations: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """Return the teachers' probabilities of spans and pairs, and gold where the teachers have none."""
    relations = gold_relations.clone()
    if example.soft_targets is None:
        return functional.one_hot(types, classes).float(), relations
    relations[: len(example.soft_targets.relations)] = example.soft_targets.relations.float()
    first, last = torch.from_numpy(spans).unbind(-1)
    return example.soft_targets.types[first, last - first].float(), relations


def _draw_indices(generator: np.random.Generator, available: int, limit: int) -> IntArray:
    """Draw up to ``limit`` of ``available`` indices without replacement."""
    if available <= limit:
        return np.arange(available)
    return generator.choice(available, limit, replace=False)


def prepend_row_index(row: int, spans: IntArray) -> IntArray:
    """Prepend the index of the sentence to spans ``[n,2]``: (sentence, first, last) ``[n,3]``.

    Args:
        row: Index of the sentence in its batch.
        spans: First and last word of each span.

    Returns:
        The spans with their sentence.
    """
    return np.concatenate([np.full((len(spans), 1), row, np.int64), spans], 1)


def _to_array(values: Sequence[tuple[int, ...]], width: int) -> IntArray:
    """Convert tuples of ``width`` integers to an array ``[n,width]``, also if there are none."""
    return np.asarray(values, np.int64).reshape(-1, width)

"""Decode relation logits of entity pairs into the relations of a batch (paper, sections 3.5 and 3.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..text.batch_arrays import BoolArray
from ..text.subwords import IntArray
from .pair_blocks import PairBlock
from .span_decoding import EntitySpan, FloatArray, RelationSpan, sigmoid


class PairedEntities(NamedTuple):
    """Entities of a batch whose pairs are scored, in the order of the sentences.

    Attributes:
        sentences: Index of the sentence of each entity.
        indices: Index of each entity in its sentence.
        types: Index of the entity type of each entity.
        spans: Sentence, first and last word of each entity, ``[M, 3]``.
    """

    sentences: list[int]
    indices: list[int]
    types: list[int]
    spans: IntArray


def select_paired_entities(
    entities: Sequence[Sequence[EntitySpan]], selected: Sequence[Sequence[int]]
) -> PairedEntities:
    """Collect the selected entities of a batch.

    Args:
        entities: The entities of each sentence.
        selected: Indices of the entities of each sentence whose pairs are scored; at least one index in total.

    Returns:
        The selected entities.
    """
    sentences: list[int] = []
    positions: list[int] = []
    types: list[int] = []
    ends: list[int] = []
    for sentence, indices in enumerate(selected):
        for index in indices:
            span = entities[sentence][index]
            sentences.append(sentence)
            positions.append(index)
            types.append(span.type_index)
            ends += (sentence, span.start, span.end - 1)
    return PairedEntities(sentences, positions, types, np.array(ends, np.int64).reshape(-1, 3))


def decode_relation_block(
    block: PairBlock,
    logits: FloatArray,
    outputs: Mapping[str, Any],
    paired: PairedEntities,
    lengths: Sequence[int],
    thresholds: FloatArray,
    allowed: BoolArray | None,
) -> Iterator[tuple[int, RelationSpan]]:
    """Decode the relations of a block of entity pairs.

    Args:
        block: The block.
        logits: Relation logits, ``[P, n_r]``.
        outputs: Outputs of the relations subgraph; those for triggers are copied to the host only if there is a
            relation.
        paired: The entities of the batch whose pairs are scored.
        lengths: Number of words of each sentence.
        thresholds: Logit that a relation of each type must exceed, ``[n_r]``.
        allowed: Relation types that may hold between a head type and a tail type, ``[n_e, n_e, n_r]``; None allows all.

    Yields:
        Sentence index and relation.
    """
    above = (logits > thresholds.astype(logits.dtype)).nonzero()
    if not len(above[0]):
        return
    triggers = np.asarray(outputs["triggers"])
    word_logits = np.asarray(outputs["word_logits"]) if "word_logits" in outputs else None
    scores = sigmoid(logits[above]).tolist()
    for pair, type_index, score in zip(above[0].tolist(), above[1].tolist(), scores, strict=True):
        head, tail = (index + block.first_span for index in block.pairs[pair].tolist())
        if allowed is not None and not allowed[paired.types[head], paired.types[tail], type_index]:
            continue
        sentence = paired.sentences[head]
        words = slice(lengths[sentence])
        # The copy keeps a view of the block's whole array from staying in memory.
        attention = triggers[pair, words]
        weights = attention.copy() if word_logits is None else attention * word_logits[sentence, words, type_index]
        yield sentence, RelationSpan(paired.indices[head], paired.indices[tail], type_index, score, weights)

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
        types: Index of the entity type of each entity, ``[M]``.
        spans: Sentence, first and last word of each entity, ``[M, 3]``.
    """

    sentences: list[int]
    indices: list[int]
    types: IntArray
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
    places = [(sentence, index) for sentence, indices in enumerate(selected) for index in indices]
    spans = [entities[sentence][index] for sentence, index in places]
    return PairedEntities(
        [sentence for sentence, _ in places],
        [index for _, index in places],
        np.array([span.type_index for span in spans], np.int64),
        np.array([(place[0], span.start, span.end - 1) for place, span in zip(places, spans, strict=True)], np.int64),
    )


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
    pair_indices, types = (logits > thresholds.astype(logits.dtype)).nonzero()
    if allowed is not None and len(pair_indices):
        heads, tails = paired.types[block.pairs[pair_indices] + block.first_span].T
        is_allowed = allowed[heads, tails, types]
        pair_indices, types = pair_indices[is_allowed], types[is_allowed]
    if not len(pair_indices):
        return
    triggers = np.asarray(outputs["triggers"])
    word_logits = np.asarray(outputs["word_logits"]) if "word_logits" in outputs else None
    ends = (block.pairs[pair_indices] + block.first_span).tolist()
    scores = sigmoid(logits[pair_indices, types]).tolist()
    for pair, (head, tail), type_index, score in zip(pair_indices.tolist(), ends, types.tolist(), scores, strict=True):
        sentence = paired.sentences[head]
        words = slice(lengths[sentence])
        # The copy keeps a view of the block's whole array from staying in memory.
        attention = triggers[pair, words]
        weights = attention.copy() if word_logits is None else attention * word_logits[sentence, words, type_index]
        yield sentence, RelationSpan(paired.indices[head], paired.indices[tail], type_index, score, weights)

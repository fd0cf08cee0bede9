"""Make the inputs of graphs that compute no sizes: row numbers, positions and masks, from the arrays of a batch.

A graph for a GPU would have to compute sizes on the host, and every node on the host stops the device. So these graphs
take numbers of rows in flattened tables, which depend on the padded shape of the batch.

Sizes: batch B, subwords T, words N, subwords per word S, spans M, pairs P, ranges R, table rows G of a range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .contract import BLOCK_WORDS, CASE_MULTIPLIER, MAX_DISTANCE

#: Arrays of a batch by name, padded; and the padded size of each axis.
Arrays = Mapping[str, npt.NDArray[Any]]
Sizes = Mapping[str, int]

#: Parts of the scores of a range: as head, as tail, as gap, and for the trigger sensor.
SCORE_PARTS = 4


class DerivedInput(NamedTuple):
    """An input that is made from arrays of a batch.

    Attributes:
        sources: Names of these arrays.
        make: Computes it from the padded arrays and the padded sizes.
    """

    sources: tuple[str, ...]
    make: Callable[[Arrays, Sizes], npt.NDArray[Any]]


#: Types of the arrays that inputs are derived from.
SOURCE_TYPES: dict[str, type[np.generic]] = {
    **dict.fromkeys(("input_ids", "attention_mask", "pieces", "spans", "pairs", "ranges", "gaps"), np.int64),
    "word_mask": np.bool_,
}


def list_sources(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the arrays of a batch that the inputs of a graph need, each once.

    Args:
        names: Names of the inputs, derived or not.
    """
    sources = [source for name in names for source in (DERIVED[name].sources if name in DERIVED else (name,))]
    return tuple(dict.fromkeys(sources))


def _count_subwords(arrays: Arrays, sizes: Sizes) -> npt.NDArray[Any]:
    # A sentence of padding has one subword, for a softmax over none is not a number.
    counts: npt.NDArray[Any] = np.maximum(arrays["attention_mask"].sum(1), 1)
    return counts


def _mask_subwords(arrays: Arrays, sizes: Sizes) -> npt.NDArray[Any]:
    mask = arrays["attention_mask"].astype(np.bool_)
    mask[:, 0] = True
    return mask[:, None]


def _mask_words(arrays: Arrays, sizes: Sizes) -> npt.NDArray[Any]:
    mask = arrays["word_mask"].copy()
    mask[:, 0] = True
    return mask


def _number_rows(arrays: Arrays, sizes: Sizes) -> npt.NDArray[Any]:
    starts = np.arange(sizes["batch"]) * sizes["subwords"]
    rows: npt.NDArray[Any] = arrays["pieces"] + starts[:, None, None]
    return rows


def _measure_distances(arrays: Arrays, sizes: Sizes) -> npt.NDArray[Any]:
    positions = np.arange(sizes["subwords"])
    distances: npt.NDArray[Any] = np.clip(positions - positions[:, None], -MAX_DISTANCE, MAX_DISTANCE)
    return distances + MAX_DISTANCE


def _number_table_rows(arrays: Arrays, sizes: Sizes) -> npt.NDArray[Any]:
    """Return rows of the table of all words, all blocks and a row of zeros; see ``decoding.range_pooling``."""
    batch, words = sizes["batch"], sizes["words"]
    blocks = -(-words // BLOCK_WORDS)
    sentences, rows = arrays["ranges"][:, :1], arrays["ranges"][:, 2:]
    block_rows = batch * words + sentences * blocks - 2 - rows
    return np.where(rows >= 0, sentences * words + rows, np.where(rows == -1, batch * (words + blocks), block_rows))


def _number_scores(arrays: Arrays, sizes: Sizes) -> npt.NDArray[Any]:
    ranges = np.concatenate([arrays["pairs"], arrays["gaps"][:, None]], 1)
    rows: npt.NDArray[Any] = ranges * SCORE_PARTS + np.arange(3)
    return rows


#: How each derived input is made.
DERIVED: dict[str, DerivedInput] = {
    "subword_ids": DerivedInput(("input_ids",), lambda arrays, sizes: arrays["input_ids"] % CASE_MULTIPLIER),
    "subword_cases": DerivedInput(("input_ids",), lambda arrays, sizes: arrays["input_ids"] // CASE_MULTIPLIER),
    "positions": DerivedInput(("input_ids",), lambda arrays, sizes: np.arange(sizes["subwords"])),
    "distances": DerivedInput(("input_ids",), _measure_distances),
    "subword_counts": DerivedInput(("attention_mask",), _count_subwords),
    "subword_mask": DerivedInput(("attention_mask",), _mask_subwords),
    "subword_rows": DerivedInput(("input_ids", "pieces"), _number_rows),
    "first_subwords": DerivedInput(
        ("input_ids",), lambda arrays, sizes: np.arange(sizes["batch"])[:, None] * sizes["subwords"]
    ),
    "word_mask_row": DerivedInput(("word_mask",), lambda arrays, sizes: _mask_words(arrays, sizes)[:, None]),
    "word_mask_column": DerivedInput(("word_mask",), lambda arrays, sizes: _mask_words(arrays, sizes)[:, :, None]),
    "word_positions": DerivedInput(("word_mask",), lambda arrays, sizes: np.arange(sizes["words"])[:, None]),
    "first_rows": DerivedInput(
        ("word_mask",), lambda arrays, sizes: np.arange(sizes["batch"])[:, None, None] * sizes["words"]
    ),
    "diagonal": DerivedInput(("word_mask",), lambda arrays, sizes: np.eye(sizes["words"], dtype=np.bool_)),
    "table_rows": DerivedInput(("word_mask", "ranges"), _number_table_rows),
    "range_widths": DerivedInput(("ranges",), lambda arrays, sizes: arrays["ranges"][:, 1]),
    "score_rows": DerivedInput(("pairs", "gaps"), _number_scores),
    "sensor_rows": DerivedInput(
        ("spans",), lambda arrays, sizes: np.arange(sizes["spans"]) * SCORE_PARTS + SCORE_PARTS - 1
    ),
    "span_sentences": DerivedInput(("spans",), lambda arrays, sizes: arrays["spans"][:, 0]),
    "pair_spans": DerivedInput(("pairs",), lambda arrays, sizes: arrays["pairs"]),
    "pair_sentences": DerivedInput(("spans", "pairs"), lambda arrays, sizes: arrays["spans"][arrays["pairs"][:, 0], 0]),
}

"""Padding to buckets: few sizes, the real ones come back, and no result changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import buckets
from trimf.runtime.engine.contract import AXES, SUBGRAPHS, Subgraph
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BackendError
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.pipeline_loading import open_pipeline
from trimf.runtime.text import batch_arrays as features
from trimf.runtime.text.subwords import Subwords

NAMED = sorted({axis for axes in AXES.values() for axis in axes if axis})
WORDS = ["Ann", "b", "C3", "x", ",", "9", "zebra", "Q", "met", "🎉", "Bob's", "Rome"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), min_size=1, max_size=6)


def chained(words: list[str]) -> ParsedSentence:
    """Every word hangs on the one before it."""
    return ParsedSentence(words, [max(i - 1, 0) for i in range(len(words))], ["chain"] * len(words))


@pytest.mark.parametrize(
    ("axis", "size", "padded"),
    [
        *(("batch", size, padded) for size, padded in [(1, 1), (2, 2), (3, 4), (5, 8), (64, 64), (65, 128)]),
        *(("pairs", size, padded) for size, padded in [(1, 1), (6, 8), (4096, 4096)]),
        *(("rows", size, padded) for size, padded in [(3, 4), (17, 32), (57, 64)]),
        *(("words", size, padded) for size, padded in [(1, 16), (16, 16), (17, 32), (128, 128), (400, 448)]),
        *(("subwords", size, padded) for size, padded in [(3, 16), (127, 128), (129, 192), (512, 512)]),
    ],
)
def test_sizes_of_buckets(axis: str, size: int, padded: int) -> None:
    assert buckets.bucket_size(axis, size) == padded
    assert buckets.bucket_sizes({axis: size}) == {axis: padded}


@given(st.sampled_from(NAMED), st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_bucket_holds_its_size_and_heeds_the_limit(axis: str, size: int, limit: int) -> None:
    free = buckets.bucket_size(axis, size)
    assert size <= free < 2 * size + 16
    assert buckets.bucket_size(axis, free) == free
    assert buckets.bucket_size(axis, size + 1) >= free
    assert buckets.bucket_size(axis, size, limit) == (min(free, limit) if size <= limit else size)
    assert buckets.bucket_sizes({axis: size}, {axis: limit})[axis] == buckets.bucket_size(axis, size, limit)


def test_there_are_few_buckets() -> None:
    assert len({buckets.bucket_size("subwords", size) for size in range(1, 513)}) == 14
    assert len({buckets.bucket_size("pairs", size) for size in range(1, 4097)}) == 13


@given(st.sampled_from(sorted(AXES)), st.data())
def test_what_is_cut_is_what_was_padded(name: str, data: st.DataObject) -> None:
    real = {axis: data.draw(st.integers(1, 20)) for axis in NAMED}
    array = np.random.default_rng(3).integers(1, 9, buckets.resolve_shape(name, real, [3] * len(AXES[name])))
    padded = buckets.pad_array(array, name, buckets.bucket_sizes(real))
    assert padded.dtype == array.dtype
    assert buckets.read_axis_sizes({name: padded}, [name]).items() <= buckets.bucket_sizes(real).items()
    assert np.array_equal(buckets.remove_padding(padded, name, real), array)
    assert np.shares_memory(buckets.remove_padding(padded, name, real), padded)
    if name not in ("pieces", "ranges"):
        assert padded.sum() == array.sum()


def test_what_fits_is_not_copied() -> None:
    array = np.ones((2, 16), np.int64)
    assert buckets.pad_array(array, "heads", {"batch": 2, "words": 16}) is array


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=9), min_size=1, max_size=5), st.data())
def test_padding_goes_on_as_features_began(widths: list[list[int]], data: st.DataObject) -> None:
    """A batch padded to buckets is what ``features.pad`` makes of it beside a sentence of that many words."""

    def item(pieces: list[int]) -> features.EncodedSentence:
        last = np.cumsum(pieces)
        ids = np.arange(1, last[-1] + 3)
        labels = np.arange(1, len(pieces) + 1)
        return features.EncodedSentence(
            Subwords(ids, last - pieces + 1, last, ()), np.zeros(len(pieces), np.int64), labels
        )

    items = [item(pieces) for pieces in widths]
    batch = features.pad_batch(items)._asdict()
    longer = [20] * data.draw(st.integers(10, 12))
    beside = features.pad_batch([*items, item(longer)])._asdict()
    padded = buckets.read_axis_sizes(beside, beside) | {"batch": len(items)}
    for name, array in batch.items():
        assert np.array_equal(buckets.pad_array(array, name, padded), beside[name][:-1]), name


def test_sizes_of_a_batch() -> None:
    arrays = {"pieces": np.zeros((2, 5, 3)), "words": np.zeros((2, 5, 384)), "pairs": np.zeros((7, 2)), "other": None}
    assert buckets.read_axis_sizes(arrays, ["pieces", "words", "pairs"]) == {
        "batch": 2,
        "words": 5,
        "pieces": 3,
        "pairs": 7,
    }


@pytest.mark.parametrize(
    ("arrays", "names", "message"),
    [
        (
            {"heads": (2, 5), "labels": (2, 4)},
            ["heads", "labels"],
            "axis 'words': labels has size 4, another input has 5",
        ),
        ({"heads": (2, 5, 1)}, ["heads"], r"heads must have the axes \[batch, words\], got shape \[2, 5, 1\]"),
        ({"heads": (2, 5)}, ["heads", "labels"], "missing input 'labels'; this subgraph needs heads, labels"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict[str, Any], names: list[str], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        buckets.read_axis_sizes({name: np.zeros(shape) for name, shape in arrays.items()}, names)


def test_a_shape_without_a_size() -> None:
    with pytest.raises(
        BackendError, match=r"nodes: the size of axis 2 is unknown; the axes are \[batch, words, fixed\]"
    ):
        buckets.resolve_shape("nodes", {"batch": 1, "words": 1}, (None, None, None))
    with pytest.raises(BackendError, match="nodes: the size of axis words is unknown"):
        buckets.resolve_shape("nodes", {"batch": 1}, (None, None, 4))


class Padded:
    """A subgraph that pads what it is given to buckets and cuts what it gives."""

    def __init__(self, graph: Subgraph) -> None:
        self.graph, self.inputs, self.outputs = graph, graph.inputs, graph.outputs

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        real = buckets.read_axis_sizes(arrays, self.inputs)
        padded = buckets.bucket_sizes(real)
        outputs = self.graph.run({name: buckets.pad_array(arrays[name], name, padded) for name in self.inputs})
        return {name: buckets.remove_padding(array, name, real) for name, array in outputs.items()}

    def close(self) -> None:
        self.graph.close()


@pytest.fixture(scope="module")
def plain(tiny_bundle: Path) -> Pipeline:
    return open_pipeline(Bundle(tiny_bundle), OnnxCpuBackend(1))


@settings(deadline=None)
@given(SENTENCES, st.integers(1, 4))
def test_padding_changes_no_result(plain: Pipeline, sentences: list[list[str]], batch_size: int) -> None:
    padded = Pipeline({name: Padded(plain.graphs[name]) for name in SUBGRAPHS}, plain.tokenizer, plain.settings)
    parsed = [chained(words) for words in sentences]
    for ours, theirs in zip(padded.run(parsed, batch_size), plain.run(parsed, batch_size), strict=True):
        assert repr(ours) == repr(theirs)

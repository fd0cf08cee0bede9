"""Arcs and padding against their definitions written as loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.text.batch_arrays import NO_ARC, Batch, EncodedSentence, encode_arcs, pad_batch
from trimf.runtime.text.subwords import Subwords

NUMBERS = {"nsubj": 1, "dobj": 2}
LABELS = st.sampled_from(["nsubj", "dobj", "never trained on", "ROOT", ""])


def slow_arcs(heads: list[int], labels: list[str], start: int, end: int) -> tuple[list[int], list[int]]:
    new_heads, new_labels = [], []
    for word in range(start, end):
        outside = not start <= heads[word] < end
        root = heads[word] == word
        new_heads.append((word if outside or root else heads[word]) - start)
        new_labels.append(NO_ARC if outside or root else NUMBERS.get(labels[word], NO_ARC))
    return new_heads, new_labels


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], list[str]]:
    size = draw(st.integers(0, 12))
    heads = draw(st.lists(st.integers(0, max(size - 1, 0)), min_size=size, max_size=size))
    return heads, draw(st.lists(LABELS, min_size=size, max_size=size))


@st.composite
def items(draw: st.DrawFn) -> EncodedSentence:
    sizes = np.array(draw(st.lists(st.integers(1, 5), min_size=1, max_size=6)))
    last = np.cumsum(sizes)
    count = len(sizes)
    suffix = draw(st.integers(0, 2))
    size = int(last[-1]) + 1 + suffix
    ids = draw(st.lists(st.integers(1, 99), min_size=size, max_size=size))
    heads = draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return EncodedSentence(Subwords(np.array(ids), last - sizes + 1, last, ()), np.array(heads), np.array(labels))


def slow_pad(items: list[EncodedSentence]) -> dict[str, list[object]]:
    """Every cell by its definition."""
    longest = max(len(item.subwords.ids) for item in items)
    words = max(item.word_count for item in items)
    widest = max(last - first + 1 for item in items for first, last in zip(*item.subwords[1:3], strict=True))
    result: dict[str, list[object]] = {name: [] for name in Batch._fields}
    for item in items:
        ids, first, last, _ = item.subwords
        result["input_ids"].append([ids[i] if i < len(ids) else 0 for i in range(longest)])
        result["attention_mask"].append([int(i < len(ids)) for i in range(longest)])
        result["pieces"].append(
            [
                [min(first[word] + step, last[word]) if word < item.word_count else 0 for step in range(widest)]
                for word in range(words)
            ]
        )
        result["word_mask"].append([word < item.word_count for word in range(words)])
        result["heads"].append([item.heads[word] if word < item.word_count else 0 for word in range(words)])
        result["labels"].append([item.labels[word] if word < item.word_count else NO_ARC for word in range(words)])
    return result


@given(trees())
def test_arcs_of_a_whole_sentence(tree: tuple[list[int], list[str]]) -> None:
    heads, labels = encode_arcs(*tree, NUMBERS)
    assert (heads.tolist(), labels.tolist()) == slow_arcs(*tree, 0, len(tree[0]))
    assert heads.dtype == labels.dtype == np.int64


@given(trees(), st.data())
def test_arcs_of_a_window(tree: tuple[list[int], list[str]], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(tree[0])))
    end = data.draw(st.integers(start, len(tree[0])))
    heads, labels = encode_arcs(*tree, NUMBERS, start, end)
    assert (heads.tolist(), labels.tolist()) == slow_arcs(*tree, start, end)
    assert ((heads >= 0) & (heads < max(end - start, 1))).all()


def test_roots_unknown_labels_and_arcs_that_leave() -> None:
    heads, labels = [1, 1, 1, 2, 5, 3], ["nsubj", "nsubj", "strange", "dobj", "dobj", "dobj"]
    whole = encode_arcs(heads, labels, NUMBERS)
    assert [array.tolist() for array in whole] == [[1, 1, 1, 2, 5, 3], [1, NO_ARC, NO_ARC, 2, 2, 2]]
    window = encode_arcs(heads, labels, NUMBERS, 2, 5)
    assert [array.tolist() for array in window] == [[0, 0, 2], [NO_ARC, 2, NO_ARC]]


@given(st.lists(items(), min_size=1, max_size=5))
def test_padding(batch: list[EncodedSentence]) -> None:
    padded = pad_batch(batch)
    for name, expected in slow_pad(batch).items():
        np.testing.assert_array_equal(getattr(padded, name), expected, name)
        assert getattr(padded, name).dtype == (np.bool_ if name == "word_mask" else np.int64)


@given(st.lists(items(), min_size=2, max_size=5))
def test_a_row_does_not_depend_on_the_others(batch: list[EncodedSentence]) -> None:
    together = pad_batch(batch)
    for row, item in enumerate(batch):
        for name, alone in pad_batch([item])._asdict().items():
            cells = getattr(together, name)[row]
            own = cells[tuple(slice(size) for size in alone[0].shape)]
            np.testing.assert_array_equal(own, alone[0], name)


@given(st.lists(items(), min_size=1, max_size=5))
def test_padded_words_point_at_the_first_token_and_real_ones_never_do(batch: list[EncodedSentence]) -> None:
    padded = pad_batch(batch)
    assert (padded.pieces[~padded.word_mask] == 0).all()
    assert (padded.pieces[padded.word_mask] > 0).all()
    assert (padded.input_ids[padded.attention_mask == 0] == 0).all()


def test_the_last_piece_is_repeated() -> None:
    item = EncodedSentence(
        Subwords(np.arange(7), np.array([1, 2]), np.array([1, 5]), ()), np.array([0, 0]), np.array([0, 1])
    )
    assert pad_batch([item]).pieces.tolist() == [[[1, 1, 1, 1], [2, 3, 4, 5]]]


@pytest.mark.parametrize("count", [1, 64])
def test_one_word_sentences(count: int) -> None:
    item = EncodedSentence(
        Subwords(np.array([9, 8, 7]), np.array([1]), np.array([1]), ()), np.array([0]), np.array([0])
    )
    padded = pad_batch([item] * count)
    assert padded.input_ids.shape == (count, 3)
    assert padded.pieces.shape == (count, 1, 1)

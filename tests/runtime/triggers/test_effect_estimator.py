"""Estimated effects: as worked out word by word, and files from strangers are refused."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.decoding.span_decoding import EntitySpan, RelationSpan
from trimf.runtime.errors import BundleError
from trimf.runtime.triggers import effect_estimator
from trimf.runtime.triggers.effect_estimator import EffectEstimator, EffectWeights

WIDTH, TYPES, FEATURES = 5, 3, 4


def make_weights(seed: int = 0, width: int = WIDTH, types: int = TYPES, features: int = FEATURES) -> EffectWeights:
    random = np.random.default_rng(seed)
    of_words, of_distances, of_types = (width, features), (16, features), (types, width)
    shapes: list[tuple[int, ...]] = [of_words, (features,), of_words, of_words, (types, features), of_distances]
    shapes += [of_distances, (6, features), of_types, of_types, (2, features), (features, 2), (3, 2)]
    return EffectWeights(*(random.standard_normal(shape).astype(np.float32) for shape in shapes))


def bucket(start: int, end: int, word: int) -> int:
    """Steps from a span to a word, 8 inside it: each of the first four steps, 5 to 7, 8 to 11, and more."""
    distance = start - word if word < start else word - end + 1 if word >= end else 0
    near = sum(distance >= step for step in (1, 2, 3, 4, 5, 8, 12))
    return 8 - near if word < start else 8 + near


def highest(nodes: np.ndarray, start: int, end: int) -> list[float]:
    return [max([float(nodes[word, k]) for word in range(start, end)], default=0.0) for k in range(nodes.shape[1])]


def effects_of(
    weights: EffectWeights, nodes: np.ndarray, head: Any, tail: Any, kind: int, word: int
) -> tuple[float, float]:
    """The formula of the estimator in plain numbers, for one word of one relation: of the word and of its phrase."""
    width, features = nodes.shape[1], weights.bias.size
    gap = (min(head.end, tail.end), max(head.start, tail.start))
    of_head, of_tail = highest(nodes, head.start, head.end), highest(nodes, tail.start, tail.end)
    local = direct = 0.0
    for k in range(width):
        value = float(nodes[word, k])
        if gap[0] <= word < gap[1] and value == highest(nodes, *gap)[k]:
            local += value * float(weights.local[kind, k])
        direct += value * float(weights.direct[kind, k])
    order = 0 if word < gap[0] else 1
    order += word >= gap[1]
    order += 3 * (head.start < tail.start)
    scale = weights.scale.tolist()
    effects = [scale[0][which] * local + scale[1][which] * direct + scale[2][which] for which in (0, 1)]
    for d in range(features):
        hidden = float(weights.bias[d]) + float(weights.relation[kind, d])
        for k in range(width):
            hidden += float(nodes[word, k]) * float(weights.word[k, d])
            hidden += of_head[k] * float(weights.head[k, d]) + of_tail[k] * float(weights.tail[k, d])
        hidden += float(weights.head_distance[bucket(head.start, head.end, word), d])
        hidden += float(weights.tail_distance[bucket(tail.start, tail.end, word), d])
        hidden += float(weights.order[order, d])
        hidden += local * float(weights.parts[0, d]) + direct * float(weights.parts[1, d])
        for which in (0, 1):
            effects[which] += max(hidden, 0.0) * float(weights.output[d, which])
    return effects[0], effects[1]


def relate(head: int, tail: int, kind: int) -> RelationSpan:
    return RelationSpan(head, tail, kind, 0.75, np.zeros(0, np.float32))


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, list[list[EntitySpan]], list[list[RelationSpan]], list[int]]:
    """Sentences of 1 to 30 words, padded; spans that touch, overlap and hold one another; any relations of them."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    nodes = random.standard_normal((len(lengths), max(lengths) + draw(st.integers(0, 2)), WIDTH)).astype(np.float32)
    if draw(st.booleans()):
        nodes = nodes.round()  # equal maxima
    entities, relations = [], []
    for length in lengths:
        starts = draw(st.lists(st.integers(0, length - 1), max_size=4))
        spans = [EntitySpan(start, min(start + draw(st.integers(1, 3)), length), 0, 0.5) for start in starts]
        pairs = [(head, tail) for head in range(len(spans)) for tail in range(len(spans)) if head != tail]
        chosen = draw(st.lists(st.sampled_from(pairs), max_size=4)) if pairs else []
        entities.append(spans)
        relations.append([relate(head, tail, draw(st.integers(0, TYPES - 1))) for head, tail in chosen])
    return nodes, entities, relations, lengths


@given(batch=batches(), seed=st.integers(0, 20), cells=st.sampled_from([1, 40, 16_384]))
@settings(max_examples=60, deadline=None)
def test_effects_are_those_worked_out_word_by_word(batch: Any, seed: int, cells: int) -> None:
    nodes, entities, relations, lengths = batch
    weights = make_weights(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effect_estimator, "MAX_CELLS", cells)
        found = EffectEstimator(weights).estimate(nodes, entities, relations, lengths)
    assert [len(row) for row in found] == [len(row) for row in relations]
    for row, (spans, length) in enumerate(zip(entities, lengths, strict=True)):
        inside = {word for span in spans for word in range(span.start, span.end)}
        for relation, given_one in zip(found[row], relations[row], strict=True):
            assert relation[:4] == given_one[:4]
            head, tail = spans[relation.head], spans[relation.tail]
            expected = [
                (0.0, 0.0) if word in inside else effects_of(weights, nodes[row], head, tail, relation.type_index, word)
                for word in range(length)
            ]
            assert relation.phrase_weights is not None
            both = (relation.trigger_weights, relation.phrase_weights)
            for found_effects, worked_out in zip(both, zip(*expected, strict=True), strict=True):
                assert found_effects.dtype == np.float32
                assert found_effects.tolist() == pytest.approx(list(worked_out), rel=1e-3, abs=1e-3)
                assert not found_effects[sorted(inside)].any()


@given(batch=batches())
@settings(max_examples=25, deadline=None)
def test_a_sentence_does_not_depend_on_the_others(batch: Any) -> None:
    nodes, entities, relations, lengths = batch
    estimator = EffectEstimator(make_weights())
    together = estimator.estimate(nodes, entities, relations, lengths)
    for row, length in enumerate(lengths):
        alone = estimator.estimate(nodes[[row], :length], [entities[row]], [relations[row]], [length])
        assert weights_of(alone[0]) == [pytest.approx(one, rel=1e-4, abs=1e-5) for one in weights_of(together[row])]


def weights_of(relations: Sequence[RelationSpan]) -> list[list[float]]:
    return [relation.trigger_weights.tolist() for relation in relations]


def test_half_precision_nodes_and_no_relations() -> None:
    estimator = EffectEstimator(make_weights())
    nodes = np.ones((2, 4, WIDTH), np.float16)
    spans = [EntitySpan(0, 1, 0, 0.5), EntitySpan(3, 4, 0, 0.5)]
    none, (one,) = estimator.estimate(nodes, [[], spans], [[], [relate(1, 0, 2)]], [4, 4])
    assert none == []
    assert one.trigger_weights.shape == (4,)
    assert estimator.estimate(nodes, [[], spans], [[], []], [4, 4]) == [[], []]


def test_estimates_do_not_share_memory() -> None:
    spans = [EntitySpan(0, 1, 0, 0.5), EntitySpan(2, 3, 0, 0.5)]
    nodes = np.ones((1, 3, WIDTH), np.float32)
    ((one, other),) = EffectEstimator(make_weights()).estimate(nodes, [spans], [[relate(0, 1, 0)] * 2], [3])
    assert not np.shares_memory(one.trigger_weights, other.trigger_weights)


def test_a_file_comes_back_the_same() -> None:
    weights = make_weights()
    content = EffectEstimator(weights).to_bytes()
    assert EffectEstimator(make_weights()).to_bytes() == content
    read = EffectEstimator.from_bytes(content, "effects.npz", WIDTH, TYPES)
    assert all(np.array_equal(one, other) for one, other in zip(read.weights, weights, strict=True))
    assert read.to_bytes() == content


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_larger_logits_fall_by_more(factor: float) -> None:
    estimator = EffectEstimator(make_weights())
    nodes = np.random.default_rng(1).standard_normal((1, 9, WIDTH)).astype(np.float32)
    spans = [EntitySpan(1, 3, 0, 0.5), EntitySpan(6, 7, 0, 0.5)]
    ((one,),) = estimator.estimate(nodes, [spans], [[relate(0, 1, 2)]], [9])
    ((other,),) = estimator.rescale(factor).estimate(nodes, [spans], [[relate(0, 1, 2)]], [9])
    assert other.trigger_weights.tolist() == pytest.approx((one.trigger_weights * factor).tolist(), rel=1e-4, abs=1e-5)


def pack(**changes: Any) -> bytes:
    """A file with some arrays replaced; None leaves one out."""
    arrays = {name: value for name, value in {**make_weights()._asdict(), **changes}.items() if value is not None}
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def claim_size(size: int) -> bytes:
    """A small archive whose directory says that a member is very large."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("word.npy", b"x" * 10)
    content = bytearray(stream.getvalue())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, size)
    return bytes(content)


def compress(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word.npy", content)
    return stream.getvalue()


def claim_shape(shape: str) -> bytes:
    """An archive with an array whose own header claims a shape that its data do not have."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pack())) as sound, zipfile.ZipFile(stream, "w") as archive:
        for name in sound.namelist():
            archive.writestr(name, array if name == "word.npy" else sound.read(name))
    return stream.getvalue()


def damage_compression(method: int) -> bytes:
    """An archive whose members name a compression that nobody knows."""
    content = bytearray(pack())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.find(mark)
        while place >= 0:
            struct.pack_into("<H", content, place + offset, method)
            place = content.find(mark, place + 4)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a zip file"),
        (b"no archive", "not a zip file"),
        (pack()[:-200], "not a zip file"),
        (pack(word=np.array([{"a": 1}], object)), "word has shape (1,) in object"),
        (pack(bias=None), "bias"),
        (pack(word=np.zeros((WIDTH, FEATURES))), "word has shape (5, 4) in float64"),
        (pack(word=np.zeros((WIDTH, FEATURES), ">f4")), "word has shape (5, 4) in >f4"),
        (pack(word=np.zeros((WIDTH + 1, FEATURES), np.float32)), "word has shape (6, 4)"),
        (pack(relation=np.zeros((TYPES + 1, FEATURES), np.float32)), "relation has shape (4, 4)"),
        (pack(bias=np.float32(1)), "word has shape"),
        (pack(scale=np.full((3, 2), np.nan, np.float32)), "scale has a value that is not finite"),
        (pack(output=np.full((FEATURES, 2), np.inf, np.float32)), "output has a value that is not finite"),
        (claim_size(1 << 31), ""),
        (compress(b"\0" * (1 << 24)), "word is compressed"),
        (claim_shape(f"({1 << 50}, 4)"), "and 0 bytes"),
        (claim_shape("(-1, 4)"), "and 0 bytes"),
        (claim_shape("(0, -1)"), ""),
        (claim_shape("(" * 3000), ""),
        (claim_shape("(True, 'x')"), ""),
        (damage_compression(77), "word is compressed"),
    ],
)
def test_files_from_strangers_are_refused_in_a_line(content: bytes, reason: str) -> None:
    with pytest.raises(BundleError) as caught:
        EffectEstimator.from_bytes(content, "my model/effects.npz", WIDTH, TYPES)
    message = str(caught.value)
    assert message.startswith("my model/effects.npz: not an estimator of the effects of words for this model: ")
    assert reason in message
    assert "\n" not in message


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_read_or_refused(place: float, value: int, cut: bool) -> None:
    content = bytearray(EffectEstimator(make_weights()).to_bytes())
    index = int(place * len(content))
    content[index] = value
    with contextlib.suppress(BundleError):
        EffectEstimator.from_bytes(bytes(content[:index] if cut else content), "effects.npz", WIDTH, TYPES)

"""Estimate by how much a relation's logit falls without each word of its sentence, without leaving any word out.

Each word has two effects: of leaving out the word, and of leaving out the word and the stop word after it ("based in").

The estimator has learnt it from sentences in which words were left out one at a time: an amortised explanation (Schwab
and Karlen 2019, CXPlain; Jethani et al. 2022, FastSHAP). It reads the nodes of the sentence, so it costs a few small
products for each relation that was found.

Sizes: nodes H, features D, relation types n_r, distance buckets 16, orders 6.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ..decoding.span_decoding import EntitySpan, RelationSpan
from ..errors import BundleError

Float32Array = npt.NDArray[np.float32]

#: Signed distances from a span to a word: its words, 1 to 4 words, up to 7, up to 11 and more, on either side.
DISTANCE_BUCKETS = 16
_FARTHEST = 12
_NEAR = np.digitize(np.arange(_FARTHEST + 1), [1, 2, 3, 4, 5, 8, _FARTHEST])
#: Bucket of each distance from -12 to 12.
_BUCKETS = np.concatenate([8 - _NEAR[:0:-1], 8 + _NEAR])

#: A word before, between or after the two spans, with the tail first or the head first.
ORDERS = 6

#: Maximum number of pairs of a relation and a word that are estimated at once, which bounds the memory.
MAX_CELLS = 16_384

#: What a damaged archive, or a damaged header of an array in it, may raise.
_DAMAGE: tuple[type[Exception], ...] = (
    *(ValueError, TypeError, LookupError, EOFError, OSError, OverflowError, RuntimeError, MemoryError),
    *(SyntaxError, tokenize.TokenError, struct.error, zipfile.BadZipFile),
)


class EffectWeights(NamedTuple):
    """Weights of an estimator, in fp32.

    Attributes:
        word: Maps a word to features, ``[H, D]``.
        bias: Bias of the features, ``[D]``.
        head: Maps the pooled head to features, ``[H, D]``.
        tail: Maps the pooled tail to features, ``[H, D]``.
        relation: Features of each relation type, ``[n_r, D]``.
        head_distance: Features of the distance to the head, ``[16, D]``.
        tail_distance: Features of the distance to the tail, ``[16, D]``.
        order: Features of the place relative to both spans, ``[6, D]``.
        local: Weight of each dimension of the local context for each relation type, ``[n_r, H]``.
        direct: Weight of each dimension of a word for each relation type, ``[n_r, H]``.
        parts: Maps what a word adds to the local context, and its direct weight, to features, ``[2, D]``.
        output: Maps features to both effects, ``[D, 2]``.
        scale: Maps the two parts to both effects, and a bias, ``[3, 2]``.
    """

    word: Float32Array
    bias: Float32Array
    head: Float32Array
    tail: Float32Array
    relation: Float32Array
    head_distance: Float32Array
    tail_distance: Float32Array
    order: Float32Array
    local: Float32Array
    direct: Float32Array
    parts: Float32Array
    output: Float32Array
    scale: Float32Array

    def check_shapes(self, width: int, types: int) -> None:
        """Check that the weights fit a model.

        Args:
            width: Width H of its nodes.
            types: Number n_r of its relation types.

        Raises:
            ValueError: A weight has another shape or type, or a value that is not finite.
        """
        size = self.bias.size
        of_words, of_types = (width, size), (types, width)
        of_distances = (DISTANCE_BUCKETS, size)
        shapes: list[tuple[int, ...]] = [of_words, (size,), of_words, of_words, (types, size), of_distances]
        shapes += [of_distances, (ORDERS, size), of_types, of_types, (2, size), (size, 2), (3, 2)]
        for name, weight, shape in zip(self._fields, self, shapes, strict=True):
            if weight.shape != shape or weight.dtype != np.float32:
                raise ValueError(f"{name} has shape {weight.shape} in {weight.dtype}, and the model needs {shape}")
            if not np.isfinite(weight).all():
                raise ValueError(f"{name} has a value that is not finite")


class RelationArrays(NamedTuple):
    """F relations of a batch as arrays ``[F]``: their rows, first words and ends (exclusive), and relation types."""

    rows: npt.NDArray[np.int64]
    head_starts: npt.NDArray[np.int64]
    head_ends: npt.NDArray[np.int64]
    tail_starts: npt.NDArray[np.int64]
    tail_ends: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]

    @property
    def gap_starts(self) -> npt.NDArray[np.int64]:
        """First word between the spans."""
        return np.minimum(self.head_ends, self.tail_ends)

    @property
    def gap_ends(self) -> npt.NDArray[np.int64]:
        """Index after the last word between the spans; not above ``gap_starts`` if there is none."""
        return np.maximum(self.head_starts, self.tail_starts)


class EffectEstimator:
    """Estimates by how much the logit of a relation falls without each word.

    Args:
        weights: The learnt weights.
    """

    def __init__(self, weights: EffectWeights) -> None:
        self.weights = weights

    @classmethod
    def from_bytes(cls, content: bytes, name: str, width: int, types: int) -> Self:
        """Read an estimator.

        Args:
            content: Content of a file that ``to_bytes`` wrote. It may come from a stranger: nothing in it is unpickled
                or decompressed, so that it needs no more memory than its size.
            name: Name of the file, for error messages.
            width: Width H of the model's nodes.
            types: Number n_r of its relation types.

        Returns:
            The estimator.

        Raises:
            BundleError: The file is damaged or does not fit the model.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                weights = EffectWeights(*(_read_array(archive, field) for field in EffectWeights._fields))
            weights.check_shapes(width, types)
        except _DAMAGE as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"{name}: not an estimator of the effects of words for this model: {reason}") from error
        return cls(weights)

    def rescale(self, factor: float) -> EffectEstimator:
        """Return the estimator of a model whose relation logits are ``factor`` times those of this one."""
        weights = self.weights
        return EffectEstimator(
            weights._replace(
                output=(weights.output * factor).astype(np.float32), scale=(weights.scale * factor).astype(np.float32)
            )
        )

    def to_bytes(self) -> bytes:
        """Return the content of a file; equal weights give equal files."""
        stream = io.BytesIO()
        np.savez(stream, **self.weights._asdict())
        return stream.getvalue()

    def estimate(
        self,
        nodes: npt.NDArray[np.floating],
        entities: Sequence[Sequence[EntitySpan]],
        relations: Sequence[Sequence[RelationSpan]],
        lengths: Sequence[int],
    ) -> list[list[RelationSpan]]:
        """Give relations the estimated effects of the words of their sentences.

        Args:
            nodes: Node states of the batch, ``[B, N, H]``.
            entities: The entities of each sentence.
            relations: The relations of each sentence.
            lengths: Number of words of each sentence.

        Returns:
            The relations with the effects as their trigger weights and phrase weights: by how much the logit falls
            without each word, negative where it rises. Words of entities have 0.
        """
        found = list_relations(entities, relations)
        if not len(found.rows):
            return [list(row) for row in relations]
        effects = iter(self._estimate_all(nodes, found))
        estimated: list[list[RelationSpan]] = []
        for row, spans, length in zip(relations, entities, lengths, strict=True):
            estimated.append([])
            for relation in row:
                both = next(effects)[:, :length].copy()
                for span in spans:
                    both[:, span.start : span.end] = 0
                estimated[-1].append(relation._replace(trigger_weights=both[0], phrase_weights=both[1]))
        return estimated

    def _estimate_all(self, nodes: npt.NDArray[np.floating], found: RelationArrays) -> Iterator[Float32Array]:
        """Yield both effects of the words on each relation, ``[2, N]``."""
        weights = self.weights
        rows = list(dict.fromkeys(found.rows.tolist()))
        places = {row: place for place, row in enumerate(rows)}
        found = found._replace(rows=np.array([places[row] for row in found.rows.tolist()]))
        used = np.ascontiguousarray(nodes[rows] if len(rows) < len(nodes) else nodes, np.float32)
        count, words, width = used.shape
        flat = used.reshape(-1, width)
        features = (flat @ weights.word + weights.bias).reshape(count, words, -1)
        direct = (flat @ weights.direct.T).reshape(count, words, -1)
        step = max(1, MAX_CELLS // words)
        for start in range(0, len(found.rows), step):
            part = RelationArrays(*(values[start : start + step] for values in found))
            yield from self._estimate_part(used, features, direct, part)

    def _estimate_part(
        self, nodes: Float32Array, features: Float32Array, direct: Float32Array, found: RelationArrays
    ) -> Float32Array:
        """Return both effects of the words on some relations, ``[F, 2, N]``."""
        weights, words = self.weights, nodes.shape[1]
        pooled, local = _pool_spans(nodes, found, weights.local)
        head, tail = pooled
        of_words = direct[found.rows, :, found.types]
        to_head, to_tail, order = locate_words(words, found)
        of_pairs = head @ weights.head + tail @ weights.tail + weights.relation[found.types]
        hidden = features[found.rows]
        hidden += of_pairs[:, None]
        hidden += weights.head_distance[to_head]
        hidden += weights.tail_distance[to_tail]
        hidden += weights.order[order]
        hidden += local[..., None] * weights.parts[0]
        hidden += of_words[..., None] * weights.parts[1]
        np.maximum(hidden, 0, out=hidden)
        scale = weights.scale
        parts = np.stack([local, of_words, np.ones_like(local)], 1)  # [F, 3, N]
        effects: Float32Array = (hidden @ weights.output).transpose(0, 2, 1) + scale.T @ parts
        return effects


def locate_words(
    words: int, found: RelationArrays
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Say where words lie relative to the spans of relations.

    Args:
        words: Number of words N.
        found: F relations.

    Returns:
        The bucket of the signed distance to the head and of that to the tail, from 1 to 15, 8 inside the span; and 0
        before the words between both spans, 1 among them, 2 after them, and 3 more if the head comes first. All
        ``[F, N]``.
    """
    positions = np.arange(words)
    after_first = positions >= found.gap_starts[:, None]
    after_second = positions >= found.gap_ends[:, None]
    head_first = found.head_starts < found.tail_starts
    return (
        _bucket_distances(positions, found.head_starts[:, None], found.head_ends[:, None]),
        _bucket_distances(positions, found.tail_starts[:, None], found.tail_ends[:, None]),
        after_first.astype(np.int64) + after_second + 3 * head_first[:, None],
    )


def _read_array(archive: zipfile.ZipFile, name: str) -> Float32Array:
    """Read an array; ``numpy.load`` would reserve the memory that its header claims."""
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    stream = io.BytesIO(archive.read(member))
    if (version := np.lib.format.read_magic(stream)) != (1, 0):
        raise ValueError(f"{name} is in version {version} of numpy's format, not 1.0")
    shape, is_column_major, dtype = np.lib.format.read_array_header_1_0(stream)
    values = stream.read()
    if dtype != np.float32 or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} has shape {shape} in {dtype} and {len(values)} bytes, and must be in float32")
    array: Float32Array = np.frombuffer(values, np.float32).reshape(shape, order="F" if is_column_major else "C")
    return array


def _bucket_distances(
    positions: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    distances = np.minimum(positions - starts, 0) + np.maximum(positions - ends + 1, 0)
    buckets: npt.NDArray[np.int64] = _BUCKETS[np.clip(distances, -_FARTHEST, _FARTHEST) + _FARTHEST]
    return buckets


def list_relations(
    entities: Sequence[Sequence[EntitySpan]], relations: Sequence[Sequence[RelationSpan]]
) -> RelationArrays:
    """Return the relations of all sentences as arrays, with their places in their sentences.

    Args:
        entities: The entities of each sentence.
        relations: The relations of each sentence.

    Returns:
        The relations in the order of the sentences.
    """
    values = [
        (row, spans[one.head].start, spans[one.head].end, spans[one.tail].start, spans[one.tail].end, one.type_index)
        for row, (spans, found) in enumerate(zip(entities, relations, strict=True))
        for one in found
    ]
    return RelationArrays(*np.array(values, np.int64).reshape(-1, 6).T)


def _pool_spans(
    nodes: Float32Array, found: RelationArrays, weights: Float32Array
) -> tuple[tuple[Float32Array, Float32Array], Float32Array]:
    """Pool heads and tails by maximum, and divide the local context among the words that its maxima come from.

    Args:
        nodes: Nodes of the sentences, ``[S, N, H]``.
        found: F relations.
        weights: Weight of each maximum for each relation type, ``[n_r, H]``.

    Returns:
        Pooled heads and tails, both ``[F, H]``, and the sum of the weighted maxima that come from each word,
        ``[F, N]``.
    """
    count, (_, words, width) = len(found.rows), nodes.shape
    heads, tails = np.empty((count, width), np.float32), np.empty((count, width), np.float32)
    local = np.zeros((count, words), np.float32)
    gaps = zip(found.gap_starts.tolist(), found.gap_ends.tolist(), strict=True)
    for index, ((row, *ends, kind), (start, end)) in enumerate(
        zip(zip(*(values.tolist() for values in found), strict=True), gaps, strict=True)
    ):
        sentence = nodes[row]
        heads[index] = np.maximum.reduce(sentence[ends[0] : ends[1]])
        tails[index] = np.maximum.reduce(sentence[ends[2] : ends[3]])
        if start < end:
            gap = sentence[start:end]
            pooled = np.maximum.reduce(gap)
            local[index, start:end] = (gap == pooled) @ (pooled * weights[kind])
    return (heads, tails), local

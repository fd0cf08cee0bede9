"""Pad batches to a small set of shapes ("buckets"), because a GPU compiles, captures and allocates once per shape.

Padding extends what ``trimf.runtime.text.batch_arrays.pad`` does between the sentences of a batch: padding words and
subwords are masked, and the results of padding rows, spans and pairs are cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError
from .contract import AXES

#: Minimum, optimum and maximum size of every axis, for backends that compile a subgraph before they see a batch.
SHAPE_LIMITS = {
    "batch": (1, 32, 64),
    "subwords": (3, 48, 512),
    "words": (1, 32, 512),
    "pieces": (1, 4, 64),
    "spans": (1, 128, 2048),
    "pairs": (1, 256, 4096),
    "ranges": (1, 256, 4096),
    "rows": (3, 24, 64),
}

#: Axes whose buckets are multiples of a fixed step; the buckets of all other axes are powers of two.
_STEPPED_AXES = ("subwords", "words")

#: Up to here these buckets are multiples of the small step.
LARGEST_SMALL_BUCKET = 128

#: Smallest buckets of fused graphs.
MIN_TIED_PIECES = 4
MIN_TIED_PAIRS = 4
MIN_TIED_ROWS = 16

#: Arrays whose last axis holds indices that a maximum is taken over; padding there repeats the last index.
_MAX_POOLED_ARRAYS = ("pieces", "ranges")


def bucket_size(axis: str, size: int, limit: int | None = None) -> int:
    """Return the bucket of an axis, that is, the size that ``size`` is padded to.

    Args:
        axis: Name of the axis. Buckets of subwords and words are multiples of 16 up to 128, then multiples of 64;
            buckets of the other axes are powers of two.
        size: Real size of the axis.
        limit: Largest bucket to return. The result exceeds it only if ``size`` itself does.
    """
    step = 16 if size <= LARGEST_SMALL_BUCKET else 64
    padded = max(-(-size // step), 1) * step if axis in _STEPPED_AXES else 1 << max(size - 1, 0).bit_length()
    return padded if limit is None else max(size, min(padded, limit))


def bucket_sizes(sizes: Mapping[str, int], limits: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the bucket of every axis.

    Args:
        sizes: Axis name -> real size.
        limits: Axis name -> largest bucket (see ``bucket_size``); axes that are not listed have no limit.

    Returns:
        Axis name -> padded size.
    """
    limits = limits or {}
    return {axis: bucket_size(axis, size, limits.get(axis)) for axis, size in sizes.items()}


def tie_bucket_sizes(sizes: Mapping[str, int], limits: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the bucket of every axis of a fused graph, where one axis decides those that grow with it.

    A set of sizes is captured as a CUDA graph once, so there should be few. Padding the words to the subwords, or the
    spans and ranges to the pairs, costs a GPU nothing that can be measured.

    Args:
        sizes: Axis name -> real size.
        limits: As for ``bucket_sizes``.

    Returns:
        Axis name -> padded size.
    """
    padded = bucket_sizes(sizes, limits)
    pairs = max(padded.get("pairs", 0), padded.get("spans", 0), MIN_TIED_PAIRS)
    least = {
        "words": padded.get("subwords", 0),
        "pieces": MIN_TIED_PIECES,
        "pairs": pairs,
        "spans": pairs,
        "ranges": 2 * pairs,
        "rows": MIN_TIED_ROWS,
    }
    return {axis: max(size, least.get(axis, 0)) for axis, size in padded.items()}


def read_axis_sizes(arrays: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Read the size of every named axis from the real shapes of a subgraph's inputs.

    Args:
        arrays: Input name -> array, on the host or on a device. Arrays that are not in ``names`` are ignored.
        names: Names of the inputs to look at; their axes are listed in ``AXES``.

    Returns:
        Axis name -> size.

    Raises:
        BackendError: If an array is missing, has the wrong number of axes, or disagrees with another on an axis.
    """
    axis_sizes: dict[str, int] = {}
    for name in names:
        if name not in arrays:
            raise BackendError(f"missing input {name!r}; this subgraph needs {', '.join(names)}")
        shape, axes = arrays[name].shape, AXES[name]
        if len(shape) != len(axes):
            raise BackendError(f"{name} must have the axes {_format_axes(name)}, got shape {list(shape)}")
        for axis, size in zip(axes, shape, strict=True):
            if axis is not None and axis_sizes.setdefault(axis, size) != size:
                raise BackendError(
                    f"inputs disagree on axis {axis!r}: {name} has size {size}, another input has {axis_sizes[axis]}"
                )
    return axis_sizes


def pad_array(array: npt.NDArray[Any], name: str, padded_sizes: Mapping[str, int]) -> npt.NDArray[Any]:
    """Pad every axis of a host array.

    New elements are 0: masked, no arc, or the first word or span of the first sentence. Only the subwords of a word
    (``pieces``) and the rows of a range (``ranges``) repeat their last index instead, because any other index would
    count as part of the word or range.

    Args:
        array: The array, with its real shape.
        name: Its name, which gives its axes.
        padded_sizes: Axis name -> padded size (see ``bucket_sizes``).

    Returns:
        A padded copy, or ``array`` itself if it has the padded shape already.
    """
    target = resolve_shape(name, padded_sizes, array.shape)
    if target == array.shape:
        return array
    grown = np.zeros(target, array.dtype)
    grown[tuple(slice(size) for size in array.shape)] = array
    if name in _MAX_POOLED_ARRAYS:
        size = array.shape[-1]
        grown[..., size:] = grown[..., size - 1 : size]
    return grown


def remove_padding(array: npt.NDArray[Any], name: str, real_sizes: Mapping[str, int]) -> npt.NDArray[Any]:
    """Remove the padding of a host array.

    Args:
        array: The padded array.
        name: Its name, which gives its axes.
        real_sizes: Axis name -> real size.

    Returns:
        A view of ``array``.
    """
    return array[tuple(slice(size) for size in resolve_shape(name, real_sizes, array.shape))]


def resolve_shape(name: str, sizes: Mapping[str, int], fixed: Iterable[int | None]) -> tuple[int, ...]:
    """Return the shape that an array has for given axis sizes.

    Args:
        name: Name of the array, which gives its axes.
        sizes: Axis name -> size.
        fixed: Size of each axis in order; used for unnamed axes only, so named axes may be None.

    Raises:
        BackendError: If an axis has a size in neither ``sizes`` nor ``fixed``.
    """
    resolved: list[int] = []
    for axis, size in zip(AXES[name], fixed, strict=True):
        value = size if axis is None else sizes.get(axis)
        if value is None:
            raise BackendError(
                f"{name}: the size of axis {axis or len(resolved)} is unknown; the axes are {_format_axes(name)}"
            )
        resolved.append(value)
    return tuple(resolved)


def _format_axes(name: str) -> str:
    """Format the axes of an array for a message, such as ``[batch, words, fixed]``."""
    return "[" + ", ".join(axis or "fixed" for axis in AXES[name]) + "]"

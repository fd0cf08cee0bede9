"""Buckets: a GPU compiles, captures and allocates once per shape, so batches are padded to few distinct ones.

Padding is what :func:`trimf.runtime.features.pad` already does between sentences of a batch, only further: words and
subwords are masked, and rows, spans and pairs past the real ones give answers that are cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .backend import AXES
from .errors import BackendError

#: For what is compiled before it meets a batch: the least, tuned and largest size of every axis.
RANGES = {
    "batch": (1, 32, 64),
    "subwords": (3, 48, 512),
    "words": (1, 32, 512),
    "pieces": (1, 4, 64),
    "spans": (1, 128, 2048),
    "pairs": (1, 256, 4096),
    "ranges": (1, 256, 4096),
    "rows": (3, 24, 64),
}

#: Axes whose sizes grow evenly; the others double.
_EVEN = ("subwords", "words")

#: Arrays whose last axis lists what a maximum is taken over.
_REPEATED = ("pieces", "ranges")


def bucket(axis: str, size: int, limit: int | None = None) -> int:
    """The size that ``size`` is padded to: the next multiple of 16 up to 128, then of 64, for subwords and words; the
    next power of two for the others. It passes ``limit`` only where ``size`` itself does.
    """
    step = 16 if size <= 128 else 64
    padded = max(-(-size // step), 1) * step if axis in _EVEN else 1 << max(size - 1, 0).bit_length()
    return padded if limit is None else max(size, min(padded, limit))


def buckets(sizes: Mapping[str, int], limits: Mapping[str, int] | None = None) -> dict[str, int]:
    """Every axis with the bucket of its size."""
    limits = limits or {}
    return {axis: bucket(axis, size, limits.get(axis)) for axis, size in sizes.items()}


def sizes(arrays: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Axis name -> size, from the real shapes of the arrays ``names``, on the host or on a device.

    Raises:
        BackendError: an array is missing, has another number of axes than its name says, or two disagree on an axis.
    """
    found: dict[str, int] = {}
    for name in names:
        if name not in arrays:
            raise BackendError(f"{name} is not given; this subgraph needs {', '.join(names)}")
        shape, axes = arrays[name].shape, AXES[name]
        if len(shape) != len(axes):
            raise BackendError(f"{name} has shape {list(shape)}, but its axes are {_axes(name)}")
        for axis, size in zip(axes, shape, strict=True):
            if axis is not None and found.setdefault(axis, size) != size:
                raise BackendError(f"{name} has {size} {axis}, but another input of the batch has {found[axis]}")
    return found


def pad(array: npt.NDArray[Any], name: str, padded: Mapping[str, int]) -> npt.NDArray[Any]:
    """The host array ``name`` with every axis grown to ``padded`` (see :func:`buckets`); itself where it fits already.

    New places are 0 (masked, no arc, the first word or span of the first sentence). Only pieces of a word, and rows of
    a range, that are there repeat the last one, for any other would count as part of them.
    """
    target = shape(name, padded, array.shape)
    if target == array.shape:
        return array
    grown = np.zeros(target, array.dtype)
    grown[tuple(slice(size) for size in array.shape)] = array
    if name in _REPEATED:
        size = array.shape[-1]
        grown[..., size:] = grown[..., size - 1 : size]
    return grown


def cut(array: npt.NDArray[Any], name: str, real: Mapping[str, int]) -> npt.NDArray[Any]:
    """A view of the padded host array ``name`` with every axis cut back to its size in ``real``."""
    return array[tuple(slice(size) for size in shape(name, real, array.shape))]


def shape(name: str, sizes: Mapping[str, int], fixed: Iterable[int | None]) -> tuple[int, ...]:
    """The shape of ``name`` with the axis sizes ``sizes``; an axis without a name keeps its size in ``fixed``.

    Raises:
        BackendError: the axis has neither.
    """
    found: list[int] = []
    for axis, size in zip(AXES[name], fixed, strict=True):
        value = size if axis is None else sizes.get(axis)
        if value is None:
            raise BackendError(f"{name}: axis {axis or len(found)} has no size; its axes are {_axes(name)}")
        found.append(value)
    return tuple(found)


def _axes(name: str) -> str:
    return "[" + ", ".join(axis or "fixed" for axis in AXES[name]) + "]"

"""Lay several tensors out in one allocation, so that one copy moves them all between host and device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: Tensors start at multiples of this number of bytes, as those of an allocation of their own do.
ALIGNMENT = 256

#: Bytes of an element that numpy has no type for.
_BFLOAT16_SIZE = 2


class Layout(NamedTuple):
    """Places of tensors in an allocation.

    Attributes:
        offsets: First byte of each tensor by name.
        byte_count: Number of bytes of the allocation, which is at least 1.
    """

    offsets: dict[str, int]
    byte_count: int


def count_bytes(shape: tuple[int, ...], dtype: npt.DTypeLike | None) -> int:
    """Return the number of bytes of a tensor.

    Args:
        shape: Shape of the tensor.
        dtype: Element type; None for bfloat16.
    """
    return math.prod(shape) * (_BFLOAT16_SIZE if dtype is None else np.dtype(dtype).itemsize)


def lay_out(byte_counts: Mapping[str, int]) -> Layout:
    """Return the places of tensors one after the other, each aligned.

    Args:
        byte_counts: Number of bytes of each tensor by name, in the order in which they shall lie.
    """
    offsets: dict[str, int] = {}
    end = 0
    for name, size in byte_counts.items():
        offsets[name] = end
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return Layout(offsets, max(end, 1))


def view_tensor(
    content: npt.NDArray[np.uint8], offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike | None
) -> npt.NDArray[Any]:
    """Return a tensor in a copy of the allocation on the host, without copying it; bfloat16 becomes float32.

    Args:
        content: The copy.
        offset: First byte of the tensor.
        shape: Shape of the tensor.
        dtype: Element type; None for bfloat16, which is the first half of a float32.
    """
    part = content[offset : offset + count_bytes(shape, dtype)]
    if dtype is None:
        return (part.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return part.view(dtype).reshape(shape)

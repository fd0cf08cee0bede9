"""Several tensors in one allocation, against numpy arrays of their own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trimf.runtime.engine.tensor_layout import ALIGNMENT, count_bytes, lay_out, view_tensor

TENSORS = st.lists(
    arrays.arrays(
        st.sampled_from([np.int64, np.float32, np.float16, np.bool_]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
    ),
    max_size=6,
)


@given(TENSORS)
def test_tensors_come_back_and_none_overlaps_another(tensors: list[np.ndarray[Any, Any]]) -> None:
    named = {f"tensor {index}": tensor for index, tensor in enumerate(tensors)}
    layout = lay_out({name: count_bytes(tensor.shape, tensor.dtype) for name, tensor in named.items()})
    assert list(layout.offsets) == list(named)
    assert all(offset % ALIGNMENT == 0 for offset in layout.offsets.values())
    content = np.zeros(layout.byte_count, np.uint8)
    for name, tensor in named.items():
        view_tensor(content, layout.offsets[name], tensor.shape, tensor.dtype)[...] = tensor
    for name, tensor in named.items():
        np.testing.assert_array_equal(view_tensor(content, layout.offsets[name], tensor.shape, tensor.dtype), tensor)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [((), np.float32, 4), ((2, 3), None, 12), ((2, 0), np.int64, 0), ((1 << 20, 1 << 20), np.int64, 1 << 43)],
)
def test_the_size_of_a_tensor(shape: tuple[int, ...], dtype: Any, expected: int) -> None:
    assert count_bytes(shape, dtype) == expected


def test_nothing_takes_a_byte() -> None:
    assert lay_out({}) == ({}, 1)
    assert lay_out({"none": 0}) == ({"none": 0}, 1)

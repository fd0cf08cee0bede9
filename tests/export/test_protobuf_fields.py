"""Fields of protobuf messages, against the package ``onnx``."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from trimf.export.protobuf_fields import encode_bytes, encode_number, read_fields
from trimf.runtime.errors import BundleError


@given(st.integers(0, (1 << 63) - 1), st.text(max_size=300))
def test_what_onnx_writes_is_read(number: int, text: str) -> None:
    model = onnx.ModelProto(ir_version=number, doc_string=text)
    encoded = model.SerializeToString()
    found = list(read_fields(memoryview(encoded)))
    assert [(field.number, field.value, bytes(field.content).decode()) for field in found] == [
        (1, number, ""),
        (6, 0, text),
    ]
    assert b"".join(field.encoded for field in found) == encoded


@given(st.integers(0, (1 << 63) - 1), st.lists(st.binary(max_size=200), max_size=3))
def test_onnx_reads_what_is_written(number: int, pieces: list[bytes]) -> None:
    tensor = onnx.TensorProto.FromString(encode_number(2, number % 100) + b"".join(encode_bytes(9, pieces)))
    assert (tensor.data_type, tensor.raw_data) == (number % 100, b"".join(pieces))
    model = onnx.ModelProto.FromString(encode_number(5, number))
    assert model.model_version == number


def test_fields_of_every_type_are_kept() -> None:
    attribute = helper.make_attribute("alpha", 0.5)  # four bytes
    tensor = onnx.TensorProto(data_type=onnx.TensorProto.DOUBLE, dims=[1], double_data=[1.5])
    weight = numpy_helper.from_array(np.arange(3), "w")
    for message in (attribute, tensor, weight):
        encoded = message.SerializeToString()
        assert b"".join(field.encoded for field in read_fields(memoryview(encoded))) == encoded
    eight_bytes = bytes([1 << 3 | 1]) + bytes(8)
    assert [field.number for field in read_fields(memoryview(eight_bytes))] == [1]


@pytest.mark.parametrize(
    "damaged", [b"\x08", b"\x08" + b"\xff" * 20, b"\x0a\x05abc", b"\x0d\x00", b"\x09\x00", b"\x0b", b"\xff"]
)
def test_bytes_that_are_no_message(damaged: bytes) -> None:
    with pytest.raises(BundleError, match=r"^not a protobuf message: "):
        list(read_fields(memoryview(damaged)))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        found = list(read_fields(memoryview(content)))
    except BundleError:
        return
    assert b"".join(field.encoded for field in found) == content

"""Read and write the fields of protobuf messages without their schema, so that compiling needs no package for ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..runtime.errors import BundleError

#: Wire types: a number, 8 bytes, bytes with their length, 4 bytes.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

#: Largest number of bytes of a number.
_MAX_VARINT_BYTES = 10


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: Number of the field in the schema.
        value: Value of a number; 0 for other types.
        content: Content of a string, of bytes or of a message; empty for other types.
        encoded: The field as it stands in the message.
    """

    number: int
    value: int
    content: memoryview
    encoded: memoryview


def read_fields(message: memoryview) -> Iterator[Field]:
    """Read the fields of a message in order.

    Args:
        message: The encoded message.

    Yields:
        The fields.

    Raises:
        BundleError: The bytes are not a message.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _read_varint(message, position)
        value, content, kind = 0, message[:0], key & 7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
        elif kind == _LENGTH:
            size, position = _read_varint(message, position)
            content = message[position : position + size]
            position += size
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise BundleError(f"not a protobuf message: unknown wire type {kind}")
        if position > len(message):
            raise BundleError("not a protobuf message: it is cut off")
        yield Field(key >> 3, value, content, message[start:position])


def encode_number(number: int, value: int) -> bytes:
    """Return a field that holds a number which is not negative."""
    return _encode_varint(number << 3 | _VARINT) + _encode_varint(value)


def encode_bytes(number: int, content: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return a field that holds a string, bytes or a message.

    Args:
        number: Number of the field in the schema.
        content: The content in pieces, which are not copied.

    Returns:
        The field in pieces.
    """
    size = sum(map(len, content))
    return [_encode_varint(number << 3 | _LENGTH) + _encode_varint(size), *content]


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it."""
    value = 0
    for index, byte in enumerate(message[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise BundleError("not a protobuf message: a number is cut off")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])

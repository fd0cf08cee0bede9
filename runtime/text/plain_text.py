"""Accept every kind of string as a plain ``str`` that UTF-8 can encode, and say what is wrong with anything else."""

from __future__ import annotations

import os
from collections import UserString
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from ..errors import InputError

#: Types of pandas for a missing value, which cannot be compared.
_MISSING_TYPES = ("NAType", "NaTType")


def read_text(value: object, name: str = "text") -> str:
    """Return a text of the caller as a plain ``str``.

    Args:
        value: A str or an instance of a subclass, such as ``numpy.str_``, ``bs4.NavigableString`` or
            ``markupsafe.Markup``, whose characters are taken even if it has a ``__str__`` of its own; a
            ``collections.UserString``; or a string scalar of Arrow.
        name: Name of the value in error messages.

    Returns:
        The characters of the value. The type is exactly ``str``.

    Raises:
        InputError: ``value`` is not a string, or contains a lone surrogate, which UTF-8 cannot encode.
    """
    if type(value) is not str:
        value = _to_str(value, name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} contains the lone surrogate U+{ord(value[error.start]):04X} at character {error.start}, which"
            f" UTF-8 cannot encode; decode the source with errors='replace'"
        ) from None
    return value


def are_plain_texts(values: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Return True if ``read_text`` would return each of the values as it is."""
    if not all(type(value) is str for value in values):
        return False
    try:
        "".join(values).encode()  # type: ignore[arg-type]
    except UnicodeEncodeError:
        return False
    return True


def _to_str(value: object, name: str) -> str:
    """Return the characters of an object that is not exactly a ``str``, or raise ``InputError``."""
    if hasattr(value, "as_py"):  # a scalar of Arrow
        value = value.as_py()
    if isinstance(value, UserString):
        value = value.data
    if isinstance(value, str):
        return str.__str__(value)
    raise InputError(f"{name} must be a str, {_explain(value)}")


def _explain(value: object) -> str:
    """Say what was given in place of a text, and what to pass."""
    got = f"got {type(value).__name__}"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{got}; decode it first, such as with .decode('utf-8')"
    if _is_missing(value):
        return f"{got}: {value} is a missing value; leave it out or pass an empty string"
    if isinstance(value, os.PathLike):
        return f"{got}; pass the content of the file, such as path.read_text(encoding='utf-8')"
    if isinstance(value, Mapping):
        return f"{got}; pass the text in it, such as record['text']"
    if isinstance(value, Sequence | set | frozenset) or hasattr(value, "__array__"):
        return f"{got}; pass one text at a time, many texts to stream(), or lists of words to words()"
    return f"{got}; convert it to a str first"


def _is_missing(value: object) -> bool:
    """Return True for None, NaN, and the missing values of pandas."""
    if value is None or type(value).__name__ in _MISSING_TYPES:
        return True
    try:
        return bool(value != value) and hasattr(value, "__float__")  # only NaN differs from itself
    except Exception:  # an array has no single truth value
        return False

"""Exceptions of TriMF: one family, whose messages name the value, the limit and the remedy in one line.

The checks of plain arguments, which raise them, are here too, because every part of TriMF may import this module.
"""

import math
import operator
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real

#: Maximum length, in characters, of a library message that is quoted in an error.
_MAX_MESSAGE_LENGTH = 500


class TrimfError(Exception):
    """Base class of every error that TriMF raises on purpose; the message is one line."""


class InputError(TrimfError):
    """A text, list of words or argument from the caller is unusable."""


class DataError(TrimfError):
    """A data file is missing, unreadable or contains an invalid record."""


class ConfigError(TrimfError):
    """A configuration setting is unknown or outside its limits."""


class BundleError(TrimfError):
    """A bundle or checkpoint folder is incomplete, damaged or of an unsupported version."""


class ModelPathError(BundleError, InputError):
    """A path where a bundle or a checkpoint is needed holds none.

    It does not exist, is a file, or holds a checkpoint where a bundle is needed, or the reverse. The error is an
    ``InputError`` because the path is wrong, and a ``BundleError`` so that one ``except`` covers whatever may be wrong
    with a bundle.
    """


class BackendError(TrimfError):
    """A required component (a backend, an execution provider, a parser) is missing or cannot run."""


def one_line(error: BaseException) -> str:
    """Return an error's message as one printable line of bounded length.

    Messages of libraries may quote names from a file, so control characters become spaces and a long message is cut.
    """
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in str(error)).split())
    return words if len(words) <= _MAX_MESSAGE_LENGTH else f"{words[:_MAX_MESSAGE_LENGTH]}…"


def suggest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest to an unknown one, whatever its letter case, or None if none is near."""
    names = {one.casefold(): one for one in known}
    near = get_close_matches(name.casefold(), names, n=1)
    return names[near[0]] if near else None


class BackendArgumentError(BackendError, InputError):
    """The name of a backend or its number of threads is wrong, whatever is installed."""


def check_integer(name: str, value: object, minimum: int) -> int:
    """Check an integer argument and return it as a plain ``int``.

    Args:
        name: Name of the argument in error messages.
        value: Value to check. An integer of numpy is accepted; a bool, a float and a string are not.
        minimum: Smallest value allowed.

    Returns:
        The value.

    Raises:
        InputError: The value is not an integer, or is less than ``minimum``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None:
        raise InputError(f"{name} must be an integer >= {minimum}, got {describe_value(value)}")
    if number < minimum:
        raise InputError(f"{name} must be >= {minimum}, got {number}")
    return int(number)


def check_probability(name: str, value: object) -> float:
    """Check an argument that is a number from 0 to 1 and return it as a plain ``float``.

    Args:
        name: Name of the argument in error messages.
        value: Value to check.

    Returns:
        The value.

    Raises:
        InputError: The value is not a number, or lies outside 0 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise InputError(f"{name} must be a number from 0 to 1, got {describe_value(value)}")
    number = float(value)
    if not 0 <= number <= 1:
        raise InputError(f"{name} must be from 0 to 1, got {number}")
    return number


def describe_value(value: object) -> str:
    """Return a value with its type as words for an error message, at most about 80 characters long."""
    if value is None or isinstance(value, bool):
        return str(value)
    try:
        shown = repr(value)
    except Exception:  # an object of the caller may fail to describe itself
        return f"an object of type {type(value).__name__}"
    shown = " ".join(shown.split())
    return f"{shown if len(shown) <= 60 else shown[:60] + '…'} of type {type(value).__name__}"

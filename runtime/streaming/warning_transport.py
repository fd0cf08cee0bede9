"""Carry warnings from one process to another."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

#: Warnings that were shown here, by file, as ``warnings.warn_explicit`` keeps them.
_registries: dict[str, dict[Any, Any]] = {}


class CaughtWarning(NamedTuple):
    """A warning, as ``warnings.warn_explicit`` takes it."""

    message: Warning | str
    category: type[Warning]
    filename: str
    lineno: int


def copy_warning(warning: warnings.WarningMessage) -> CaughtWarning:
    """Return a warning in a form that can be pickled."""
    if is_picklable((warning.message, warning.category)):
        return CaughtWarning(warning.message, warning.category, warning.filename, warning.lineno)
    return CaughtWarning(str(warning.message), UserWarning, warning.filename, warning.lineno)


def copy_filters() -> list[Any]:
    """Return the filters of this process's warnings, without those that cannot be pickled."""
    return [entry for entry in warnings.filters if is_picklable(entry)]


def show_warnings(caught: Iterable[CaughtWarning]) -> None:
    """Give the warnings of another process here; the filters of this one decide what becomes of them."""
    for message, category, filename, lineno in caught:
        registry = _registries.setdefault(filename, {})
        warnings.warn_explicit(message, category, filename, lineno, registry=registry)


def is_picklable(value: object) -> bool:
    """Return True if a value survives pickling."""
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # whatever the class of the value raises
        return False
    return True

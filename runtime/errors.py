"""Exceptions of TriMF: one family, whose messages name the value, the limit and the remedy in one line."""

from collections.abc import Iterable
from difflib import get_close_matches

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

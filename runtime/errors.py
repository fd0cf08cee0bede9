"""The errors a caller may catch: one family, each saying what was given, what was expected and what to do."""

_LONGEST = 500


class TrimfError(Exception):
    """Anything TriMF refuses or cannot do; the message is one line."""


class InputError(TrimfError):
    """A text, word list or argument given by the caller is not usable."""


class DataError(TrimfError):
    """A data file is missing, unreadable, or holds a bad record."""


class ConfigError(TrimfError):
    """A configuration value is unknown or outside its limits."""


class BundleError(TrimfError):
    """A bundle or checkpoint folder is incomplete, damaged or of another version."""


class BackendError(TrimfError):
    """Something that must run here (an engine, a provider, a parser) is missing or refused."""


def line(error: BaseException) -> str:
    """What a library said, in one line that is fit to print: it may quote names out of a file."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in str(error)).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"

"""The errors a caller may catch: one family, each saying what was given, what was expected and what to do."""


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

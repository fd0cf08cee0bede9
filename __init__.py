"""TriMF: entities, relations and the words that trigger them, from text.

``trimf.load()`` returns an ``Extractor``; calling it on a string returns an ``Extraction``. Importing this
module loads nothing heavy: numpy, the inference engine and spaCy are imported when an extractor is made.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runtime.errors import BackendError, BundleError, ConfigError, DataError, InputError, TrimfError
    from .runtime.extractor import Extractor, load
    from .runtime.results import Arc, Candidates, Entity, Extraction, Relation, Trigger, build_schema
    from .runtime.streaming.text_stream import ExtractionStream
    from .runtime.text.parser import Parse, Parser, load_parser

__version__ = "0.1.0"

# Official builds of ONNX Runtime report to their maker unless this is set before their first import. It is set here and
# not where TriMF imports them, so that other packages that do so in between find it too. A value of the user's stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_ERRORS = ("BackendError", "BundleError", "ConfigError", "DataError", "InputError", "TrimfError")
_EXTRACTOR = ("Extractor", "load")
_PARSER = ("Parse", "Parser", "load_parser")
_STREAM = ("ExtractionStream",)
_RESULTS = ("Arc", "Candidates", "Entity", "Extraction", "Relation", "Trigger", "build_schema")
_HOME = {
    **dict.fromkeys(_ERRORS, "errors"),
    **dict.fromkeys(_EXTRACTOR, "extractor"),
    **dict.fromkeys(_PARSER, "text.parser"),
    **dict.fromkeys(_RESULTS, "results"),
    **dict.fromkeys(_STREAM, "streaming.text_stream"),
}

__all__ = [
    "Arc",
    "BackendError",
    "BundleError",
    "Candidates",
    "ConfigError",
    "DataError",
    "Entity",
    "Extraction",
    "ExtractionStream",
    "Extractor",
    "InputError",
    "Parse",
    "Parser",
    "Relation",
    "Trigger",
    "TrimfError",
    "__version__",
    "build_schema",
    "load",
    "load_parser",
]


if not TYPE_CHECKING:  # else a type checker would take every misspelt name of the package for an Any

    def __getattr__(name: str) -> Any:
        """Import a public name from its module the first time it is asked for (PEP 562)."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".runtime.{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)

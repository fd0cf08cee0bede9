"""Import spaCy without the large libraries that its small models do not use.

thinc, the neural network library of spaCy, imports torch and cupy if they are installed. That takes a second and
150 MB, without any use for ``en_core_web_sm``. spaCy itself imports its command line, with an HTTP client and a project
manager. That takes half a second and 20 MB.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

#: Modules that ``hide_torch_from_spacy`` hides from thinc.
HIDDEN_MODULES = ("cupy", "mxnet", "tensorflow", "torch")

_THINC_MODULE = "thinc.compat"

#: Modules of spaCy's command line that ``spacy/__init__.py`` imports.
_COMMANDS = ("spacy.cli", "spacy.cli.info")


class _ImportBlocker(MetaPathFinder):
    """Import finder that makes thinc's imports of hidden modules fail and does not affect any other import."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise ModuleNotFoundError if thinc imports a hidden module; otherwise leave it to the other finders."""
        if fullname in HIDDEN_MODULES and _find_importer() == _THINC_MODULE:
            raise ModuleNotFoundError(f"{fullname} is hidden from {_THINC_MODULE}", name=fullname)


class _CommandStandIns(MetaPathFinder, Loader):
    """Import finder that gives ``spacy/__init__.py``, and nobody else, an empty command line."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a stand-in; None leaves the import to the other finders."""
        if fullname in _COMMANDS and _find_importer() == "spacy":
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put into a stand-in the one function that ``spacy/__init__.py`` takes from it."""
        module.__dict__["info"] = _show_info

    def remove(self) -> None:
        """Remove the stand-ins, so that the command line itself is loaded when something of it is used."""
        modules = {name: sys.modules.get(name) for name in _COMMANDS}
        own = [name for name, module in modules.items() if module is not None and module.__loader__ is self]
        for name in own:
            del sys.modules[name]
        if own and (spacy := sys.modules.get("spacy")):
            spacy.__dict__.pop("cli", None)
            spacy.__dict__.setdefault("__getattr__", _find_attribute)


def _find_attribute(name: str) -> ModuleType:
    """Load the command line for code that imports spaCy and uses ``spacy.cli``."""
    if name == "cli":
        return import_module(_COMMANDS[0])
    raise AttributeError(f"module 'spacy' has no attribute {name!r}")


def _show_info(*args: Any, **options: Any) -> Any:
    """Call ``spacy.info``."""
    from spacy.cli.info import info

    return info(*args, **options)


@contextmanager
def leave_out_spacy_commands() -> Iterator[None]:
    """Import spaCy without its command line during the block.

    This has an effect only if the block imports spaCy for the first time. ``spacy.cli`` is loaded when it is first
    used, and other threads import it as usual.
    """
    finder = _CommandStandIns()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        finder.remove()


@contextmanager
def hide_torch_from_spacy() -> Iterator[None]:
    """Hide torch and similar libraries from thinc during the block.

    thinc looks for them only once, when it is first imported. So this has an effect only if the block imports thinc for
    the first time, and that effect lasts until the process ends. thinc still finds libraries that are already imported,
    and other code can import torch as usual, in any thread.
    """
    finder = _ImportBlocker()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def thinc_imported_without_torch() -> bool:
    """Return True if thinc was imported without torch although torch is installed."""
    compat = sys.modules.get(_THINC_MODULE)
    return compat is not None and not compat.has_torch and find_spec("torch") is not None


def _find_importer() -> str:
    """Return the name of the module whose import statement the calling finder serves."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))

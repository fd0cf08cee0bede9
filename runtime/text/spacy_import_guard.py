"""Import spaCy without the large libraries that its small models do not use.

thinc, the neural network library of spaCy, imports torch and cupy if they are installed. That takes a second and
150 MB, without any use for ``en_core_web_sm``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from types import ModuleType

#: Modules that ``hide_torch_from_spacy`` hides from thinc.
HIDDEN_MODULES = ("cupy", "mxnet", "tensorflow", "torch")

_THINC_MODULE = "thinc.compat"


class _ImportBlocker(MetaPathFinder):
    """Import finder that makes thinc's imports of hidden modules fail and does not affect any other import."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise ModuleNotFoundError if thinc imports a hidden module; otherwise leave it to the other finders."""
        if fullname in HIDDEN_MODULES and _find_importer() == _THINC_MODULE:
            raise ModuleNotFoundError(f"{fullname} is hidden from {_THINC_MODULE}", name=fullname)


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

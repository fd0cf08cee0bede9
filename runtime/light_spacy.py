"""spaCy without the large libraries that its small models never use.

thinc, spaCy's own library of networks, imports torch and cupy wherever they are installed: a second and 150 MB, for
nothing where the parser is ``en_core_web_sm``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from types import ModuleType

HIDDEN = ("cupy", "mxnet", "tensorflow", "torch")

_IMPORTER = "thinc.compat"


class _Blind(MetaPathFinder):
    """Finds nothing, but ends thinc's search for what is hidden; imports by anybody else pass."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise where thinc asks for a hidden module; else leave it to the other finders."""
        if fullname in HIDDEN and _importer() == _IMPORTER:
            raise ModuleNotFoundError(f"{fullname} is hidden from {_IMPORTER}", name=fullname)


@contextmanager
def light_spacy() -> Iterator[None]:
    """While the block runs, thinc does not find torch and its like; a library imported already it still gets.

    Only what is imported here for the first time is affected, and that for good: thinc asks once. Other imports of
    torch, in any thread, work as ever.
    """
    finder = _Blind()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def lacks_torch() -> bool:
    """Whether thinc was imported without torch although torch is installed."""
    compat = sys.modules.get(_IMPORTER)
    return compat is not None and not compat.has_torch and find_spec("torch") is not None


def _importer() -> str:
    """The module whose import statement the caller, a finder, serves."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))

"""Optional dependencies, which the extras of the package bring."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from .errors import BackendError


def require_extra(extra: str, *modules: str, purpose: str = "this command") -> None:
    """Check that the modules of an extra are installed, without importing them.

    Args:
        extra: Name of the extra.
        modules: Names of the modules that are needed.
        purpose: What needs the modules, for the message.

    Raises:
        BackendError: A module is not installed.
    """
    for module in modules:
        # A module that is imported already may have no specification; None marks one that must not be imported.
        installed = sys.modules[module] is not None if module in sys.modules else find_spec(module) is not None
        if not installed:
            raise BackendError(f'{purpose} needs {module}, which is not installed; pip install "trimf[{extra}]"')

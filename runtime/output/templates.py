"""Load the Jinja templates of HTML pages: every value is cleaned of unsafe characters and escaped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent


def create_environment(clean: Callable[[str], str], *folders: Path) -> Environment:
    """Create the environment that renders templates.

    Args:
        clean: Replaces the unsafe characters of each string that a template inserts; markup is left alone.
        folders: Folders with templates, in addition to those of this package.

    Returns:
        The environment; its templates can import ``page.html.j2``.
    """

    def finalize(value: Any) -> Any:
        return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=FileSystemLoader([*folders, _FOLDER]),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

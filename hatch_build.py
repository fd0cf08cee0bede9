"""Build hook: the repository root becomes the package ``trimf`` in a wheel.

An editable install takes the folder ``.import_path`` instead, whose links give the packages their names.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: What the package ``trimf`` consists of, relative to the repository root.
CONTENT = (
    "__init__.py",
    "__main__.py",
    "cli.py",
    "cli_support.py",
    "py.typed",
    "bench",
    "export",
    "models",
    "runtime",
    "stop_signals.py",
)


class PackageLayout(BuildHookInterface):  # type: ignore[type-arg]
    """Place the files of the root below ``trimf/`` in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the packages to a wheel; ``version`` is "standard" or "editable"."""
        if version != "editable":
            build_data["force_include"] |= {name: f"trimf/{name}" for name in CONTENT} | {"trimf_train": "trimf_train"}

"""Build hook: the repository root becomes the package ``trimf`` in a wheel.

An editable install takes the folder ``.import_path`` instead, whose links give the packages their names. A source
distribution lacks that folder, so an editable install creates it there.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: What the package ``trimf`` consists of, relative to the repository root.
CONTENT = (
    "__init__.py",
    "__main__.py",
    "cli.py",
    "cli_support.py",
    "commands",
    "py.typed",
    "bench",
    "export",
    "models",
    "runtime",
    "stop_signals.py",
)


#: Links in ``.import_path``, and where they point.
LINKS = {"trimf": "..", "trimf_train": "../trimf_train"}


class PackageLayout(BuildHookInterface):  # type: ignore[type-arg]
    """Place the files of the root below ``trimf/`` in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the packages to a wheel, or link them for an editable install.

        Args:
            version: "standard" or "editable".
            build_data: Data of the build, which is changed in place.
        """
        if version == "editable":
            folder = Path(self.root, ".import_path")
            folder.mkdir(exist_ok=True)
            for name, target in LINKS.items():
                if not (folder / name).is_dir():
                    (folder / name).symlink_to(target, target_is_directory=True)
        else:
            build_data["force_include"] |= {name: f"trimf/{name}" for name in CONTENT} | {"trimf_train": "trimf_train"}

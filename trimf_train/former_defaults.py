"""Settings that were added with a default that changes what a model computes.

Files that an earlier version wrote lack them. There, they have the value that gives what the earlier version computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Settings of the table ``model`` that a file may lack, and the value that they then have.
FORMER_DEFAULTS: Mapping[str, object] = {"flow.slots": "sum"}


def fill_former_defaults(values: dict[str, Any]) -> None:
    """Add the settings that a stored file lacks, with what earlier versions computed, in place.

    Args:
        values: The tables of a configuration as a file stores them, with ``model`` among them. A table that is not a
            JSON object is left as it is, for the schema to refuse.
    """
    for setting, value in FORMER_DEFAULTS.items():
        table: Any = values.get("model")
        *tables, name = setting.split(".")
        for key in tables:
            table = table.setdefault(key, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table.setdefault(name, value)

"""Settings of earlier versions that were measured and removed because they did not help.

Files that an earlier version wrote hold all settings. They can still be read if they have the removed ones at the value
at which they had no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Removed settings, and for each the value at which it had no effect.
REMOVED_SETTINGS: Mapping[str, object] = {
    "model.scaled": False,
    "model.span.context": "none",
    "train.ema": 0.0,
    "train.label_smoothing": 0.0,
    "train.layer_decay": 1.0,
    "train.r_drop": 0.0,
}

#: File of the repository with the measurements.
EVIDENCE = "docs/results/recipe-steps.json"


def find_removed_setting(values: Mapping[str, Any]) -> str | None:
    """Return the first removed setting in nested values of a configuration, or None.

    Args:
        values: The tables of a configuration, with ``model`` and ``train`` among them.

    Returns:
        The name of the setting, such as ``train.ema``.
    """
    return next((setting for setting in REMOVED_SETTINGS if _find_table(values, setting) is not None), None)


def drop_unused_settings(values: Mapping[str, Any]) -> str | None:
    """Delete the removed settings that have no effect from nested values of a configuration, in place.

    Args:
        values: The tables of a configuration; one or both of ``model`` and ``train``.

    Returns:
        The first removed setting that has an effect, which stays in ``values``; None if there is none.
    """
    for setting, unused in REMOVED_SETTINGS.items():
        table = _find_table(values, setting)
        if table is not None and table[setting.rpartition(".")[2]] == unused:
            del table[setting.rpartition(".")[2]]
    return find_removed_setting(values)


def _find_table(values: Mapping[str, Any], setting: str) -> dict[str, Any] | None:
    """Return the table that has a setting, or None if there is no such setting."""
    table: Any = values
    *tables, name = setting.split(".")
    for key in tables:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) and name in table else None

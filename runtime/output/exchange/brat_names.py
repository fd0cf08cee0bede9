"""Choose names that brat and every file system take: of texts and of labels."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Any

import msgspec

from ...results import Extraction, RecordExtraction
from .settings import ToolSettings

#: Maximum number of characters of a file name, without its ending.
_MAX_NAME = 100

#: Names of devices, which Windows does not take as names of files.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

#: Characters that brat does not take in labels.
_FOREIGN = re.compile("[^A-Za-z0-9_-]+")


class FileNames:
    """Names of files, each different from the others on file systems that ignore letter case, too.

    Memory grows with the number of names.
    """

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def choose(self, extraction: Extraction, number: int) -> str:
        """Return a name for a text, without an ending.

        Args:
            extraction: Its record's ``path`` and ``id`` give the name. Characters other than ASCII letters and digits,
                ``.``, ``-`` and ``_`` become ``_``.
            number: Number of the text, which is its name if it has neither.
        """
        fields = extraction.fields if isinstance(extraction, RecordExtraction) else {}
        path, id = fields.get("path"), fields.get("id")
        parts = [os.path.splitext(path)[0] if isinstance(path, str) else "", "" if id is None else _write_id(id)]
        base = _make_safe("_".join(filter(None, parts))) or f"text-{number:06d}"
        name = base
        while name.lower() in self._used:
            self._used[base.lower()] = self._used.get(base.lower(), 1) + 1
            name = f"{base}-{self._used[base.lower()]}"
        self._used.setdefault(name.lower(), 1)
        return name


def _write_id(id: Any) -> str:
    return id if isinstance(id, str) else msgspec.json.encode(id).decode()


def _make_safe(name: str) -> str:
    """Return a name without separators, leading dots, and what Windows does not take; it may be empty."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9-]{2,}|[^A-Za-z0-9._-]", "_", ascii_name).strip("._-")[:_MAX_NAME].strip("._-")
    return f"text-{safe}" if _DEVICE.fullmatch(safe) else safe


class LabelNames:
    """Labels as brat takes them: ASCII letters, digits, ``-`` and ``_``, each for one label.

    Args:
        settings: The labels of the model. Their names do not depend on the order in which they are asked for, and those
            that brat takes stay.

    Attributes:
        names: The name of each kind and label.
    """

    def __init__(self, settings: ToolSettings) -> None:
        self.names: dict[tuple[str, str], str] = {}
        self._used: set[str] = set()
        known = [("entity", label) for label in settings.entity_types]
        known += [("relation", label) for label in settings.relation_types]
        for kind, label in sorted(known, key=lambda item: bool(_FOREIGN.search(item[1]))):
            self.choose(kind, label)

    def choose(self, kind: str, label: str) -> str:
        """Return the name of a label; the same one whenever it is asked for again.

        Args:
            kind: "entity" or "relation"; brat has one set of names for both.
            label: The label.
        """
        if (kind, label) not in self.names:
            base = name = _FOREIGN.sub("_", label).strip("_") or kind if _FOREIGN.search(label) else label
            count = 1
            while name in self._used:
                count += 1
                name = f"{base}_{count}"
            self._used.add(name)
            self.names[kind, label] = name
        return self.names[kind, label]

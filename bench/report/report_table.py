"""Define a table of a report, and how its cells show a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: Cell of a missing value.
MISSING = "–"


class ReportTable(NamedTuple):
    """A table of plain text.

    Attributes:
        title: Heading of the table.
        note: One line of explanation; may be empty.
        columns: Column headings.
        rows: Cells of each row.
        text_columns: Number of leading columns that hold text; the others hold figures.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int


def format_number(value: float | None, digits: int = 2) -> str:
    """Return a number with separators of thousands, or ``MISSING``.

    Args:
        value: The number; None if there is none.
        digits: Digits after the decimal point.
    """
    return MISSING if value is None else f"{value:,.{digits}f}"

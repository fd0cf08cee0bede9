"""Tables of plain text for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text


def build_plain_table(title: str, *columns: str, rows: Iterable[Iterable[str]]) -> Table:
    """Build a table of plain text without markup or control codes; long cells are folded instead of cut.

    Args:
        title: Title of the table.
        columns: Titles of the columns; there is no header if all are empty.
        rows: Cells of each row.

    Returns:
        The table.
    """
    table = Table(title=_sanitize_text(title, "table.title"), title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(_sanitize_text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_sanitize_text, row))
    return table


def _sanitize_text(value: str, style: str = "") -> Text:
    """Return plain text with a replacement character for each unprintable one except line breaks."""
    letters = (letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in value)
    return Text("".join(letters), style)

"""Tables of plain text for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from .plain_text import build_plain_text


def build_plain_table(
    title: str, *columns: str, rows: Iterable[Iterable[str]], figures: int = 0, summary_rows: int = 0
) -> Table:
    """Build a table of plain text without markup or control codes; long cells are folded instead of cut.

    Args:
        title: Title of the table.
        columns: Titles of the columns; there is no header if all are empty.
        rows: Cells of each row.
        figures: Number of last columns that hold figures, which are aligned to the right.
        summary_rows: Number of last rows that sum up the others, from which a line divides them.

    Returns:
        The table.
    """
    table = Table(title=build_plain_text(title, "table.title"), title_justify="left", show_header=any(columns))
    for index, column in enumerate(columns):
        justify = "right" if index >= len(columns) - figures else "left"
        table.add_column(build_plain_text(column), overflow="fold", justify=justify)  # type: ignore[arg-type]
    listed = list(rows)
    for index, row in enumerate(listed):
        table.add_row(
            *map(build_plain_text, row), end_section=bool(summary_rows) and index == len(listed) - summary_rows - 1
        )
    return table

"""Tables of plain text for the terminal, which stay readable where they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from .plain_text import build_plain_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text


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
        The table. Where more than one column would have to be folded, it shows its rows one below the other instead,
        with a line per cell.
    """
    heads = list(map(build_plain_text, columns))
    cells = [list(map(build_plain_text, row)) for row in rows]
    table = _PlainTable(build_plain_text(title, "table.title"), heads, cells)
    for index, head in enumerate(heads):
        table.add_column(head, overflow="fold", justify="right" if index >= len(heads) - figures else "left")
    for index, row in enumerate(cells):
        table.add_row(*row, end_section=bool(summary_rows) and index == len(cells) - summary_rows - 1)
    return table


class _PlainTable(Table):
    """Table that shows its rows one below the other where its columns do not fit.

    Args:
        title: Title of the table.
        heads: Titles of the columns.
        cells: Cells of each row.
    """

    def __init__(self, title: Text, heads: Sequence[Text], cells: Sequence[Sequence[Text]]) -> None:
        # rich would fold a title of its own at the width of the table, which may be much less than the terminal's.
        super().__init__(show_header=any(map(str, heads)))
        self._heading, self._heads, self._cells = title, heads, cells

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._heading, options)
        if self.show_header and not self._fits(options.max_width):
            yield from console.render(self._stack_rows(), options)
        else:
            yield from super().__rich_console__(console, options)

    def _fits(self, width: int) -> bool:
        """Return True if at most the widest column must be folded, and not below the width of the next one."""
        columns = zip(self._heads, *self._cells, strict=True)
        widths = sorted(max(_measure_lines(cell) for cell in column) for column in columns)
        borders = 3 * len(widths) + 1
        return len(widths) < 3 or borders + sum(widths[:-1]) + min(widths[-2:]) <= width

    def _stack_rows(self) -> Table:
        """Return a table with a line per cell, the title of its column beside it, and a border after each row."""
        stacked = Table(show_header=False)
        stacked.add_column()
        stacked.add_column(overflow="fold")
        for row in self._cells:
            for index, (head, cell) in enumerate(zip(self._heads, row, strict=True)):
                stacked.add_row(head, cell, end_section=index == len(row) - 1)
        return stacked


def _measure_lines(text: Text) -> int:
    """Return the number of terminal cells of the longest line."""
    return max((line.cell_len for line in text.split("\n")), default=0)

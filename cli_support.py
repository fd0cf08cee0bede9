"""Parts that all commands share: types of options, messages, tables and progress bars."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .runtime.output.plain_text import make_visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

#: Types of options and arguments.
FILE = click.Path(dir_okay=False, path_type=Path)
DATA = click.Path(path_type=Path)
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path, allow_dash=True)


class _Folder(click.Path):
    """A folder, for which ``-`` (standard output) cannot stand."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the path, or fail if it is ``-``."""
        if str(value) == "-":
            self.fail("- stands for standard output, but a folder is needed; name one", parameter, context)
        return super().convert(value, parameter, context)


FOLDER = _Folder(file_okay=False, path_type=Path)


def reject_old_name(old: str, new: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a hidden option that refuses the former name of an option and names the new one."""

    def refuse(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
        if value:
            raise click.UsageError(f"{old} was renamed; use {new}")

    return click.option(old, multiple=True, hidden=True, expose_value=False, callback=refuse)


def print_to_stderr(text: str) -> None:
    """Print one line on stderr, without terminal codes."""
    click.echo(make_visible(text), err=True)


def print_tables(*tables: RenderableType) -> None:
    """Print tables on stdout, as wide as the terminal."""
    from rich.console import Console

    console = Console()
    for table in tables:
        console.print(table)


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on stderr, if that is a terminal.

    Args:
        description: Text beside the bar until the first update.

    Yields:
        Function to update the bar, which takes the text, the number of finished steps, and the number of all steps.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda text, done, total: bar.update(
            task, description=make_visible(text), completed=done, total=max(total, 1)
        )

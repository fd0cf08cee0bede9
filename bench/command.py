"""``trimf bench``: the command, its options, and the bar it shows while it measures."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


class _Numbers(click.ParamType):
    """Whole numbers with commas between them."""

    name = "N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers of a text such as "1,8,32"."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers, such as 1,8,32", param, ctx)


@click.group(invoke_without_command=True)
@click.option("--model", "models", multiple=True, help="A bundle folder, any number of times. Default: default.")
@click.option("--against", type=_FOLDER, metavar="CHECKPOINT", help="Also measure PyTorch, eager and compiled.")
@click.option(
    "--data", type=_FILE, help="Annotated sentences, or text (.txt). Default: sentences that come with TriMF."
)
@click.option("--backend", "backends", multiple=True, help="An engine, any number of times. Default: auto.")
@click.option("--batch-sizes", type=_Numbers(), default="1,8,32", show_default=True, help="Sentences of a call.")
@click.option("--threads", type=_Numbers(), default="1", show_default=True, help="Cores that one operation may use.")
@click.option("--workers", type=_Numbers(), default="1", show_default=True, help="Workers of a stream.")
@click.option("--concurrency", type=_Numbers(), default="1", show_default=True, help="Threads that call one extractor.")
@click.option(
    "--lengths", type=_Numbers(), default="16,64,128", show_default=True, help="Subwords of made-up sentences."
)
@click.option("--seconds", default=4.0, show_default=True, help="How long to measure each case, over all rounds.")
@click.option("--rounds", default=3, show_default=True, help="Fresh processes that measure each case, in turn.")
@click.option("--soak", default=0, metavar="N", help="Also stream N sentences and watch the memory.")
@click.option("--output", type=_FOLDER, help="Write report.json, report.md and report.html to this folder.")
@click.option("--overwrite", is_flag=True, help="Replace an OUTPUT that is not empty.")
@click.pass_context
def bench(
    context: click.Context,
    models: tuple[str, ...],
    backends: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """How fast a bundle is here, by stage, against its encoder alone, PyTorch, other precisions and other engines."""
    if context.invoked_subcommand:
        return
    from contextlib import nullcontext

    from ..runtime.files import atomic_folder
    from . import output as files
    from .plan import Options
    from .run import need, run

    if output:
        need("matplotlib")
    asked = Options(models=models or ("default",), backends=backends or ("auto",), **options)
    failure: BaseException | None
    with atomic_folder(output, overwrite=overwrite) if output else nullcontext() as folder:
        with _progress() as progress:
            report, failure = run(asked, _typed(context), say, progress)
        if folder:
            failed = files.write(report, folder)
            failure = failure or failed
    if output:
        say(f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}")
    else:
        from .markdown import markdown

        click.echo(markdown(report))
    if failure:
        raise failure


@bench.command("compare")
@click.argument("before", type=_FILE, metavar="A.json")
@click.argument("after", type=_FILE, metavar="B.json")
def bench_compare(before: Path, after: Path) -> None:
    """Whether report B is faster or slower than report A, beyond what their rounds differ by."""
    from rich.console import Console

    from .compare import compare, read, table

    Console().print(table(compare(read(before), read(after))))


@bench.command("schema")
def bench_schema() -> None:
    """Print the JSON schema of report.json."""
    import msgspec

    from .schema import Report

    click.echo(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Report)), indent=2))


def _typed(context: click.Context) -> str:
    """The command as it would be typed, with what differs from the defaults."""
    parts = ["trimf bench"]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        source = context.get_parameter_source(option.name or "")
        if source is click.core.ParameterSource.COMMANDLINE:
            values = value if option.multiple else [value]
            for one in values:
                text = ",".join(map(str, one)) if isinstance(one, tuple) else str(one)
                parts.append(option.opts[0] if one is True else f"{option.opts[0]} {shlex.quote(text)}")
    return " ".join(parts)


def say(text: str) -> None:
    """One line on stderr."""
    click.echo(text, err=True)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr; what it is given: the job, how many are done, and how many there are."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("checking")
        yield lambda label, done, total: bar.update(task, description=label, completed=done, total=total)

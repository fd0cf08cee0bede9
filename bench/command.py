"""The ``trimf bench`` commands, their options, and the progress bar."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from ..cli_support import FILE, FOLDER, print_tables, print_to_stderr, show_progress
from ..runtime.extras import require_extra


def _parse_integers(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of integers, such as "1,8,32"."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a comma-separated list of integers, such as 1,8,32") from None


@click.group(invoke_without_command=True)
@click.option("--model", "models", multiple=True, help="Bundle to benchmark; repeatable. Default: default.")
@click.option(
    "--against", "checkpoint", type=FOLDER, metavar="CHECKPOINT", help="Also benchmark PyTorch, eager and compiled."
)
@click.option(
    "--data", type=FILE, help="Annotated sentences, or plain text (.txt). Default: sentences shipped with TriMF."
)
@click.option("--backend", "backends", multiple=True, help="Backend that runs the bundles; repeatable. Default: auto.")
@click.option(
    "--batch-sizes",
    type=_parse_integers,
    metavar="N,…",
    default="1,8,32",
    show_default=True,
    help="Sentences per batch.",
)
@click.option(
    "--threads",
    type=_parse_integers,
    metavar="N,…",
    default="1",
    show_default=True,
    help="Intra-op threads per worker or process.",
)
@click.option(
    "--workers", type=_parse_integers, metavar="N,…", default="1", show_default=True, help="Worker threads of a stream."
)
@click.option(
    "--processes",
    type=_parse_integers,
    metavar="N,…",
    default="1",
    show_default=True,
    help="Processes of a stream, with one worker each.",
)
@click.option(
    "--concurrency",
    type=_parse_integers,
    metavar="N,…",
    default="1",
    show_default=True,
    help="Threads that share one extractor.",
)
@click.option(
    "--lengths",
    type=_parse_integers,
    metavar="N,…",
    default="16,64,128",
    show_default=True,
    help="Lengths of synthetic sentences, in subwords.",
)
@click.option(
    "--seconds",
    type=float,
    help="Measurement time per case, over all rounds. Default: 4, or up to 30 until p99 can be given.",
)
@click.option("--rounds", default=3, show_default=True, help="Rounds per case, each in a fresh process.")
@click.option("--soak", default=0, metavar="N", help="Also stream N sentences and record memory growth.")
@click.option("--profile", is_flag=True, help="Also show the slowest nodes of each bundle, after the timed cases.")
@click.option("--quick", is_flag=True, help="Show what one bundle does on one backend, parity included, in minutes.")
@click.option("--output", type=FOLDER, help="Folder for report.json, report.md and report.html.")
@click.option("--overwrite", is_flag=True, help="Replace a non-empty output folder.")
@click.pass_context
def bench(
    context: click.Context,
    /,
    models: tuple[str, ...],
    backends: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Benchmark latency, throughput and memory.

    Latency is split into stages and compared with the latency of the plain encoder (the transformer without the
    extraction layers), of PyTorch, and of the other bundles and backends. Each round of a case runs in a fresh process,
    and no sample is dropped.
    """
    if context.invoked_subcommand:
        return
    from contextlib import nullcontext

    from ..runtime.files.atomic import atomic_folder
    from ..runtime.files.folder_kinds import BENCHMARK
    from .measure.benchmark_run import run_benchmark
    from .measure.case_planning import QUICK_OPTIONS, BenchmarkOptions
    from .report import report_files as files
    from .report.quick_summary import render_quick_summary
    from .report.summary import render_summary

    if output:
        require_extra("bench", "matplotlib", purpose="--output")
    if options["quick"]:
        options |= {name: value for name, value in QUICK_OPTIONS.items() if _is_default(context, name)}
    requested = BenchmarkOptions(models=models or ("default",), backends=backends or ("auto",), **options)
    failure: BaseException | None
    with atomic_folder(output, BENCHMARK, overwrite=overwrite) if output else nullcontext() as folder:
        with show_progress("checking models") as progress:
            report, failure = run_benchmark(requested, _format_command(context), print_to_stderr, progress)
        if folder:
            failed = files.write_report(report, folder)
            failure = failure or failed
    print_tables(render_quick_summary(report) if requested.quick else render_summary(report))
    if output:
        print_to_stderr(f"wrote {', '.join(sorted(path.name for path in output.iterdir()))} to {output}")
    else:
        print_to_stderr("all tables, figures and samples: --output FOLDER")
    if failure:
        raise failure


@bench.command("compare")
@click.argument("before", type=click.Path(path_type=Path), metavar="A")
@click.argument("after", type=click.Path(path_type=Path), metavar="B")
@click.option(
    "--fail-slower",
    type=float,
    metavar="PCT",
    help="Exit with 1 if a case of B is slower by more than PCT percent, beyond the noise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def compare_reports_command(before: Path, after: Path, fail_slower: float | None, as_json: bool) -> None:
    """Compare report B with report A, of the same device or of two.

    A and B are reports (report.json), their folders, or folders of many. Cases match by what they measure. A difference
    counts only if it exceeds the differences between rounds.
    """
    import msgspec

    from ..runtime.errors import BackendError
    from .report.comparison import compare_reports, list_slower
    from .report.comparison_table import convert_comparison, render_comparison
    from .report.report_reading import pair_report_files, read_report

    files = pair_report_files(before, after)
    compared = {name: compare_reports(read_report(a), read_report(b)) for name, (a, b) in files.items()}
    if as_json:
        data = [{"name": name, **convert_comparison(entry)} for name, entry in compared.items()]
        click.echo(msgspec.json.encode(data[0] if len(data) == 1 else data))
    else:
        for name, entry in compared.items():
            print_tables(*([f"{name}\n"] if len(compared) > 1 else []), render_comparison(entry))
    if fail_slower is not None:
        slower = [line for entry in compared.values() for line in list_slower(entry.lines, fail_slower)]
        if slower:
            worst = max(slower, key=lambda line: line.ratio)
            raise BackendError(
                f"{len(slower)} times are slower by more than {fail_slower:g} %; the worst is {worst.case},"
                f" {worst.quantity}: {worst.ratio:.2f} times as long"
            )


@bench.command("schema")
def bench_schema() -> None:
    """Print the JSON schema of report.json."""
    import msgspec

    from .report.schema import Report

    click.echo(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Report)), indent=2))


def _is_default(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT


def _format_command(context: click.Context) -> str:
    """Return the command line with the options that were set on it."""
    parts = ["trimf bench"]
    for option in context.command.params:
        value: Any = context.params.get(option.name or "")
        source = context.get_parameter_source(option.name or "")
        if source is click.core.ParameterSource.COMMANDLINE:
            values = value if option.multiple else [value]
            for item in values:
                argument = ",".join(map(str, item)) if isinstance(item, tuple) else str(item)
                parts.append(option.opts[0] if item is True else f"{option.opts[0]} {shlex.quote(argument)}")
    return " ".join(parts)

"""The command line: one thin command per verb. Errors are one line on stderr; ``--debug`` shows their origin."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .bench.command import bench
from .runtime.errors import BackendError, BundleError, ConfigError, DataError, InputError, TrimfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .runtime.manifest import Builder, Precision

_READERS = ["spert", "dygie", "ade", "prepared"]
_WRITERS = ["text", "json", "jsonl", "html"]
_FILE = click.Path(dir_okay=False, path_type=Path)
_FILE_OR_DASH = click.Path(path_type=Path, allow_dash=True)
_FOLDER = click.Path(file_okay=False, path_type=Path)


_SHAPES = click.option(
    "--shapes",
    multiple=True,
    metavar="AXIS=MIN:TUNED:MAX,…",
    help="A profile of the engines, as batch=1:8:16,subwords=3:32:128; any number of times. "
    "Default: one for batch 1, one for throughput.",
)
_WORKSPACE = click.option("--workspace", type=int, metavar="MB", help="Most device memory that a layer may take.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trimf")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Entities, relations and the words that trigger them: train, evaluate, export, compile, verify, extract."""


cli.add_command(bench)


@cli.command()
@click.argument("source", type=_FILE, metavar="IN")
@click.argument("output", type=_FILE, metavar="OUT")
@click.option("--parser", default="en_core_web_sm", show_default=True, help="spaCy pipeline with a dependency parser.")
@click.option("--format", "format_", type=click.Choice(_READERS), help="Default: by content.")
@click.option("--max-span", default=10, show_default=True, help="Longest entity, in words, that a model will find.")
@click.option("--batch-size", default=64, show_default=True, help="Sentences parsed at once.")
@click.option("--force", is_flag=True, help="Replace an OUT that was made from something else.")
def prepare(
    source: Path, output: Path, parser: str, format_: str | None, max_span: int, batch_size: int, force: bool
) -> None:
    """Read annotated sentences IN and write them with dependency parses to OUT, one JSON line each.

    A killed run goes on where it was.
    """
    from trimf_train.data.prepare import prepare as run

    from .runtime.parser import load_parser

    click.echo(run(source, output, load_parser(parser), format_, max_span, batch_size, force=force), err=True)


@cli.command()
@click.argument("config", type=_FILE)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, as train.lr=1e-4.")
@click.option("--restart", is_flag=True, help="Begin anew where the output folder holds a run already.")
@click.option("--compile", "compiled", is_flag=True, help="Run the encoder through torch.compile.")
def train(config: Path, overrides: tuple[str, ...], restart: bool, compiled: bool) -> None:
    """Train a model as CONFIG (TOML) says; on several GPUs under `accelerate launch -m trimf.cli train …`."""
    _need("torch", "train")
    from trimf_train.config import load
    from trimf_train.train import train as run

    loaded = load(config, overrides)
    command = " ".join(["trimf train", str(config), *(f"--set {override}" for override in overrides)])
    best = run(loaded, restart=restart, command=command, compiled=compiled)
    if best:  # on the main process alone
        click.echo(f"best epoch {best['epoch']} in {Path(loaded.output) / 'best'}", err=True)


@cli.command()
@click.argument("name", metavar="NAME")
@click.option("--data", type=_FOLDER, default="prepared/conll04", show_default=True, help="Folder of prepared files.")
@click.option("--encoder", help="A Hugging Face name or folder. Default: as configured.")
@click.option("--seeds", type=int, help="Runs of each row. Default: 5, of cross-validation all folds, of --quick 1.")
@click.option("--output", type=_FOLDER, default="experiments", show_default=True, help="Folder of runs and reports.")
@click.option("--config", type=_FILE, help="Recipe (TOML) to vary. Default: that of the data set, if one comes along.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the recipe.")
@click.option("--jobs", type=int, help="Runs at once. Default: one a GPU, or one a core as memory allows.")
@click.option("--quick", is_flag=True, help="A small sample and few epochs, to see it work.")
def experiment(
    name: str,
    data: Path,
    encoder: str | None,
    seeds: int | None,
    output: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    jobs: int | None,
    quick: bool,
) -> None:
    """Rerun a table or figure of the paper: main (Table 1), modules (2), interaction (3), fusion (4), triggers (5),
    gradients (6), stages (Figure 4), threshold (5), attention (6); or recipe, steps beyond it, judged on dev.

    Stopped, it goes on where it was. Writes NAME.json, NAME.md and NAME.svg (of attention, NAME.html) into --output,
    and shares runs with other experiments there.
    """
    _need("torch", "train")
    _need("matplotlib", "bench")
    from trimf_train.experiments.run import Plan, run

    given = [("--data", data), ("--encoder", encoder), ("--seeds", seeds), ("--output", output), ("--config", config)]
    words = [f"{flag} {value}" for flag, value in given if value is not None]
    words += [f"--set {override}" for override in overrides] + ["--quick"] * quick
    command = " ".join(["trimf experiment", name, *words])
    plan = Plan(name, data, output, seeds, encoder, config, overrides, jobs, quick, command)
    run(plan, lambda line: click.echo(line, err=True))
    click.echo((output / f"{name}.md").read_text(encoding="utf-8"))


@cli.command("eval")
@click.argument("model")
@click.argument("data", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--threads", type=int, help="Cores the engine may use. Default: all.")
@click.option("--backend", default="auto", show_default=True, help="The engine that runs a bundle.")
@click.option("--calibration", is_flag=True, help="Also compare scores with how often they are right.")
def evaluate(
    model: str, data: Path, as_json: bool, batch_size: int, threads: int | None, backend: str, calibration: bool
) -> None:
    """Precision, recall and F1 of MODEL (a checkpoint, a bundle, or `default`) on annotated sentences DATA.

    DATA is a prepared file or any format `trimf prepare` reads; sentences without a parse are parsed.
    """
    from trimf_train import metrics, protocols
    from trimf_train.evaluate import evaluate_file

    result = evaluate_file(model, data, batch_size, threads, backend, calibration=calibration)
    protocol = protocols.of(result["entities"]["per_type"])
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode({**result, "protocol": str(protocol)}))
    else:
        _console().print(metrics.table(result))
        click.echo(protocol.headline(result))


@cli.command()
@click.argument("checkpoint", type=_FOLDER)
@click.argument("data", type=_FILE)
@click.option("--output", type=_FOLDER, required=True, help="The checkpoint folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing folder.")
def calibrate(checkpoint: Path, data: Path, output: Path, overwrite: bool) -> None:
    """Make the scores of CHECKPOINT say how often they are right, on annotated sentences DATA that it has not learnt.

    The result finds the same entities and relations, with scores by temperature scaling.
    """
    _need("torch", "train")
    from trimf_train.calibration import calibrate_file

    fitted = calibrate_file(checkpoint, data, output, overwrite=overwrite)
    for name, one in (("entities", fitted.entities), ("relations", fitted.relations)):
        _say(
            f"{name}: temperature {one.temperature:.2f} from {one.scores} scores, calibration error "
            f"{one.before:.3f} before and {one.after:.3f} after"
        )


@cli.command()
@click.argument("checkpoint", type=_FOLDER)
@click.option("--output", type=_FOLDER, required=True, help="The bundle folder to write.")
@click.option("--fp16", "precisions", multiple=True, flag_value="fp16", help="Half precision, for GPUs.")
@click.option("--bf16", "precisions", multiple=True, flag_value="bf16", help="bfloat16, for GPUs from sm_80 on.")
@click.option("--int8", "precisions", multiple=True, flag_value="int8", help="Eight bits, for CPUs.")
@click.option("--int8-qdq", "precisions", multiple=True, flag_value="int8-qdq", help="Eight bits and fp16, for GPUs.")
@click.option("--calibrate", type=_FILE, help="Prepared sentences that give either int8 its ranges.")
@click.option("--data", type=_FILE, help="Prepared sentences on which the bundle is compared with PyTorch.")
@click.option("--engine", "targets", multiple=True, metavar="SM", help="Build TensorRT-RTX engines for sm_89, …")
@_SHAPES
@_WORKSPACE
@click.option("--explain", is_flag=True, help="Let `trimf explain` ask the bundle for its weights.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights, for the model card.")
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
def export(
    checkpoint: Path,
    output: Path,
    precisions: tuple[Precision, ...],
    calibrate: Path | None,
    data: Path | None,
    targets: tuple[str, ...],
    shapes: tuple[str, ...],
    workspace: int | None,
    licence: str,
    explain: bool,
    overwrite: bool,
) -> None:
    """Split CHECKPOINT into four ONNX subgraphs and write a bundle (fp32 by default), after comparing it with PyTorch.

    Engines (--engine, any number of times) are built without a GPU.
    """
    if len(set(precisions)) > 1:
        raise click.UsageError(f"--{' and --'.join(precisions)} exclude each other: a bundle has one precision")
    _need("torch", "train")
    _need("onnxscript", "export")
    from .export.bundle import export as run
    from .export.profiles import parse
    from .export.report import tables

    with _progress() as progress:
        manifest = run(
            checkpoint,
            output,
            precision=precisions[0] if precisions else "fp32",
            calibrate=calibrate,
            data=data,
            targets=targets,
            shapes=[parse(text) for text in shapes],
            workspace_mb=workspace,
            licence=licence,
            explain=explain,
            overwrite=overwrite,
            say=_say,
            show=lambda report: _console().print(tables(report)),
            progress=progress,
        )
    size = sum(file.size for file in manifest.files.values())
    engines = f" with {len(manifest.engines)} engines" if manifest.engines else ""
    _say(f"{output}: {manifest.precision} bundle of {size / 1e6:.1f} MB{engines}")


@cli.command()
@click.argument("model")
@click.argument("text")
@click.option("--html", is_flag=True, help="One page to look at instead of JSON.")
@click.option("--output", type=_FILE, help="Write here instead of to stdout.")
@click.option("--triggers", default=3, show_default=True, help="Trigger words shown with a relation at most.")
def explain(model: str, text: str, html: bool, output: Path | None, triggers: int) -> None:
    """What MODEL's result on TEXT rests on: memory flows, syntax against meaning, arcs, and every trigger's weight.

    MODEL is a checkpoint, or a bundle exported with --explain, which runs on the CPU.
    """
    from trimf_train.evaluate import open_model

    from .runtime.explain import explain as run
    from .runtime.explain_page import to_html
    from .runtime.parser import load_parser
    from .runtime.writers import to_stream

    if not text.strip():
        raise InputError("TEXT is empty; there is nothing to explain")
    opened = open_model(model, backend="cpu")
    parse = None if opened.pipeline.parses else load_parser(opened.parser).parse
    found = run(opened.pipeline, opened.labels, text, parse, triggers)
    if html:
        page = "".join(to_html(found))
    else:
        import msgspec

        page = msgspec.json.encode(found).decode() + "\n"
    with to_stream(output) as stream:
        stream.write(page)


@cli.command("compile")
@click.argument("bundle")
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="The library that builds.",
)
@click.option("--target", "targets", multiple=True, metavar="SM", help="Instead of the GPU present (TensorRT-RTX).")
@_SHAPES
@_WORKSPACE
def compile_(
    bundle: str, backend: Builder, targets: tuple[str, ...], shapes: tuple[str, ...], workspace: int | None
) -> None:
    """Build engines of BUNDLE for the GPU of this machine and add them to it.

    Needs the runtime and the library alone, no PyTorch.
    """
    from .export.compile import compile_bundle
    from .export.profiles import parse

    with _progress() as progress:
        engines = compile_bundle(
            bundle,
            backend,
            targets=targets,
            shapes=[parse(text) for text in shapes],
            workspace_mb=workspace,
            say=_say,
            progress=progress,
        )
    for engine in engines:
        _say(f"{engine.file}: {engine.precision}, {engine.builder} {engine.version}")


@cli.command()
@click.argument("bundle")
@click.option("--against", type=_FOLDER, metavar="CHECKPOINT", help="Compare with PyTorch instead of a plain CPU run.")
@click.option("--data", type=_FILE, help="Sentences to compare on, in any format `trimf prepare` reads.")
@click.option("--backend", "backends", multiple=True, help="The engine to verify, any number of times. Default: auto.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--threads", type=int, help="Cores the engine may use. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one report a line, instead of tables.")
@click.option("--save", is_flag=True, help="Keep the report in the bundle, for `trimf inspect`.")
def verify(
    bundle: str,
    against: Path | None,
    data: Path | None,
    backends: tuple[str, ...],
    batch_size: int,
    threads: int | None,
    as_json: bool,
    save: bool,
) -> None:
    """Compare what BUNDLE answers here with PyTorch, or with a plain run of its graphs; fails beyond its limits."""
    import msgspec

    from .export.report import tables
    from .export.verify import save as keep
    from .export.verify import verify as run

    failures = []
    for backend in backends or ("auto",):
        report = run(bundle, backend=backend, against=against, data=data, threads=threads, batch_size=batch_size)
        if as_json:
            click.echo(msgspec.json.encode(report))
        else:
            _console().print(tables(report))
        if save:
            keep(bundle, report)
        if report["failure"]:
            failures.append(f"{report['backend']}: {report['failure']}")
    if failures:
        raise BundleError("; ".join(failures))


@cli.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]…")
@click.option("--model", default="default", show_default=True, help="A bundle folder.")
@click.option(
    "--input",
    "source",
    type=_FILE_OR_DASH,
    help="A UTF-8 file, one text a line; - is stdin.",
)
@click.option("--output", type=_FILE, help="Write here instead of to stdout.")
@click.option("--format", "format_", type=click.Choice(_WRITERS), default="text", show_default=True)
@click.option(
    "--batch-size",
    default=32,
    show_default=True,
    help="Most sentences that go through the model at once. 16 times as many lines may be read before the first "
    "result; with 1, each line is answered before the next is read.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    help="Threads that parse and run the model, a batch each: for a file, as many as there are cores.",
)
@click.option(
    "--threads",
    type=int,
    help="Cores that one operation of the engine may use; the workers together use as many times more. "
    "Default: all, or 1 with several workers.",
)
@click.option("--backend", default="auto", show_default=True, help="The engine that runs the model.")
@click.option("--triggers", default=3, show_default=True, help="Most trigger words shown with a relation.")
@click.option("--parser", metavar="NAME", help="A spaCy pipeline that parses instead of the model's own parser.")
@click.option("--syntax", is_flag=True, help="Give the dependency arcs too: drawn in html, listed in json and jsonl.")
@click.option("--tree", is_flag=True, help="The same as a tree with one root, instead of the best head of each word.")
def extract(
    texts: tuple[str, ...],
    model: str,
    source: Path | None,
    output: Path | None,
    format_: str,
    batch_size: int,
    workers: int,
    threads: int | None,
    backend: str,
    triggers: int,
    parser: str | None,
    syntax: bool,
    tree: bool,
) -> None:
    """Find entities and relations in TEXTs, or in the lines of a file."""
    # Before numpy is imported: the parser is faster, and leaves the other cores to the engine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .runtime.extractor import load
    from .runtime.writers import write

    if bool(texts) == (source is not None):
        raise click.UsageError("give either TEXT or --input FILE (- for stdin)")
    if threads is None and workers > 1:
        threads = 1
    if (syntax or tree) and format_ == "text":
        raise click.UsageError("--syntax and --tree need --format html, json or jsonl; text has no place for arcs")
    arcs: Any = "tree" if tree else "arcs" if syntax else None
    loaded = None
    if parser is not None:
        from .runtime.parser import load_parser

        loaded = load_parser(parser)
    extractor = load(model, backend=backend, threads=threads, triggers=triggers, parser=loaded, syntax=arcs)
    if extractor.parser_note:
        _say(f"trimf: {extractor.parser_note}")
    given: Iterator[str] = iter(texts) if texts else _lines(source or Path("-"))
    write(extractor.stream(given, batch_size, workers), format_, output)
    if backend == "auto":
        _say(f"backend {extractor.backend}: {extractor.backend_reason}")


@cli.command()
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def inspect(bundle: str, as_json: bool) -> None:
    """What is in BUNDLE (a folder or `default`): labels, sizes, precision, parity, files, all hashes checked."""
    from .runtime.bundle import Bundle
    from .runtime.inspect import describe

    opened = Bundle(bundle)
    for name in opened.manifest.files:
        opened.read(name)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(opened.manifest, order="sorted"))
    else:
        _console().print(describe(opened))


def _say(text: str) -> None:
    click.echo(text, err=True)


@contextmanager
def _progress() -> Iterator[Callable[[str, str, int, int], None]]:
    """A bar on stderr for the builds of engines; what it is given: the engine, the phase, steps done and in all."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def show(label: str, phase: str, done: int, steps: int) -> None:
            if label not in tasks:
                for old in tasks.values():
                    bar.remove_task(old)
                tasks.clear()
                tasks[label] = bar.add_task(label)
            bar.update(tasks[label], description=f"{label}: {phase}", completed=done, total=max(steps, 1))

        yield show


def _console() -> Any:
    from rich.console import Console

    return Console()


def _need(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise BackendError(f'this command needs {module}, which is not installed; pip install "trimf[{extra}]"')


def _lines(source: Path) -> Iterator[str]:
    from .runtime.files import read_file, read_lines

    return read_lines(sys.stdin.buffer, "standard input") if str(source) == "-" else read_file(source)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for bad usage or input, 1 for failure."""
    given = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # to be ended is to leave nothing half-written, and no process behind
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        cli.main(given, prog_name="trimf", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except TrimfError as error:
        if "--debug" in given:
            raise
        return _fail(str(error), 2 if isinstance(error, InputError | DataError | ConfigError) else 1)
    except Exception as error:
        if "--debug" in given:
            raise
        return _fail(f"{type(error).__name__}: {error} (run `trimf --debug …` for the traceback)", 1)
    return 0


def _fail(message: str, status: int) -> int:
    click.echo("trimf: " + " ".join(message.split()), err=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

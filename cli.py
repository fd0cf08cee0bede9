"""Define the command line: one thin command per verb, errors as one line on stderr, tracebacks with ``--debug``."""

from __future__ import annotations

import io
import os
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from . import __version__
from .bench.command import bench
from .cli_support import DATA, FILE, FOLDER, OUTPUT_FILE, print_tables, print_to_stderr, reject_old_name, show_progress
from .runtime.errors import BundleError, ConfigError, DataError, InputError, TrimfError
from .runtime.extras import require_extra
from .stop_signals import exit_status_of_signal, handle_stop_signals

if TYPE_CHECKING:
    from .runtime.bundle.manifest import Builder, Precision
    from .runtime.input.record_reader import InputFormat
    from .runtime.output.exchange.settings import Losses
    from .runtime.output.extraction_job import ToolOptions
    from .runtime.streaming.text_stream import OnError

# The names of trimf_train.data.formats.registry.FORMATS, whose import would slow every command down.
_READERS = ["offsets", "dygie", "prepared", "spert", "ade", "labelstudio", "doccano", "prodigy", "brat", "spacy"]
_READERS += ["conll", "datasets", "datasets-text"]
_PROTOCOLS = ["conll04", "scierc", "ade", "ace05", "own"]
# The names of runtime.output.writers.FORMATS, whose import would slow every command down.
_WRITERS = ["text", "json", "jsonl", "html", "triples", "triples-csv", "triples-jsonl"]
_WRITERS += ["labelstudio", "doccano", "brat", "spacy"]
_FILE_OR_DASH = click.Path(path_type=Path, allow_dash=True)

_SHAPES = click.option(
    "--shapes",
    multiple=True,
    metavar="AXIS=MIN:OPT:MAX,…",
    help="Optimization profile, such as batch=1:8:16,subwords=3:32:128. Repeatable. "
    "Default: one profile for batch 1 and one for throughput.",
)
_SEPARATE = click.option(
    "--separate", is_flag=True, help="Also build the separate engines that a parser other than the model's own needs."
)
_WORKSPACE = click.option("--workspace", type=int, metavar="MB", help="Maximum device memory per layer, in MB.")
_THREADS = click.option("--threads", type=int, help="Intra-op threads. Default: all cores.")
_THRESHOLD = click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="[LABEL=]X",
    help="Score from 0 to 1 that a relation must exceed, for all types or for one. Repeatable. "
    "Default: that of the model.",
)
_ENTITY_THRESHOLD = click.option(
    "--entity-threshold",
    "entity_thresholds",
    multiple=True,
    metavar="[LABEL=]X",
    help="Score that an entity must exceed; others are left out before relations are looked for. Repeatable.",
)
_BACKEND_NAMES = "auto, cpu, cuda, tensorrt, tensorrt-ep or tensorrt-rtx-ep"

_OUTPUT = click.option(
    "--output",
    type=_FILE_OR_DASH,
    help="Output file (for brat a new folder), or - for stdout. Default: stdout.",
)
_FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(_WRITERS),
    default="text",
    show_default=True,
    help="Output format. triples: a table of relations. labelstudio, doccano, brat, spacy: pre-annotations for a tool.",
)
_FROM_NAME = click.option(
    "--from-name", metavar="NAME", help="Name of the tag Labels in the Label Studio project. Default: label."
)
_TO_NAME = click.option(
    "--to-name", metavar="NAME", help="Name of the tag Text in the Label Studio project. Default: text."
)
_LABELSTUDIO_CONFIG = click.option(
    "--labelstudio-config", type=OUTPUT_FILE, help="Also write the labelling configuration of a Label Studio project."
)

_COPY = click.option(
    "--output", type=FOLDER, help="Write a copy of the bundle to this folder instead of changing BUNDLE."
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an existing folder --output.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trimf")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Find entities, relations and the words that trigger them: train, evaluate, export, extract, benchmark."""


cli.add_command(bench)


@cli.command(short_help="Convert annotated data and add dependency parses.")
@click.argument("source", type=DATA, metavar="IN")
@click.argument("output", type=OUTPUT_FILE, metavar="OUT")
@click.option("--parser", default="en_core_web_sm", show_default=True, help="spaCy pipeline with a dependency parser.")
@click.option(
    "--format", "format_", type=click.Choice(_READERS), help="Format of IN. Default: detected from its content."
)
@click.option("--max-span", default=10, show_default=True, help="Longest entity in words; longer ones are reported.")
@click.option("--batch-size", default=64, show_default=True, help="Sentences parsed at once.")
@click.option(
    "--misaligned",
    type=click.Choice(["error", "snap", "skip"]),
    default="error",
    show_default=True,
    help="Entities of running text that begin or end inside a word: refuse, extend to whole words, or leave out.",
)
@click.option("--language", default="en", show_default=True, help="Language whose rules split running text into words.")
@click.option("--force", is_flag=True, help="Replace an existing OUT that was made from other data.")
def prepare(
    source: Path,
    output: Path,
    parser: str,
    format_: str | None,
    max_span: int,
    batch_size: int,
    misaligned: Literal["error", "snap", "skip"],
    language: str,
    force: bool,
) -> None:
    """Convert annotated text IN to OUT, one JSON line a sentence, with spaCy dependency parses.

    IN is running text with character offsets, what an annotation tool exports (Label Studio, doccano, Prodigy, brat,
    spaCy), a Hugging Face data set, or sentences of words (SpERT, DyGIE, ADE, CoNLL or prepared files). Run the same
    command again to resume a run that was stopped.
    """
    from trimf_train.data.prepare import prepare_file

    from .runtime.text.parser import load_parser

    summary = prepare_file(
        source,
        output,
        load_parser(parser),
        format_,
        max_span,
        batch_size,
        force=force,
        language=language,
        misaligned=misaligned,
    )
    click.echo(summary, err=True)


@cli.command(short_help="Train a model on annotated data.")
@click.argument("config", type=FILE, required=False)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Annotated data in any format that `trimf prepare` reads."
)
@click.option(
    "--dev", type=click.Path(path_type=Path), help="Data that choose the best epoch. Default: a fifth of --data."
)
@click.option("--output", type=FOLDER, help="With --data: folder of the run. Default: run.")
@click.option("--parser", help="With --data: spaCy pipeline that parses the sentences. Default: en_core_web_sm.")
@click.option("--language", help="With --data: language of the texts. Default: en.")
@click.option(
    "--misaligned",
    type=click.Choice(["error", "snap", "skip"]),
    help="With --data: what `trimf prepare --misaligned` says. Default: error.",
)
@click.option("--write-config", is_flag=True, help="With --data: prepare, print the configuration as TOML, and stop.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, such as train.lr=1e-4."
)
@click.option("--restart", is_flag=True, help="Discard the run that the output folder holds and start again.")
@click.option("--compile", "compiled", is_flag=True, help="Run the encoder through torch.compile.")
@click.option("--defaults", is_flag=True, help="Print every setting with its default, limits and meaning, as TOML.")
def train(
    config: Path | None,
    data: Path | None,
    dev: Path | None,
    output: Path | None,
    parser: str | None,
    language: str | None,
    misaligned: Literal["error", "snap", "skip"] | None,
    write_config: bool,
    overrides: tuple[str, ...],
    restart: bool,
    compiled: bool,
    defaults: bool,
) -> None:
    """Train a model on annotated data (--data), or as CONFIG says.

    With --data, the settings are chosen from the data. CONFIG is a TOML file, or the name of a packaged recipe: ade,
    conll04, conll04-syntax, scierc. For several GPUs: `accelerate launch -m trimf.cli train CONFIG`. Run the same
    command again to resume a run that was stopped.
    """
    from trimf_train.config import load_config
    from trimf_train.configs import find_recipe, recipe_names

    with_data = {"--dev": dev, "--output": output, "--parser": parser, "--language": language}
    with_data |= {"--misaligned": misaligned, "--write-config": write_config or None}
    given = [name for name, value in with_data.items() if value is not None]
    if defaults:
        if config is not None or overrides or data is not None:
            raise click.UsageError("--defaults takes neither CONFIG nor --data nor --set")
        from trimf_train.config_reference import render_defaults

        click.echo(render_defaults(), nl=False)
        return
    if data is None and given:
        place = " The output folder of CONFIG is its setting output." if given == ["--output"] else ""
        raise click.UsageError(f"{given[0]} goes with --data, which is missing.{place}")
    if data is not None and config is not None:
        raise click.UsageError(
            f"either CONFIG ({config}) or --data, not both; a TOML file names its data itself, as data.train"
        )
    if data is not None:
        from trimf_train.training.data_run import plan_run

        from .runtime.text.parser import load_parser

        if (language or "en") != "en" and parser is None:
            raise click.UsageError(
                f"--language {language} needs --parser, a spaCy pipeline of that language, such as de_core_news_sm"
            )
        if not write_config:
            require_extra("train", "torch")
        run = plan_run(
            data,
            dev,
            output or Path("run"),
            load_parser(parser or "en_core_web_sm"),
            overrides,
            language=language or "en",
            misaligned=misaligned or "error",
            restart=restart,
        )
        for line in run.lines:
            print_to_stderr(line)
        if write_config:
            from trimf_train.config_reference import render_config

            click.echo(render_config(run.config), nl=False)
            return
        loaded = run.config
    elif config is not None:
        loaded = load_config(find_recipe(config), overrides)  # before PyTorch is imported, which takes seconds
    else:
        names = ", ".join(recipe_names())
        raise click.UsageError(
            f"pass --data with annotated data, or CONFIG: a TOML file, or the name of a packaged recipe: {names}"
        )
    require_extra("train", "torch")
    from trimf_train.training.run_outcome import describe_outcome
    from trimf_train.training.train import train_model

    values = {"--data": data, **{name: value for name, value in with_data.items() if name != "--write-config"}}
    options = [part for name, value in values.items() if value is not None for part in (name, str(value))]
    command = ["trimf train", *([str(config)] if config else []), *options]
    command += [f"--set {override}" for override in overrides]
    best = train_model(loaded, restart=restart, command=" ".join(command), compile_encoder=compiled)
    if best:  # None on all processes but the main one
        for line in describe_outcome(best, loaded):
            print_to_stderr(line)


@cli.command(short_help="Reproduce a table or figure of the paper.")
@click.argument("name", metavar="NAME")
@click.option("--data", type=FOLDER, default="prepared/conll04", show_default=True, help="Folder of prepared files.")
@click.option("--encoder", help="Hugging Face name or folder. Default: the encoder of the recipe.")
@click.option("--seeds", type=int, help="Runs per row. Default: 5; all folds in cross-validation; 1 with --quick.")
@click.option("--output", type=FOLDER, default="experiments", show_default=True, help="Folder for runs and reports.")
@click.option(
    "--config", type=FILE, help="Recipe to vary: a TOML file or a packaged name. Default: that of the data set."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the recipe.")
@click.option("--jobs", type=int, help="Parallel runs. Default: one per GPU, or one per core as memory allows.")
@click.option("--quick", is_flag=True, help="Train on a small sample for a few epochs.")
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
    """Reproduce a table or figure of the paper.

    NAME is main (Table 1), modules (Table 2), interaction (Table 3), fusion (Table 4), triggers (Table 5), gradients
    (Table 6), stages (Figure 4), threshold (Figure 5), attention (Figure 6), or recipe (steps beyond the paper's
    recipe, compared on dev).

    Writes NAME.json, NAME.md and NAME.svg (NAME.html for attention) to --output. Experiments share runs there. Run the
    same command again to resume an experiment that was stopped.
    """
    require_extra("train", "torch")
    require_extra("bench", "matplotlib")
    from trimf_train.configs import find_recipe
    from trimf_train.experiments.run import ExperimentPlan, run_experiment

    options = {"--data": data, "--encoder": encoder, "--seeds": seeds, "--output": output, "--config": config}
    words = [f"{flag} {value}" for flag, value in options.items() if value is not None]
    words += [f"--set {override}" for override in overrides] + ["--quick"] * quick
    command = " ".join(["trimf experiment", name, *words])
    recipe = find_recipe(config) if config else None
    plan = ExperimentPlan(name, data, output, seeds, encoder, recipe, overrides, jobs, quick, command)
    run_experiment(plan, print_to_stderr)
    click.echo((output / f"{name}.md").read_text(encoding="utf-8"))


@cli.command("eval", short_help="Report precision, recall and F1 on annotated data.")
@click.argument("model")
@click.argument("data", type=DATA)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--batch-size", default=32, show_default=True, help="Sentences per batch.")
@_THREADS
@click.option("--backend", default="auto", show_default=True, help=f"Backend that runs a bundle: {_BACKEND_NAMES}.")
@click.option("--calibration", is_flag=True, help="Also report the calibration error of the scores.")
@click.option(
    "--given-entities", is_flag=True, help="Give the entities of DATA to the model, and evaluate the relations alone."
)
@click.option(
    "--protocol",
    type=click.Choice(_PROTOCOLS),
    help="Protocol of the last line. Default: that of the published data set with exactly the model's labels, or own.",
)
@_THRESHOLD
@_ENTITY_THRESHOLD
def evaluate(
    model: str,
    data: Path,
    as_json: bool,
    batch_size: int,
    threads: int | None,
    backend: str,
    calibration: bool,
    given_entities: bool,
    protocol: str | None,
    thresholds: tuple[str, ...],
    entity_thresholds: tuple[str, ...],
) -> None:
    """Report precision, recall and F1 of MODEL on annotated DATA.

    MODEL is a checkpoint, a bundle, or `default`. DATA is a file or folder in any format that `trimf prepare` reads;
    sentences without a dependency parse are parsed. Running text with character offsets is split as for extraction, and
    spans of characters are compared: what the splitting makes impossible counts as missed.
    """
    from trimf_train.evaluation.evaluate import evaluate_by_protocol
    from trimf_train.evaluation.tables import build_tables, describe_comparison

    from .runtime.model_settings import parse_thresholds

    result, used = evaluate_by_protocol(
        model,
        data,
        batch_size,
        threads,
        backend,
        protocol=protocol,
        calibration=calibration,
        given_entities=given_entities,
        threshold=parse_thresholds("--threshold", thresholds),
        entity_threshold=parse_thresholds("--entity-threshold", entity_thresholds),
    )
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode({**result, "protocol": str(used._replace(folds=1))}))
    else:
        print_tables(build_tables(result))
        for line in (*describe_comparison(result), used.format_headline(result)):
            click.echo(line)


@cli.command(short_help="Report in one page whether a model is good, where it errs and what threshold to use.")
@click.argument("model")
@click.argument("data", type=DATA)
@click.option("--compare", "other", metavar="OTHER", help="Another model, to compare with on the same sentences.")
@click.option("--output", type=OUTPUT_FILE, help="HTML page to write, or - for stdout.")
@click.option("--json", "json_output", type=OUTPUT_FILE, help="JSON file to write, or - for stdout.")
@click.option("--resamples", default=1000, show_default=True, help="Bootstrap resamples for the 95 % intervals.")
@click.option("--seed", default=0, show_default=True, help="Seed of the resamples.")
@click.option("--examples", default=20, show_default=True, help="Errors of each kind to show.")
@click.option("--batch-size", default=32, show_default=True, help="Sentences per batch.")
@_THREADS
@click.option("--backend", default="auto", show_default=True, help=f"Backend that runs a bundle: {_BACKEND_NAMES}.")
@click.option("--protocol", type=click.Choice(_PROTOCOLS), help="Protocol. Default: as for `trimf eval`.")
@_THRESHOLD
@_ENTITY_THRESHOLD
def report(
    model: str,
    data: Path,
    other: str | None,
    output: Path | None,
    json_output: Path | None,
    resamples: int,
    seed: int,
    examples: int,
    batch_size: int,
    threads: int | None,
    backend: str,
    protocol: str | None,
    thresholds: tuple[str, ...],
    entity_thresholds: tuple[str, ...],
) -> None:
    """Report in one HTML page whether MODEL is good on annotated sentences DATA.

    MODEL and OTHER are a run folder of `trimf train`, a checkpoint, a bundle, or `default`. DATA is in any format that
    `trimf prepare` reads. The page needs no network; give --output, --json or both.
    """
    from trimf_train.evaluation.report.report_files import ReportFiles, write_report

    files = ReportFiles(output, json_output)
    files.check(data)
    from trimf_train.evaluation.report.build_report import ReportOptions, build_report
    from trimf_train.evaluation.report.model_run import RunOptions
    from trimf_train.evaluation.report.summary import summarize_report

    from .runtime.model_settings import parse_thresholds

    running = RunOptions(
        batch_size,
        threads,
        backend,
        parse_thresholds("--threshold", thresholds),
        parse_thresholds("--entity-threshold", entity_thresholds),
    )
    built = build_report(model, data, other, ReportOptions(resamples, seed, examples, protocol), running)
    write_report(built, files)
    for line in summarize_report(built):
        print_to_stderr(line)


@cli.command(short_help="Calibrate confidence scores by temperature scaling.")
@click.argument("checkpoint", type=FOLDER)
@click.argument("data", type=DATA)
@click.option("--output", type=FOLDER, required=True, help="Checkpoint folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing folder.")
def calibrate(checkpoint: Path, data: Path, output: Path, overwrite: bool) -> None:
    """Calibrate the confidence scores of CHECKPOINT by temperature scaling on held-out annotated sentences DATA.

    The new checkpoint finds the same entities and relations, apart from overlapping spans, where a different span may
    score highest. Scores that DATA is too small to calibrate, or that a temperature does not improve, stay as they are.
    """
    require_extra("train", "torch")
    from trimf_train.training.temperature_scaling import calibrate_folder

    fitted = calibrate_folder(checkpoint, data, output, overwrite=overwrite)
    for name, fit in (("entities", fitted.entities), ("relations", fitted.relations)):
        print_to_stderr(
            f"{name}: not calibrated, temperature 1: {fit.kept}"
            if fit.kept
            else f"{name}: temperature {fit.temperature:.2f} from {fit.scores} scores, calibration error "
            f"{fit.before:.3f} before and {fit.after:.3f} after"
        )


@cli.command(short_help="Export a checkpoint to an ONNX bundle.")
@click.argument("checkpoint", type=FOLDER)
@click.option("--output", type=FOLDER, required=True, help="Bundle folder to write.")
@click.option("--fp16", "precisions", multiple=True, flag_value="fp16", help="Half precision, for GPUs.")
@click.option("--bf16", "precisions", multiple=True, flag_value="bf16", help="bfloat16, for GPUs from sm_80.")
@click.option("--int8", "precisions", multiple=True, flag_value="int8", help="Static int8 quantization, for CPUs.")
@click.option("--int8-qdq", "precisions", multiple=True, flag_value="int8-qdq", help="int8 (QDQ) and fp16, for GPUs.")
@click.option(
    "--calibration-data",
    type=FILE,
    help="Prepared file, or running text with offsets, that sets the activation ranges of --int8, --int8-qdq.",
)
@click.option(
    "--data",
    type=FILE,
    help="Prepared file, or running text with offsets, on which the bundle is compared with PyTorch.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="SM",
    help="Also build a TensorRT-RTX engine for this GPU architecture, such as sm_89. Repeatable; needs no GPU.",
)
@_SHAPES
@_WORKSPACE
@_SEPARATE
@click.option("--explain", is_flag=True, help="Add the attention outputs that `trimf explain` needs.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights, for the model card.")
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@click.option(
    "--accept-difference",
    is_flag=True,
    help="Write the bundle even if it exceeds limits of its precision, and record this in manifest and model card.",
)
@reject_old_name("--engine", "--target")
@reject_old_name("--calibrate", "--calibration-data")
def export(
    checkpoint: Path,
    output: Path,
    precisions: tuple[Precision, ...],
    calibration_data: Path | None,
    data: Path | None,
    targets: tuple[str, ...],
    shapes: tuple[str, ...],
    workspace: int | None,
    separate: bool,
    licence: str,
    explain: bool,
    overwrite: bool,
    accept_difference: bool,
) -> None:
    """Export CHECKPOINT to a bundle of four ONNX subgraphs (fp32 by default) and compare it with PyTorch.

    The export fails if the bundle differs from PyTorch by more than the limits of its precision, unless
    --accept-difference is given. Differences that are near ties of PyTorch are shown and do not fail.
    """
    if len(set(precisions)) > 1:
        raise click.UsageError(f"choose one precision, got --{' and --'.join(precisions)}")
    require_extra("train", "torch")
    require_extra("export", "onnxscript")
    _require_onnxruntime()
    from .export.exporter import export_checkpoint
    from .export.profiles import parse_profile
    from .runtime.output.parity_tables import build_parity_tables

    with show_progress("exporting") as progress:
        manifest = export_checkpoint(
            checkpoint,
            output,
            precision=precisions[0] if precisions else "fp32",
            calibration_data=calibration_data,
            data=data,
            targets=targets,
            profiles=[parse_profile(text) for text in shapes],
            workspace_mb=workspace,
            separate=separate,
            licence=licence,
            explain=explain,
            overwrite=overwrite,
            accept_difference=accept_difference,
            log=print_to_stderr,
            on_report=lambda report: print_tables(*build_parity_tables(report)),
            on_progress=lambda engine, phase, done, steps: progress(f"{engine}: {phase}", done, steps),
        )
    size = sum(file.size for file in manifest.files.values())
    engines = f" with {len(manifest.engines)} engines" if manifest.engines else ""
    print_to_stderr(f"{output}: {manifest.precision} bundle of {size / 1e6:.1f} MB{engines}")


@cli.command(short_help="Explain a prediction.")
@click.argument("model")
@click.argument("text")
@click.option("--html", is_flag=True, help="Write an HTML page instead of JSON.")
@click.option("--output", type=OUTPUT_FILE, help="Output file, or - for stdout. Default: stdout.")
@click.option("--triggers", default=3, show_default=True, help="Maximum number of trigger words per relation.")
def explain(model: str, text: str, html: bool, output: Path | None, triggers: int) -> None:
    """Explain what MODEL finds in TEXT: memory attention, graph weights, dependencies and trigger contributions.

    MODEL is a checkpoint, or a bundle exported with --explain. It runs on the CPU.
    """
    from trimf_train.evaluation.model_loading import open_model

    from .runtime.explain import explain_text
    from .runtime.files.output import open_output
    from .runtime.output.explain_page import render_explanations
    from .runtime.text.parser import load_parser

    if not text.strip():
        raise InputError("TEXT is empty; pass a sentence to explain")
    opened = open_model(model, backend="cpu")
    with closing(opened.pipeline):
        parse = None if opened.pipeline.has_parser else load_parser(opened.parser).parse
        explanation = explain_text(opened.pipeline, opened.labels, text, parse, triggers, opened.language)
    if html:
        page = "".join(render_explanations(explanation))
    else:
        import msgspec

        page = msgspec.json.encode(explanation).decode() + "\n"
    with open_output(output) as stream:
        stream.write(page)


@cli.command("compile", short_help="Build TensorRT engines and add them to a bundle.")
@click.argument("bundle")
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="Library that builds the engines.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="SM",
    help="GPU architecture to build for, such as sm_89. Repeatable; needs --backend tensorrt-rtx. Default: this GPU.",
)
@_SHAPES
@_WORKSPACE
@_SEPARATE
@_COPY
@_OVERWRITE
def compile_(
    bundle: str,
    backend: Builder,
    targets: tuple[str, ...],
    shapes: tuple[str, ...],
    workspace: int | None,
    separate: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Build TensorRT engines of BUNDLE for the GPU of this machine, or for other GPUs, and add them to the bundle.

    Needs no PyTorch. The bundle `default` is part of the package and is not changed; give --output.
    """
    _check_copy_options(output, overwrite)
    from .export.bundle_compiler import compile_bundle
    from .export.profiles import parse_profile

    with show_progress("compiling") as progress:
        engines = compile_bundle(
            bundle,
            backend,
            targets=targets,
            profiles=[parse_profile(text) for text in shapes],
            workspace_mb=workspace,
            separate=separate,
            output=output,
            overwrite=overwrite,
            log=print_to_stderr,
            on_progress=lambda engine, phase, done, steps: progress(f"{engine}: {phase}", done, steps),
        )
    for engine in engines:
        print_to_stderr(f"{engine.file}: {engine.precision}, {engine.builder} {engine.version}")


@cli.command(short_help="Compare a bundle with PyTorch or a reference run.")
@click.argument("bundle")
@click.option(
    "--against", type=FOLDER, metavar="CHECKPOINT", help="Compare with PyTorch. Default: an unoptimized CPU run."
)
@click.option("--data", type=DATA, help="Sentences to compare on, in any format that `trimf prepare` reads.")
@click.option("--backend", "backends", multiple=True, help="Backend to verify. Repeatable. Default: auto.")
@click.option("--batch-size", default=32, show_default=True, help="Sentences per batch.")
@_THREADS
@click.option("--json", "as_json", is_flag=True, help="Print one JSON report per line instead of tables.")
@click.option("--save", is_flag=True, help="Store the report in the bundle, for `trimf inspect`.")
@click.option("--output", type=FOLDER, help="Store the report in a copy of the bundle, in this folder.")
@_OVERWRITE
def verify(
    bundle: str,
    against: Path | None,
    data: Path | None,
    backends: tuple[str, ...],
    batch_size: int,
    threads: int | None,
    as_json: bool,
    save: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Compare the results of BUNDLE on this machine with PyTorch, or with an unoptimized CPU run of its graphs.

    Fails if they differ by more than the limits of the bundle's precision. The bundle `default` is part of the package
    and is not changed; give --output instead of --save.
    """
    _check_copy_options(output, overwrite)
    import msgspec

    from .export.bundle_writer import open_writable_bundle
    from .export.verify import save_report, verify_bundle
    from .runtime.output.parity_tables import build_parity_tables

    failures = []
    stored = save or output is not None
    with open_writable_bundle(bundle, output, overwrite=overwrite) if stored else nullcontext() as folder:
        for backend in backends or ("auto",):
            report = verify_bundle(
                bundle, backend=backend, against=against, data=data, threads=threads, batch_size=batch_size
            )
            if as_json:
                click.echo(msgspec.json.encode(report))
            else:
                print_tables(*build_parity_tables(report))
            if folder is not None:
                save_report(folder, report)
            if report.failure:
                failures.append(f"{report.backend}: {report.failure}")
    if failures:
        raise BundleError("; ".join(failures))


@cli.command(short_help="Extract entities and relations from text.")
@click.argument("texts", nargs=-1, metavar="[TEXT]…")
@click.option("--model", default="default", show_default=True, help="Bundle folder, or `default`.")
@click.option(
    "--input",
    "source",
    type=_FILE_OR_DASH,
    help="UTF-8 file of texts, JSON lines with a field `text`, or a folder of documents; - for stdin.",
)
@click.option(
    "--input-format",
    type=click.Choice(["auto", "lines", "documents", "jsonl"]),
    default="auto",
    show_default=True,
    help="A text per line, per file, or per JSON object. auto: JSON by name or content, documents in a folder.",
)
@click.option("--lines", "input_format", flag_value="lines", help="Short for --input-format lines.")
@click.option("--documents", "input_format", flag_value="documents", help="Short for --input-format documents.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip", "replace"]),
    default="stop",
    show_default=True,
    help="At a text that cannot be read: stop and keep what is done, leave it out, or put an empty result in its place "
    "(for bytes that are not UTF-8: U+FFFD).",
)
@_THRESHOLD
@_ENTITY_THRESHOLD
@click.option("--candidates", is_flag=True, help="Add all that scores above 0.05 to json and jsonl output.")
@_OUTPUT
@_FORMAT
@_FROM_NAME
@_TO_NAME
@_LABELSTUDIO_CONFIG
@click.option(
    "--batch-size",
    default=32,
    show_default=True,
    help="Maximum batch size. Up to 16 batches are read ahead; use 1 for interactive input.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    help="Worker threads that each process whole batches. For a file, use the number of cores.",
)
@click.option(
    "--processes",
    default=1,
    show_default=True,
    help="Processes that each load the model and process whole texts; instead of --workers, where those do not use all "
    "cores.",
)
@click.option(
    "--threads",
    type=int,
    help="Intra-op threads per worker; total threads = threads × workers. Default: all cores, or 1 if workers > 1. "
    "Processes divide them.",
)
@click.option("--backend", default="auto", show_default=True, help=f"Backend: {_BACKEND_NAMES}.")
@click.option("--triggers", default=3, show_default=True, help="Maximum number of trigger words per relation.")
@click.option("--parser", metavar="NAME", help="spaCy pipeline to use instead of the in-model parser.")
@click.option(
    "--sentences",
    type=click.Choice(["auto", "whole"]),
    default="auto",
    show_default=True,
    help="Find sentences by rules, or take each text as one sentence.",
)
@click.option(
    "--newlines",
    type=click.Choice(["auto", "space", "end"]),
    default="auto",
    show_default=True,
    help="A line end within TEXT: the end of a list item, heading or row only; a space; or a sentence end.",
)
@click.option("--syntax", is_flag=True, help="Add the dependency arcs to html, json and jsonl output.")
@click.option("--tree", is_flag=True, help="Like --syntax, as a tree with one root per sentence.")
def extract(
    texts: tuple[str, ...],
    model: str,
    source: Path | None,
    input_format: InputFormat,
    on_error: OnError,
    thresholds: tuple[str, ...],
    entity_thresholds: tuple[str, ...],
    candidates: bool,
    output: Path | None,
    format_: str,
    from_name: str | None,
    to_name: str | None,
    labelstudio_config: Path | None,
    batch_size: int,
    workers: int,
    processes: int,
    threads: int | None,
    backend: str,
    triggers: int,
    parser: str | None,
    sentences: Literal["auto", "whole"],
    newlines: Literal["auto", "space", "end"],
    syntax: bool,
    tree: bool,
) -> None:
    """Extract entities, relations and trigger words from TEXT, or from the texts of a file or folder.

    The other fields of a JSON object, such as an id, are passed on to its result.
    """
    # Set before numpy is imported: the spaCy parser is faster with one thread, and leaves the other cores to the model.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .runtime.extractor import load
    from .runtime.input.record_reader import RecordReader
    from .runtime.model_settings import parse_thresholds
    from .runtime.output.exchange.settings import Losses
    from .runtime.output.extraction_job import write_results
    from .runtime.output.writers import check_destination

    if bool(texts) == (source is not None):
        raise click.UsageError("pass either TEXT or --input FILE (- for stdin)")
    tool = _read_tool_options(format_, output, from_name, to_name, labelstudio_config)
    check_destination(format_, output)
    if source and output and output.is_file() and source.is_file() and output.samefile(source):
        raise InputError(f"--output {output} is the input; choose another file")
    if threads is None and workers > 1:
        threads = 1
    if (syntax or tree) and format_ not in ("html", "json", "jsonl"):
        raise click.UsageError(f"--syntax and --tree cannot be shown as {format_}; use --format html, json or jsonl")
    if candidates and format_ not in ("json", "jsonl"):
        raise click.UsageError(f"--candidates cannot be shown as {format_}; use --format json or jsonl")
    arcs: Any = "tree" if tree else "arcs" if syntax else None
    extractor = load(
        model,
        backend=backend,
        threads=threads,
        triggers=triggers,
        parser=parser,
        syntax=arcs,
        sentences=sentences,
        newlines=newlines,
        threshold=parse_thresholds("--threshold", thresholds),
        entity_threshold=parse_thresholds("--entity-threshold", entity_thresholds),
        candidates=candidates,
    )
    if extractor.parser_note:
        print_to_stderr(f"trimf: {extractor.parser_note}")
    reader = RecordReader(on_error)
    records = reader.read_arguments(texts) if texts else reader.read(source or Path("-"), input_format)
    losses = Losses()
    write_results(extractor, records, format_, output, batch_size, workers, processes, None, tool, losses)
    _print_losses(losses)
    if reader.replaced_keys:
        print_to_stderr(f"trimf: results replace the fields {', '.join(sorted(reader.replaced_keys))} of the input")
    if reader.bad_texts.count:
        done = "left out" if on_error == "skip" else "replaced"
        print_to_stderr(f"trimf: {reader.bad_texts} ({done}, as --on-error {on_error} says)")
    if backend == "auto":
        print_to_stderr(f"backend {extractor.backend}: {extractor.backend_reason}")


@cli.command(short_help="Find the relations between given entities.")
@click.argument("source", type=_FILE_OR_DASH, metavar="FILE")
@click.option("--model", default="default", show_default=True, help="Bundle folder, or `default`.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="NAME=TYPE",
    help="Entity type of the model for a name that FILE uses, such as company=Org. Repeatable.",
)
@click.option(
    "--misaligned",
    type=click.Choice(["error", "snap", "skip"]),
    default="error",
    show_default=True,
    help="Entities that begin or end inside a word: refuse, extend to whole words, or look for no relations of them.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip", "replace"]),
    default="stop",
    show_default=True,
    help="At a record that cannot be used: stop and keep what is done, leave it out, or put an empty result in its "
    "place.",
)
@_THRESHOLD
@_OUTPUT
@_FORMAT
@_FROM_NAME
@_TO_NAME
@_LABELSTUDIO_CONFIG
@click.option("--batch-size", default=32, show_default=True, help="Maximum batch size.")
@click.option("--workers", default=1, show_default=True, help="Worker threads that each process whole batches.")
@click.option("--processes", default=1, show_default=True, help="Processes that each load the model.")
@_THREADS
@click.option("--backend", default="auto", show_default=True, help=f"Backend: {_BACKEND_NAMES}.")
@click.option("--triggers", default=3, show_default=True, help="Maximum number of trigger words per relation.")
def relate(
    source: Path,
    model: str,
    types: tuple[str, ...],
    misaligned: Literal["error", "snap", "skip"],
    on_error: OnError,
    thresholds: tuple[str, ...],
    output: Path | None,
    format_: str,
    from_name: str | None,
    to_name: str | None,
    labelstudio_config: Path | None,
    batch_size: int,
    workers: int,
    processes: int,
    threads: int | None,
    backend: str,
    triggers: int,
) -> None:
    """Find the relations between the entities that FILE gives.

    FILE has JSON lines {"text": …, "entities": [{"start", "end", "label"}, …]} whose indices count characters, as
    annotated data for `trimf prepare` has; relations in it are not read. Use - for stdin. The other fields of an object
    are passed on to its result.
    """
    from .runtime.extractor import load
    from .runtime.input.record_reader import RecordReader
    from .runtime.model_settings import parse_thresholds
    from .runtime.output.exchange.settings import Losses
    from .runtime.output.extraction_job import GivenOptions, write_results
    from .runtime.output.writers import check_destination

    tool = _read_tool_options(format_, output, from_name, to_name, labelstudio_config)
    check_destination(format_, output)
    if output and output.is_file() and source.is_file() and output.samefile(source):
        raise InputError(f"--output {output} is the input; choose another file")
    names = [value.partition("=") for value in types]
    if wrong := [value for value, (name, _, type_) in zip(types, names, strict=True) if not (name and type_)]:
        raise click.UsageError(f"--type takes NAME=TYPE, such as company=Org, got {wrong[0]!r}")
    threads = 1 if threads is None and workers > 1 else threads
    threshold = parse_thresholds("--threshold", thresholds)
    extractor = load(model, backend=backend, threads=threads, triggers=triggers, threshold=threshold)
    reader = RecordReader(on_error, takes_entities=True)
    given = GivenOptions({name: type_ for name, _, type_ in names}, misaligned, on_error, reader.bad_texts)
    records = reader.read(source, "jsonl")
    losses = Losses()
    write_results(extractor, records, format_, output, batch_size, workers, processes, given, tool, losses)
    _print_losses(losses)
    if reader.bad_texts.count:
        done = "left out" if on_error == "skip" else "replaced"
        print_to_stderr(f"trimf: {reader.bad_texts} ({done}, as --on-error {on_error} says)")
    if backend == "auto":
        print_to_stderr(f"backend {extractor.backend}: {extractor.backend_reason}")


@cli.command(short_help="Show what a bundle holds and check its files.")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def inspect(bundle: str, as_json: bool) -> None:
    """Show the labels, sizes, precision, parity report and files of BUNDLE, and check all hashes.

    BUNDLE is a folder, or `default`.
    """
    from .runtime.bundle.reader import Bundle
    from .runtime.output.bundle_tables import build_bundle_tables

    opened = Bundle(bundle)
    for name in opened.manifest.files:
        opened.read(name)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(opened.manifest, order="sorted"))
    else:
        print_tables(build_bundle_tables(opened))


def _read_tool_options(
    format_: str, output: Path | None, from_name: str | None, to_name: str | None, config: Path | None
) -> ToolOptions:
    """Return the options for annotation tools; refuse those of another format."""
    from .runtime.output.extraction_job import ToolOptions

    given = {"--from-name": from_name, "--to-name": to_name, "--labelstudio-config": config}
    for flag, value in given.items():
        if value is not None and format_ != "labelstudio":
            raise click.UsageError(f"{flag} requires --format labelstudio, got --format {format_}")
        if value == "":
            raise click.UsageError(f"{flag} must be a name, got ''")
    if config is not None and str(config) in ("-", str(output)):
        raise click.UsageError(f"--labelstudio-config {config} must be a file of its own")
    return ToolOptions(from_name or "label", to_name or "text", config)


def _print_losses(losses: Losses) -> None:
    """Say on stderr what an output does not hold."""
    for line in losses.describe():
        print_to_stderr(f"trimf: {line}")


def _check_copy_options(output: Path | None, overwrite: bool) -> None:
    """Refuse ``--overwrite`` without ``--output``."""
    if overwrite and output is None:
        raise click.UsageError("--overwrite requires --output FOLDER")


def _require_onnxruntime() -> None:
    """Raise BackendError unless ONNX Runtime can be imported."""
    from .runtime.engine import onnxruntime_library  # noqa: F401


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: command line without the program's name. Default: that of the process.

    Returns:
        Exit status: 0 for success, 2 for bad usage or input, 1 for failure, 130 when interrupted.
    """
    arguments_given = sys.argv[1:] if arguments is None else arguments
    if arguments is None:
        handle_stop_signals()
        for console in (sys.stdout, sys.stderr):  # text degrades instead of failing where the console lacks a character
            if isinstance(console, io.TextIOWrapper) and console.errors == "strict":
                console.reconfigure(errors="replace")
    try:
        _check_working_folder()
        cli.main(arguments_given, prog_name="trimf", standalone_mode=False)
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
        if "--debug" in arguments_given:
            raise
        return _fail(str(error), 2 if isinstance(error, InputError | DataError | ConfigError) else 1)
    except Exception as error:
        if (status := exit_status_of_signal()) is not None:
            return _fail("interrupted", status)
        if "--debug" in arguments_given:
            raise
        if isinstance(error, OSError) and isinstance(error.filename, str):
            return _fail(f"{error.filename}: {error.strerror}", 2)
        return _fail(f"{type(error).__name__}: {error} (run `trimf --debug …` for the traceback)", 1)
    return 0


def _check_working_folder() -> None:
    """Raise InputError if the folder that relative paths start from was removed."""
    try:
        os.getcwd()
    except OSError as error:
        folder = os.environ.get("PWD", "the working folder")
        raise InputError(f"{folder}: the working folder is gone ({error.strerror}); change to another one") from error


def _fail(message: str, status: int) -> int:
    print_to_stderr("trimf: " + " ".join(message.split()))
    return status


if __name__ == "__main__":
    sys.exit(main())

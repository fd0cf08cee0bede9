"""Find entities and relations in text: ``trimf extract``, ``trimf relate`` and ``trimf explain``."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..cli_support import OUTPUT_FILE, print_to_stderr
from ..runtime.errors import InputError
from .options import BACKEND_NAMES, ENTITY_THRESHOLD, THREADS, THRESHOLD, TRIGGERS, TriggersType

if TYPE_CHECKING:
    from ..runtime.input.record_reader import InputFormat
    from ..runtime.load_options import Triggers
    from ..runtime.output.exchange.settings import Losses
    from ..runtime.output.extraction_job import ToolOptions
    from ..runtime.streaming.text_stream import OnError

# The names of runtime.output.writers.FORMATS, whose import would slow every command down.
_WRITERS = ["text", "json", "jsonl", "html", "triples", "triples-csv", "triples-jsonl"]
_WRITERS += ["labelstudio", "doccano", "brat", "spacy"]
_FILE_OR_DASH = click.Path(path_type=Path, allow_dash=True)
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


@click.command(short_help="Extract entities and relations from text.")
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
@THRESHOLD
@ENTITY_THRESHOLD
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
@click.option("--backend", default="auto", show_default=True, help=f"Backend: {BACKEND_NAMES}.")
@TRIGGERS
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
    triggers: Triggers,
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
    from ..runtime.extractor import load
    from ..runtime.input.record_reader import RecordReader
    from ..runtime.model_settings import parse_thresholds
    from ..runtime.output.exchange.settings import Losses
    from ..runtime.output.extraction_job import write_results
    from ..runtime.output.writers import check_destination

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


@click.command(short_help="Find the relations between given entities.")
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
@THRESHOLD
@_OUTPUT
@_FORMAT
@_FROM_NAME
@_TO_NAME
@_LABELSTUDIO_CONFIG
@click.option("--batch-size", default=32, show_default=True, help="Maximum batch size.")
@click.option("--workers", default=1, show_default=True, help="Worker threads that each process whole batches.")
@click.option("--processes", default=1, show_default=True, help="Processes that each load the model.")
@THREADS
@click.option("--backend", default="auto", show_default=True, help=f"Backend: {BACKEND_NAMES}.")
@TRIGGERS
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
    triggers: Triggers,
) -> None:
    """Find the relations between the entities that FILE gives.

    FILE has JSON lines {"text": …, "entities": [{"start", "end", "label"}, …]} whose indices count characters, as
    annotated data for `trimf prepare` has; relations in it are not read. Use - for stdin. The other fields of an object
    are passed on to its result.
    """
    from ..runtime.extractor import load
    from ..runtime.input.record_reader import RecordReader
    from ..runtime.model_settings import parse_thresholds
    from ..runtime.output.exchange.settings import Losses
    from ..runtime.output.extraction_job import GivenOptions, write_results
    from ..runtime.output.writers import check_destination

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


@click.command(short_help="Explain a prediction.")
@click.argument("model")
@click.argument("text")
@click.option("--html", is_flag=True, help="Write an HTML page instead of JSON.")
@click.option("--output", type=OUTPUT_FILE, help="Output file, or - for stdout. Default: stdout.")
@click.option(
    "--triggers",
    type=TriggersType(),
    metavar="N|exact",
    default="exact",
    show_default=True,
    help="exact: every word and phrase that a relation rests on, by leaving them out. N: at most so many words, as the "
    "model estimates them.",
)
def explain(model: str, text: str, html: bool, output: Path | None, triggers: Triggers) -> None:
    """Explain what MODEL finds in TEXT: memory attention, graph weights, dependencies and what relations rest on.

    MODEL is a checkpoint, or a bundle exported with --explain. It runs on the CPU.
    """
    from trimf_train.evaluation.model_loading import open_model

    from ..runtime.explain import explain_text
    from ..runtime.files.output import open_output
    from ..runtime.output.explain_page import render_explanations
    from ..runtime.text.parser import load_parser

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


def _read_tool_options(
    format_: str, output: Path | None, from_name: str | None, to_name: str | None, config: Path | None
) -> ToolOptions:
    """Return the options for annotation tools; refuse those of another format."""
    from ..runtime.output.extraction_job import ToolOptions

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

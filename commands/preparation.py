"""Prepare annotated data for training: ``trimf prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..cli_support import DATA, OUTPUT_FILE

if TYPE_CHECKING:
    pass

# The names of trimf_train.data.formats.registry.FORMATS, whose import would slow every command down.
_READERS = ["offsets", "dygie", "prepared", "spert", "ade", "labelstudio", "doccano", "prodigy", "brat", "spacy"]
_READERS += ["conll", "datasets", "datasets-text"]


@click.command(short_help="Convert annotated data and add dependency parses.")
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

    from ..runtime.text.parser import load_parser

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

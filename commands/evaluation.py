"""Measure and calibrate models: ``trimf eval``, ``trimf report`` and ``trimf calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..cli_support import DATA, FOLDER, OUTPUT_FILE, print_tables, print_to_stderr
from ..runtime.extras import require_extra
from .options import BACKEND_NAMES, ENTITY_THRESHOLD, THREADS, THRESHOLD

if TYPE_CHECKING:
    pass

_PROTOCOLS = ["conll04", "scierc", "ade", "ace05", "own"]


@click.command("eval", short_help="Report precision, recall and F1 on annotated data.")
@click.argument("model")
@click.argument("data", type=DATA)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--batch-size", default=32, show_default=True, help="Sentences per batch.")
@THREADS
@click.option("--backend", default="auto", show_default=True, help=f"Backend that runs a bundle: {BACKEND_NAMES}.")
@click.option("--calibration", is_flag=True, help="Also report the calibration error of the scores.")
@click.option(
    "--given-entities", is_flag=True, help="Give the entities of DATA to the model, and evaluate the relations alone."
)
@click.option(
    "--protocol",
    type=click.Choice(_PROTOCOLS),
    help="Protocol of the last line. Default: that of the published data set with exactly the model's labels, or own.",
)
@THRESHOLD
@ENTITY_THRESHOLD
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

    from ..runtime.model_settings import parse_thresholds

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


@click.command(short_help="Report in one page whether a model is good, where it errs and what threshold to use.")
@click.argument("model")
@click.argument("data", type=DATA)
@click.option("--compare", "other", metavar="OTHER", help="Another model, to compare with on the same sentences.")
@click.option("--output", type=OUTPUT_FILE, help="HTML page to write, or - for stdout.")
@click.option("--json", "json_output", type=OUTPUT_FILE, help="JSON file to write, or - for stdout.")
@click.option("--resamples", default=1000, show_default=True, help="Bootstrap resamples for the 95 % intervals.")
@click.option("--seed", default=0, show_default=True, help="Seed of the resamples.")
@click.option("--examples", default=20, show_default=True, help="Errors of each kind to show.")
@click.option("--batch-size", default=32, show_default=True, help="Sentences per batch.")
@THREADS
@click.option("--backend", default="auto", show_default=True, help=f"Backend that runs a bundle: {BACKEND_NAMES}.")
@click.option("--protocol", type=click.Choice(_PROTOCOLS), help="Protocol. Default: as for `trimf eval`.")
@THRESHOLD
@ENTITY_THRESHOLD
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

    from ..runtime.model_settings import parse_thresholds

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


@click.command(short_help="Calibrate confidence scores by temperature scaling.")
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

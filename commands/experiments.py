"""Reproduce the paper's experiments, and study the triggers of a trained model: ``trimf experiment``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..cli_support import DATA, FILE, FOLDER, print_to_stderr
from ..runtime.extras import require_extra
from .options import BACKEND_NAMES, THREADS

#: Default folder of prepared files, and of runs and reports.
_DATA, _OUTPUT = Path("prepared/conll04"), Path("experiments")


@click.command(short_help="Reproduce a table or figure of the paper, or study a model's triggers.")
@click.argument("name", metavar="NAME")
@click.option(
    "--data",
    type=DATA,
    help=f"Folder of prepared files, or with --model a file of annotated sentences. Default: {_DATA}.",
)
@click.option("--encoder", help="Hugging Face name or folder. Default: the encoder of the recipe.")
@click.option("--seeds", type=int, help="Runs per row. Default: 5; all folds in cross-validation; 1 with --quick.")
@click.option(
    "--output",
    type=FOLDER,
    help=f"Folder for runs and reports. Default: {_OUTPUT}; with --model no files are written.",
)
@click.option(
    "--config", type=FILE, help="Recipe to vary: a TOML file or a packaged name. Default: that of the data set."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the recipe.")
@click.option("--jobs", type=int, help="Parallel runs. Default: one per GPU, or one per core as memory allows.")
@click.option("--quick", is_flag=True, help="Train on a small sample for a few epochs.")
@click.option("--model", help="For triggers: study this checkpoint or bundle, or `default`, instead of training.")
@click.option("--json", "as_json", is_flag=True, help="With --model: print JSON instead of Markdown.")
@click.option("--deleted", type=int, help="With --model: most words left out together. Default: 5; 1 is fastest.")
@click.option("--sentences", type=int, help="With --model: size of a fixed random sample of the sentences.")
@click.option("--gradients", is_flag=True, help="With --model: also measure gradient x input of a checkpoint.")
@click.option("--backend", help=f"With --model: backend that runs a bundle: {BACKEND_NAMES}. Default: auto.")
@THREADS
def experiment(
    name: str,
    data: Path | None,
    output: Path | None,
    model: str | None,
    **options: Any,
) -> None:
    """Reproduce a table or figure of the paper.

    NAME is main (Table 1), modules (Table 2), interaction (Table 3), fusion (Table 4), triggers (Table 5), gradients
    (Table 6), stages (Figure 4), threshold (Figure 5), attention (Figure 6), or recipe (steps beyond the paper's
    recipe, compared on dev).

    Writes NAME.json, NAME.md and NAME.svg (NAME.html for attention) to --output. Experiments share runs there. Run the
    same command again to resume an experiment that was stopped.

    `trimf experiment triggers --model MODEL --data FILE` trains nothing: it compares the triggers of MODEL with leaving
    words out, on all relations that MODEL finds in the sentences of FILE, and prints the report.
    """
    trains = ("encoder", "seeds", "config", "overrides", "jobs", "quick")
    studies = ("as_json", "deleted", "sentences", "gradients", "backend", "threads")
    flags = {"overrides": "--set", "as_json": "--json"}
    for option in studies if model is None else trains:
        if options[option] not in (None, False, ()):
            flag = flags.get(option, f"--{option}")
            raise click.UsageError(
                f"{flag} goes with --model, which is missing"
                if model is None
                else f"either --model or {flag}, not both"
            )
    if model is not None:
        _study_model(name, model, data, output, options)
        return
    if data is not None and data.is_file():
        raise click.UsageError(
            f"--data: {data} is a file; an experiment that trains needs the folder of the prepared files"
        )
    _run_experiment(name, data or _DATA, output or _OUTPUT, options)


def _run_experiment(name: str, data: Path, output: Path, options: dict[str, Any]) -> None:
    """Train the models of an experiment, evaluate them and print the report."""
    require_extra("train", "torch")
    require_extra("bench", "matplotlib", "scipy")
    from trimf_train.configs import find_recipe
    from trimf_train.experiments.run import ExperimentPlan, run_experiment

    encoder, seeds, config, overrides = (options[key] for key in ("encoder", "seeds", "config", "overrides"))
    given = {"--data": data, "--encoder": encoder, "--seeds": seeds, "--output": output, "--config": config}
    command = " ".join(
        [
            "trimf experiment",
            name,
            *(f"{flag} {value}" for flag, value in given.items() if value is not None),
            *(f"--set {override}" for override in overrides),
            *["--quick"] * options["quick"],
        ]
    )
    recipe = find_recipe(config) if config else None
    plan = ExperimentPlan(
        name, data, output, seeds, encoder, recipe, overrides, options["jobs"], options["quick"], command
    )
    run_experiment(plan, print_to_stderr)
    click.echo((output / f"{name}.md").read_text(encoding="utf-8"))


def _study_model(name: str, model: str, data: Path | None, output: Path | None, options: dict[str, Any]) -> None:
    """Study the triggers of a trained model and print the report."""
    if name != "triggers":
        raise click.UsageError(f"--model goes with `trimf experiment triggers`; {name} trains its models")
    if data is None:
        raise click.UsageError("--model needs --data FILE, with the sentences to find relations in")
    require_extra("bench", "matplotlib", "scipy")
    import msgspec

    from trimf_train.experiments.triggers.model_study import (
        RunOptions,
        format_model_study,
        study_model,
        write_model_study,
    )
    from trimf_train.experiments.triggers.study import StudyOptions

    given = {"--model": model, "--data": data, "--output": output}
    given |= {f"--{key}": options[key] for key in ("deleted", "sentences", "backend", "threads")}
    command = " ".join(
        [
            "trimf experiment triggers",
            *(f"{flag} {value}" for flag, value in given.items() if value is not None),
            *["--gradients"] * options["gradients"],
        ]
    )
    deleted = options["deleted"]
    settings = StudyOptions(sentences=options["sentences"])
    settings = settings if deleted is None else settings._replace(max_deleted=deleted)
    running = RunOptions(options["threads"], options["backend"] or "auto", options["gradients"])
    done = study_model(model, data, settings, running, command)
    if output is not None:
        write_model_study(done, output)
    if options["as_json"]:
        click.echo(msgspec.json.encode(done))
    else:
        click.echo(format_model_study(done, None), nl=False)

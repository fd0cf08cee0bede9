"""Train models and teach their trigger sensors: ``trimf train`` and ``trimf triggers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from ..cli_support import DATA, FILE, FOLDER, OUTPUT_FILE, print_to_stderr
from ..runtime.extras import require_extra
from .options import THREADS


@click.command(short_help="Train a model on annotated data.")
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

    with_data: dict[str, object] = {"--dev": dev, "--output": output, "--parser": parser, "--language": language}
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

        from ..runtime.text.parser import load_parser

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


@click.command(short_help="Teach a model's trigger sensor what its relations rest on.")
@click.argument("model")
@click.argument("data", type=DATA, nargs=-1, required=True)
@click.option("--dev", type=DATA, help="Sentences that choose the floor. Default: a fifth of DATA.")
@click.option("--output", type=FOLDER, required=True, help="Folder to write: a checkpoint or a bundle, as MODEL is.")
@click.option("--cache", type=OUTPUT_FILE, help="File that keeps what was measured, so that a stopped run goes on.")
@click.option("--seed", default=0, show_default=True, help="Seed of the training.")
@THREADS
@click.option("--overwrite", is_flag=True, help="Replace an existing folder.")
def triggers(
    model: str,
    data: tuple[Path, ...],
    dev: Path | None,
    output: Path,
    cache: Path | None,
    seed: int,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Teach the trigger sensor of MODEL, a checkpoint or a bundle, what its relations rest on.

    Words are left out of the sentences of DATA one at a time, and the sensor learns by how much each relation's
    probability falls. DATA is in any format that `trimf prepare` reads; its annotation is not used. What MODEL finds
    stays the same. `trimf train` does this at its end.
    """
    require_extra("train", "torch")
    from trimf_train.triggers.taught_models import describe_sensor, teach_checkpoint

    options: dict[str, Any] = {"cache": cache, "seed": seed, "threads": threads, "overwrite": overwrite}
    if model != "default" and (Path(model) / "trimf.json").is_file():
        taught = teach_checkpoint(Path(model), data, dev, output, **options, log=print_to_stderr)
    else:
        from ..export.taught_bundle import teach_bundle

        taught = teach_bundle(model, data, dev, output, **options, log=print_to_stderr)
    print_to_stderr(describe_sensor(taught))

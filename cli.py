"""Run the command line: errors as one line on stderr, tracebacks with ``--debug``."""

from __future__ import annotations

import io
import os
import sys

import click

from . import __version__
from .bench.command import bench
from .cli_support import print_to_stderr
from .commands.bundles import compile_, export, inspect, verify
from .commands.evaluation import calibrate, evaluate, report
from .commands.experiments import experiment
from .commands.extraction import explain, extract, relate
from .commands.preparation import prepare
from .commands.training import train, triggers
from .runtime.errors import ConfigError, DataError, InputError, TrimfError
from .stop_signals import exit_status_of_signal, handle_stop_signals


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trimf")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Find entities, relations and the words that trigger them: train, evaluate, export, extract, benchmark."""


for _command in (
    bench,
    prepare,
    train,
    experiment,
    evaluate,
    report,
    triggers,
    calibrate,
    export,
    compile_,
    verify,
    inspect,
    extract,
    relate,
    explain,
):
    cli.add_command(_command)


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

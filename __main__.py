"""Run the command line: ``trimf`` or ``python -m trimf``."""

from __future__ import annotations

import sys

from .stop_signals import exit_status_of_signal, handle_stop_signals


def run() -> int:
    """Run the command line of this process.

    Returns:
        Exit status.
    """
    handle_stop_signals()  # before the imports below, which take a moment
    try:
        from .cli import main
    except BaseException:
        status = exit_status_of_signal()
        if status is None:
            raise
        print("trimf: interrupted", file=sys.stderr)
        return status
    return main()


if __name__ == "__main__":
    sys.exit(run())

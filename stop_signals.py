"""End a command that is told to stop so that it leaves no half-written file and no child process."""

from __future__ import annotations

import signal
from types import FrameType

#: Signals that ask a process to end; a closed terminal sends SIGHUP, which Windows does not have.
_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

_received: list[int] = []


def handle_stop_signals() -> None:
    """Let signals that ask the process to end unwind the stack, as an interrupt from the keyboard does.

    A signal that the parent process has told this one to ignore, as ``nohup`` does, stays ignored.
    """
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def exit_status_of_signal() -> int | None:
    """Return the exit status of a process that was told to stop; None if it was not.

    An exception that a handler raises inside an import can come out of it as another one, so the caller cannot tell by
    the exception alone.
    """
    return 128 + _received[0] if _received else None


def _stop(number: int, _: FrameType | None) -> None:
    """Unwind the stack at the first signal; later ones must not stop the cleaning up."""
    _received.append(number)
    if len(_received) == 1:
        raise SystemExit(128 + number)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Remember the signal and interrupt as usual."""
    _received.append(number)
    raise KeyboardInterrupt

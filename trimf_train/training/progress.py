"""Show training progress on stderr: one line per epoch and, on a terminal, a progress bar."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from trimf.runtime.output.plain_text import build_plain_text


class TrainingProgress:
    """Progress display with loss, learning rate, latest dev scores and remaining time; a context manager.

    Args:
        shown: Print anything at all; false on all processes except the main one.
        total: Number of batches of the run.
    """

    def __init__(self, shown: bool, total: int) -> None:
        self._console = Console(stderr=True, quiet=not shown)
        text = TextColumn("{task.description}", markup=False)
        self._bar = Bar(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self._console)
        self._task = self._bar.add_task("training", total=total)
        self._dev = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def print_line(self, text: str) -> None:
        """Print one line of plain text above the bar."""
        self._console.print(build_plain_text(text), soft_wrap=True)

    def skip_batches(self, batches: int) -> None:
        """Advance the bar by the batches that a resumed run has already trained on."""
        self._bar.reset(self._task, completed=batches)

    def finish_batch(self, loss: float, rate: float) -> None:
        """Advance the bar by one batch and show its loss and learning rate."""
        self._bar.update(self._task, advance=1, description=f"loss {loss:.4f} lr {rate:.1e}{self._dev}")

    def finish_epoch(self, record: dict[str, Any]) -> None:
        """Print the line of a finished epoch.

        Args:
            record: The epoch's record in ``metrics.jsonl``, with the scores in ``dev`` if there is a development set.
        """
        losses = [
            f"{name.removesuffix('_loss')} loss {value:.4f}" for name, value in record.items() if name.endswith("_loss")
        ]
        line = "  ".join(
            [
                f"epoch {record['epoch']:3d} (stage {record['stage']})",
                *losses,
                f"{record['seconds']:.0f} s",
                f"{record['sentences'] / max(record['seconds'], 0.01):.1f} sentences/s",
            ]
        )
        if dev := record.get("dev"):
            self._dev = f" dev entity {dev['entities']['micro']['f1']:.2f}"
            if (relations := dev["relations"]["strict"])["per_type"]:
                self._dev += f" relation {relations['micro']['f1']:.2f}"
            line += " " + self._dev
            if syntax := dev.get("syntax"):
                line += " uas {uas:.2f} las {las:.2f}".format(**syntax)
        left = self._bar.tasks[0].time_remaining
        self.print_line(line + (f"  {left / 60:.0f} min left" if left else ""))

"""Run the parts of a benchmark. In a quick run a part that fails is recorded, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from ...runtime.errors import BackendError, one_line
from ..report.schema import FailedPart
from .jobs import Job

if TYPE_CHECKING:
    from .gpu_monitor import GpuMonitor
    from .job_process import JobOutcome

Result = TypeVar("Result")

#: Kinds of jobs that can do without the stages and the plain encoder.
_REDUCIBLE = ("check", "latency")


class PartRunner:
    """Runs parts, and remembers those that failed.

    Args:
        goes_on: Whether to go on after a part has failed. Otherwise its error is raised.

    Attributes:
        failures: The parts that failed.
        count: Number of parts that were run.
    """

    def __init__(self, goes_on: bool) -> None:
        self.goes_on = goes_on
        self.failures: list[FailedPart] = []
        self.count = 0

    def attempt(self, part: str, run: Callable[[], Result]) -> Result | None:
        """Run a part.

        Args:
            part: Its name.
            run: Does it.

        Returns:
            What it returns; None if it failed.
        """
        self.count += 1
        try:
            return run()
        except Exception as error:
            if not self.goes_on:
                raise
            self.add_failure(part, error)
            return None

    def run_job(self, job: Job, answer: type[object], gpu: GpuMonitor | None) -> JobOutcome | None:
        """Run a job in a separate process.

        A latency case or a check that fails is tried once more without the stages and the plain encoder, so that one of
        them does not cost the rest.

        Args:
            job: The job.
            answer: Type of its answer.
            gpu: GPU to monitor meanwhile.

        Returns:
            The outcome; None if the job failed.
        """
        from . import job_process as process

        outcome = self.attempt(job.name, lambda: process.run_job(job, answer, gpu))
        if outcome is not None or job.kind not in _REDUCIBLE:
            return outcome
        try:
            outcome = process.run_job(replace(job, whole_only=True), answer, gpu)
        except Exception:
            return None
        self.failures[-1] = replace(self.failures[-1], part=f"{job.name}, stages and plain encoder")
        return outcome

    def add_failure(self, part: str, error: BaseException | str) -> None:
        """Record that a part failed.

        Args:
            part: Its name.
            error: The error, or what is wrong.
        """
        reason = error if isinstance(error, str) else one_line(error) or type(error).__name__
        self.failures.append(FailedPart(part=part, reason=reason.removeprefix(f"{part}: ")))

    def build_error(self) -> BackendError | None:
        """Return an error that names the parts that failed; None if there are none."""
        if not self.failures:
            return None
        names = ", ".join(failed.part for failed in self.failures)
        return BackendError(f"{len(self.failures)} of {self.count} parts failed: {names}")

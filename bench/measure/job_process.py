"""Run a job in a fresh process, with a fixed number of threads, and monitor the process from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from typing import Any, NamedTuple

import msgspec

from ...runtime.engine.profiling import list_profiling_variables
from ...runtime.errors import BackendError
from ..report.schema import Memory, Power
from .gpu_monitor import GpuMonitor
from .jobs import MARK_PREFIX, Job
from .sampler import ProcessSampler

#: Environment variables that limit the threads of libraries.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")

#: Number of stderr lines that are kept.
_MAX_STDERR_LINES = 50


class JobOutcome(NamedTuple):
    """Result of a job.

    Attributes:
        answer: Answer of the job.
        memory: Peak memory of its process.
        power: State of the GPU while it measured; None without a GPU.
    """

    answer: Any
    memory: Memory
    power: Power | None


def run_job(job: Job, answer: type[Any], gpu: GpuMonitor | None = None) -> JobOutcome:
    """Run a job in a separate process.

    Args:
        job: The job.
        answer: Type of its answer.
        gpu: GPU to monitor meanwhile.

    Returns:
        The answer, and the memory and power that were observed.

    Raises:
        BackendError: The job failed; the message is the last line of its stderr.
    """
    variables = dict.fromkeys(_THREAD_VARIABLES, str(job.threads)) | {"TOKENIZERS_PARALLELISM": "false"}
    if job.kind == "profile":
        variables |= list_profiling_variables(job.backend)
    process = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | variables,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    messages: deque[str] = deque(maxlen=_MAX_STDERR_LINES)
    try:
        with ProcessSampler(process.pid, gpu) as sampler:
            listener = threading.Thread(target=_read_stderr, args=(process.stderr, sampler, messages), daemon=True)
            listener.start()
            try:
                process.stdin.write(msgspec.json.encode(job))
                process.stdin.close()
            except BrokenPipeError:  # the process ended at once; its stderr says why
                pass
            output = process.stdout.read()
            status = process.wait()
            listener.join()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
    if status:
        reason = messages[-1] if messages and status > 0 else f"the benchmark process exited with status {status}"
        raise BackendError(f"{job.name}: {reason}")
    return JobOutcome(msgspec.json.decode(output, type=answer), sampler.memory, sampler.power)


def _read_stderr(stream: Any, sampler: ProcessSampler, messages: deque[str]) -> None:
    """Pass marks on to the sampler and keep the other lines."""
    for raw in stream:
        line = raw.decode(errors="replace").strip()
        if line.startswith(MARK_PREFIX):
            sampler.record_mark(line.removeprefix(MARK_PREFIX))
        elif line:
            messages.append(line)

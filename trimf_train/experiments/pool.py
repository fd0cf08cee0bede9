"""Execute training runs in parallel processes, as many as cores, memory or GPUs allow.

After an interruption, finished runs are kept and unfinished runs continue from their last epoch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

import msgspec
import psutil
import torch
from transformers import AutoConfig, AutoModel

from trimf.runtime.engine.cpu_info import count_available_cores
from trimf.runtime.errors import BackendError, ConfigError
from trimf_train.experiments.cells import GridCell
from trimf_train.experiments.worker import Job
from trimf_train.model.encoder import resolve_encoder

#: Estimated memory in bytes of a process without a model, and of each parameter: 16 bytes for weight, gradient and
#: two optimizer moments, and the same again for activations and the copy from which a checkpoint is written.
_PROCESS, _PARAMETER = 1_200_000_000, 32


def count_parallel_runs(encoder: str, requested: int | None = None) -> int:
    """Return how many runs to execute in parallel.

    Args:
        encoder: The configured name of the encoder, from whose size the memory of a run is estimated.
        requested: The number requested by the user; None for one run per GPU or, without GPU, one run per core as far
            as memory allows.

    Returns:
        The number of parallel runs, at least 1.

    Raises:
        ConfigError: ``requested`` is less than 1.
    """
    if requested is not None:
        if requested < 1:
            raise ConfigError(f"--jobs must be >= 1, got {requested}")
        return requested
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(resolve_encoder(encoder), trust_remote_code=False))
    bytes_per_run = _PROCESS + _PARAMETER * sum(parameter.numel() for parameter in model.parameters())
    return max(1, min(count_available_cores(), int(psutil.virtual_memory().available // bytes_per_run)))


def run_cells(cells: Sequence[GridCell], count: int, command: str, done: Callable[[GridCell], None]) -> None:
    """Execute the unfinished runs in parallel processes.

    A run starts as soon as the runs it needs are finished; these must be among ``cells`` unless they are finished
    already.

    Args:
        cells: The runs; finished and repeated runs are skipped.
        count: Maximum number of parallel runs.
        command: The command that is recorded as the origin of the checkpoints.
        done: Called with each run when it is finished.

    Raises:
        BackendError: A run failed. The other running processes are stopped; they continue from their last epoch next
            time.
    """
    todo = {cell.folder: cell for cell in cells if cell.result is None}
    count = max(1, min(count, len(todo)))
    gpus: SimpleQueue[int] = SimpleQueue()
    for index in range(count):
        gpus.put(index)
    threads = max(1, count_available_cores() // count)
    alive: set[subprocess.Popen[bytes]] = set()
    stopping = threading.Event()

    def execute_cell(cell: GridCell) -> None:
        slot = gpus.get()
        try:
            if not stopping.is_set():
                _run_process(cell, slot, threads, command, alive, stopping)
                done(cell)
        finally:
            gpus.put(slot)

    running: set[Future[None]] = set()
    with ThreadPoolExecutor(count) as pool:
        try:
            while todo or running:
                for ready in [cell for cell in todo.values() if all(need.result for need in cell.dependencies)]:
                    running.add(pool.submit(execute_cell, todo.pop(ready.folder)))
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
        finally:
            stopping.set()
            for process in list(alive):
                process.terminate()


def _run_process(
    cell: GridCell,
    slot: int,
    threads: int,
    command: str,
    alive: set[subprocess.Popen[bytes]],
    stopping: threading.Event,
) -> None:
    """Execute a run in a child process; ``alive`` lists the running processes, ``slot`` selects the GPU."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if torch.cuda.is_available():
        named = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
        visible = named or [str(index) for index in range(torch.cuda.device_count())]
        environment["CUDA_VISIBLE_DEVICES"] = visible[slot % len(visible)]
    process = subprocess.Popen(
        [sys.executable, "-m", "trimf_train.experiments.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    alive.add(process)
    if stopping.is_set():  # the processes in `alive` may have been stopped before this one was added
        process.terminate()
    try:
        _, stderr = process.communicate(msgspec.json.encode(Job(cell.config, cell.test, command)))
    finally:
        alive.discard(process)
    if process.returncode:
        lines = stderr.decode(errors="replace").strip().splitlines()
        raise BackendError(
            f"run failed: {cell.row}, seed {cell.seed}, in {cell.folder}: "
            f"{lines[-1] if lines else f'the process exited with status {process.returncode}'}"
        )

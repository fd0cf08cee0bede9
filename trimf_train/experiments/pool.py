"""Runs in parallel processes, as many as cores, memory or GPUs allow; what was done stays done when it is stopped."""

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

from trimf.runtime.cores import available_cores
from trimf.runtime.errors import BackendError, ConfigError
from trimf_train.experiments.cells import Cell
from trimf_train.experiments.worker import Job
from trimf_train.model.encoder import locate

#: Bytes that a process takes before it has a model, and for each parameter: weights, gradients, two moments, and as
#: much again for what a batch keeps and for the copy that a checkpoint is written from.
_PROCESS, _PARAMETER = 1_200_000_000, 32


def jobs(encoder: str, wanted: int | None = None) -> int:
    """How many runs to do at once: one a GPU, else one a core as far as memory goes.

    Raises:
        ConfigError: ``wanted`` is not positive.
    """
    if wanted is not None:
        if wanted < 1:
            raise ConfigError(f"--jobs {wanted}, but at least 1 is needed")
        return wanted
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(locate(encoder), trust_remote_code=False))
    each = _PROCESS + _PARAMETER * sum(parameter.numel() for parameter in model.parameters())
    return max(1, min(available_cores(), psutil.virtual_memory().available // each))


def run(cells: Sequence[Cell], count: int, command: str, done: Callable[[Cell], None]) -> None:
    """Train and score the cells that are not yet, ``count`` at a time, each as soon as those that it needs, which are
    among them, have been; ``done`` is called for each as it ends.

    Raises:
        BackendError: a run failed; those that are under way are stopped, and go on from their last epoch next time.
    """
    todo = {cell.folder: cell for cell in cells if cell.result is None}
    count = max(1, min(count, len(todo)))
    gpus: SimpleQueue[int] = SimpleQueue()
    for number in range(count):
        gpus.put(number)
    threads = max(1, available_cores() // count)
    alive: set[subprocess.Popen[bytes]] = set()
    stopping = threading.Event()

    def one(cell: Cell) -> None:
        slot = gpus.get()
        try:
            if not stopping.is_set():
                _process(cell, slot, threads, command, alive, stopping)
                done(cell)
        finally:
            gpus.put(slot)

    running: set[Future[None]] = set()
    with ThreadPoolExecutor(count) as pool:
        try:
            while todo or running:
                for cell in [each for each in todo.values() if all(need.result for need in each.needs)]:
                    running.add(pool.submit(one, todo.pop(cell.folder)))
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
        finally:
            stopping.set()
            for process in list(alive):
                process.terminate()


def _process(
    cell: Cell, slot: int, threads: int, command: str, alive: set[subprocess.Popen[bytes]], stopping: threading.Event
) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[slot] if any(visible) else str(slot % torch.cuda.device_count())
    process = subprocess.Popen(
        [sys.executable, "-m", "trimf_train.experiments.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    alive.add(process)
    if stopping.is_set():  # since it was begun, and those alive were ended before it was among them
        process.terminate()
    try:
        _, said = process.communicate(msgspec.json.encode(Job(cell.config, cell.test, command)))
    finally:
        alive.discard(process)
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise BackendError(
            f"{cell.row}, seed {cell.seed}, in {cell.folder}: "
            f"{lines[-1] if lines else f'its process ended with status {process.returncode}'}"
        )

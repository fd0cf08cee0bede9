"""A job in a fresh process: the threads it may use are fixed before it starts, and it is watched while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..runtime.errors import BackendError
from .nvml import Gpu
from .sampler import Sampler
from .schema import Memory, Power
from .spec import MARK, Spec

T = TypeVar("T")

#: What libraries read to know how many threads they may start.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")

#: Lines of stderr that are kept.
_KEPT = 50


class Outcome(NamedTuple):
    """What a job answered, and what was seen of its process."""

    answer: Any
    memory: Memory
    power: Power | None


def run(spec: Spec, answer: type[Any], gpu: Gpu | None = None) -> Outcome:
    """Do a job in a process of its own and read its answer as the type ``answer``.

    Raises:
        BackendError: it failed; the message is the last line of its stderr.
    """
    threads = dict.fromkeys(_THREADS, str(spec.threads)) | {"TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | threads,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said: deque[str] = deque(maxlen=_KEPT)
    try:
        with Sampler(process.pid, gpu) as sampler:
            listener = threading.Thread(target=_listen, args=(process.stderr, sampler, said), daemon=True)
            listener.start()
            try:
                process.stdin.write(msgspec.json.encode(spec))
                process.stdin.close()
            except BrokenPipeError:  # it died at once, and stderr says why
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
        reason = said[-1] if said and status > 0 else f"its process ended with status {status}"
        raise BackendError(f"{spec.name}: {reason}")
    return Outcome(msgspec.json.decode(output, type=answer), sampler.memory, sampler.power)


def _listen(stream: Any, sampler: Sampler, said: deque[str]) -> None:
    for raw in stream:
        line = raw.decode(errors="replace").strip()
        if line.startswith(MARK):
            sampler.mark(line.removeprefix(MARK))
        elif line:
            said.append(line)

"""Sample the memory, power and clocks of a child process from outside."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Self

import psutil

from ..report.schema import Memory, Power
from .gpu_monitor import GpuMonitor

#: Seconds between two samples of the host memory.
SAMPLE_SECONDS = 0.02
#: Samples of the host memory for each query of the GPU.
SAMPLES_PER_GPU_QUERY = 5


class ProcessSampler:
    """Samples a process in a background thread while the ``with`` block runs.

    Pass what the process reports about itself to ``record_mark``.
    """

    def __init__(self, pid: int, gpu: GpuMonitor | None) -> None:
        """Prepare sampling.

        Args:
            pid: Id of the process.
            gpu: GPU to query; None for host memory only.
        """
        self._gpu = gpu
        self._processes = [psutil.Process(pid)]
        self._stop = threading.Event()
        self._measuring = False
        self._peak_host = 0.0
        self._growth: list[tuple[int, float]] = []
        self._device: list[float] = []
        self._device_before = gpu.used_memory_mb() if gpu else 0.0
        self._clocks: list[float] = []
        self._watts: list[float] = []
        self._throttled: set[str] = set()
        self._joules: list[float] = []
        self._times: list[float] = []
        self._thread = threading.Thread(target=self._sample_process, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def record_mark(self, word: str) -> None:
        """Record what the process reports.

        Args:
            word: "start" or "stop" of the measurement, or the number of sentences done so far.
        """
        if word in ("start", "stop"):
            self._measuring = word == "start"
            self._times.append(time.perf_counter())
            if self._gpu and (joules := self._gpu.joules()) is not None:
                self._joules.append(joules)
            if word == "start":
                self._find_children()
                self._query_gpu()
        elif word.isdigit():
            self._growth.append((int(word), self._sample_host_memory()))

    @property
    def memory(self) -> Memory:
        """Peak memory so far, and its growth."""
        return Memory(
            host=self._peak_host,
            device=max(self._device, default=None) if self._gpu else None,
            growth=tuple(self._growth),
        )

    @property
    def power(self) -> Power | None:
        """State of the GPU between "start" and "stop"; None without a GPU that reports its clock and power draw."""
        if not self._clocks or not self._watts:
            return None
        watts = sum(self._watts) / len(self._watts)
        counted = len(self._joules) == 2 and self._joules[1] > self._joules[0]
        joules = self._joules[1] - self._joules[0] if counted else watts * (self._times[-1] - self._times[0])
        return Power(
            clock_mhz=sum(self._clocks) / len(self._clocks),
            lowest_clock_mhz=min(self._clocks),
            watts=watts,
            joules=joules,
            throttled=tuple(sorted(self._throttled)),
        )

    def _sample_process(self) -> None:
        samples = 0
        while not self._stop.is_set():
            self._sample_host_memory()
            if self._gpu and samples % SAMPLES_PER_GPU_QUERY == 0:
                used = self._sample_device_memory(self._gpu)
                self._device.append(
                    max(0.0, self._gpu.used_memory_mb() - self._device_before) if used is None else used
                )
                if self._measuring:
                    self._query_gpu()
            samples += 1
            self._stop.wait(SAMPLE_SECONDS)

    def _sample_device_memory(self, gpu: GpuMonitor) -> float | None:
        """Return the device memory of the processes in MB; None if NVML cannot tell processes apart."""
        used = [gpu.used_memory_of(process.pid) for process in self._processes]
        known = [megabytes for megabytes in used if megabytes is not None]
        return sum(known) if known else None

    def _query_gpu(self) -> None:
        if self._gpu is None:
            return
        for values, value in ((self._clocks, self._gpu.clock_mhz()), (self._watts, self._gpu.watts())):
            if value is not None:
                values.append(value)
        self._throttled |= self._gpu.throttle_reasons()

    def _sample_host_memory(self) -> float:
        """Return the resident memory in MB, and update the peak; 0 after the process has ended."""
        resident = 0.0
        for process in self._processes:
            with suppress(psutil.Error):
                resident += process.memory_info().rss / 1e6
        self._peak_host = max(self._peak_host, resident)
        return resident

    def _find_children(self) -> None:
        """Sample the processes that the process has started, too."""
        with suppress(psutil.Error):
            self._processes = [self._processes[0], *self._processes[0].children(recursive=True)]

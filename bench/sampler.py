"""Memory, power and clocks of a child process, looked at from outside of it."""

from __future__ import annotations

import threading
import time
from typing import Self

import psutil

from .nvml import Gpu
from .schema import Memory, Power

#: Seconds between two looks at the memory, and looks between two questions to the GPU.
PERIOD = 0.02
GPU_EVERY = 5


class Sampler:
    """Watches a process while the block runs; :meth:`mark` takes what the process says of itself."""

    def __init__(self, pid: int, gpu: Gpu | None) -> None:
        self._pid, self._gpu = pid, gpu
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._measuring = False
        self._host = 0.0
        self._growth: list[tuple[int, float]] = []
        self._device: list[float] = []
        self._before = gpu.used() if gpu else 0.0
        self._clocks: list[float] = []
        self._watts: list[float] = []
        self._slowed: set[str] = set()
        self._joules: list[float] = []
        self._times: list[float] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def mark(self, word: str) -> None:
        """The process has begun measuring ("start"), ended it ("stop"), or done so many sentences (a number)."""
        if word in ("start", "stop"):
            self._measuring = word == "start"
            self._times.append(time.perf_counter())
            if self._gpu and (joules := self._gpu.joules()) is not None:
                self._joules.append(joules)
            if word == "start":
                self._ask()
        elif word.isdigit():
            self._growth.append((int(word), self._resident()))

    @property
    def memory(self) -> Memory:
        """The most that was seen."""
        return Memory(
            host=self._host, device=max(self._device, default=None) if self._gpu else None, growth=tuple(self._growth)
        )

    @property
    def power(self) -> Power | None:
        """Of the GPU between "start" and "stop"; None without one, or where it tells neither clocks nor watts."""
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
            throttled=tuple(sorted(self._slowed)),
        )

    def _watch(self) -> None:
        looks = 0
        while not self._stop.is_set():
            self._resident()
            if self._gpu and looks % GPU_EVERY == 0:
                own = self._gpu.used_by(self._pid)
                self._device.append(max(0.0, self._gpu.used() - self._before) if own is None else own)
                if self._measuring:
                    self._ask()
            looks += 1
            self._stop.wait(PERIOD)

    def _ask(self) -> None:
        if self._gpu is None:
            return
        for values, value in ((self._clocks, self._gpu.clock()), (self._watts, self._gpu.watts())):
            if value is not None:
                values.append(value)
        self._slowed |= self._gpu.slowed()

    def _resident(self) -> float:
        """MB of host memory now; that of a process that has ended is not looked at."""
        try:
            resident = self._process.memory_info().rss / 1e6
        except psutil.Error:
            return 0.0
        self._host = max(self._host, resident)
        return float(resident)

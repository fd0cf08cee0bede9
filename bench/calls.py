"""Latency: one batch after another through the pipeline, as a whole and by stage, and through the plain encoder."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from ..runtime.parser import Parser
from ..runtime.pipeline import ParsedSentence, Pipeline
from . import device
from .engines import Opened, Run

#: Batches run before the clock counts, and on a GPU the seconds that every batch may take to be run twice: each shape
#: is compiled or captured there when it is first met.
WARM_UP = 10
LONGEST_WARM_UP = 60.0


class Watch:
    """What the subgraphs of an instrumented call did, by the clock; a call begins with :meth:`clear`."""

    def __init__(self, opened: Opened) -> None:
        self._wait = opened.wait
        self.runs: list[tuple[str, float, float]] = []
        self.copies: list[device.Event] = []
        self.encoded: list[dict[str, Any]] = []
        self.owner: dict[str, str] = {}
        self.names = list(opened.pipeline.graphs)
        self.pipeline: Pipeline = copy.copy(opened.pipeline)
        self.pipeline.graphs = {name: _Watched(self, name, graph) for name, graph in opened.pipeline.graphs.items()}

    def clear(self) -> None:
        """Forget the call before."""
        self.runs.clear()
        self.copies.clear()
        self.encoded.clear()

    def run(self, name: str, graph: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Run a subgraph, wait until it is done, and remember."""
        if "attention_mask" in graph.inputs:
            self.encoded.append({one: arrays[one] for one in graph.inputs})
        started = time.perf_counter()
        outputs: dict[str, Any] = graph.run(arrays)
        self._wait(graph)
        self.runs.append((name, started, time.perf_counter()))
        self.owner.update(dict.fromkeys(outputs, name))
        return outputs

    def split(self, started: float, ended: float) -> dict[str, float]:
        """Milliseconds of each stage of the call that lasted so long; they add up to it."""
        times: dict[str, float] = defaultdict(float, dict.fromkeys(self.names, 0.0))
        for name, start, end in self.runs:
            times[name] += end - start
        for event in self.copies:
            during = next((name for name, start, end in self.runs if start <= event.start < end), None)
            owner = during or self.owner.get(event.name, "decode")
            times[f"{owner} {event.way}"] += event.end - event.start
            if during:
                times[during] -= event.end - event.start
        words = (self.runs[0][1] if self.runs else ended) - started
        rest = ended - started - words - sum(times.values())
        whole = {"words": words, **times, "decode": rest}
        return {name: 1000 * value for name, value in whole.items()}


class _Watched:
    """A subgraph whose runs are watched."""

    def __init__(self, watch: Watch, name: str, graph: Any) -> None:
        self._watch, self._name, self._graph = watch, name, graph

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Run the subgraph, watched."""
        return self._watch.run(self._name, self._graph, arrays)


class Loop:
    """Runs batches and keeps a sample of every stage of each.

    The stages of a batch come from neighbouring calls, which take turns in who is first: the whole call, the
    instrumented call that is split into stages, the plain encoder on the same arrays; then the parse of the same words,
    where there is a parser, and the splitting of the same text into words, where there are texts.
    """

    def __init__(
        self,
        opened: Opened,
        plain: Run,
        sentences: Sequence[ParsedSentence],
        batch_size: int,
        parser: Parser | None = None,
        texts: Sequence[str] = (),
        *,
        split: bool = True,
    ) -> None:
        self._opened, self._plain, self._parser = opened, plain, parser
        self._sentences, self._texts, self._size, self._split = sentences, texts, batch_size, split
        self._watch = Watch(opened)
        self.samples: dict[str, list[float]] = {}
        self.sizes: list[tuple[int, int]] = []
        self.real = self.padded = 0

    def batches(self) -> Iterator[list[int]]:
        """Numbers of sentences, as many as a batch has, in order and over again without end."""
        for number in count():
            yield [(number * self._size + place) % len(self._sentences) for place in range(self._size)]

    def distinct(self) -> int:
        """After so many batches they begin again."""
        return int(np.lcm(len(self._sentences), self._size)) // self._size

    def warm_up(self) -> float:
        """Run what does not count; milliseconds of the first whole call (or of compiling, where that is done)."""
        batches = self.batches()
        started = time.perf_counter()
        self._whole(next(batches))
        first = time.perf_counter() - started
        if not self._opened.warm():
            first = self._compile(started)
        ends = time.perf_counter() + LONGEST_WARM_UP
        turns = WARM_UP if self._opened.backend == "cpu" else max(WARM_UP, 2 * self.distinct())
        for turn in range(turns):
            self._turn(turn, next(batches))
            if turn >= WARM_UP and time.perf_counter() > ends:
                break
        self.samples, self.sizes, self.real, self.padded = {}, [], 0, 0
        return 1000 * first

    def _compile(self, started: float) -> float:
        """Until a pass over all batches compiles nothing."""
        while True:
            for turn, batch in zip(range(self.distinct()), self.batches(), strict=False):
                self._turn(turn, batch)
            ended = time.perf_counter()
            if self._opened.warm():
                return ended - started

    def measure(self, seconds: float) -> float:
        """Take samples for so long; at least of one batch. Seconds that it took."""
        started = time.perf_counter()
        for turn, batch in enumerate(self.batches()):
            self._turn(turn, batch)
            taken = time.perf_counter() - started
            if taken >= seconds:
                break
        return taken

    def _turn(self, turn: int, batch: list[int]) -> None:
        steps: list[Callable[[list[int]], dict[str, float]]] = [self._whole, self._instrumented]
        if turn % 2:
            steps.reverse()
        if self._parser:
            steps.append(self._parse)
        if self._texts:
            steps.append(self._text)
        times: dict[str, float] = {}
        for step in steps:
            times |= step(batch)
        for stage, value in times.items():
            # A copy that only some batches need took no time in the others.
            self.samples.setdefault(stage, [0.0] * len(self.sizes)).append(value)
        self.sizes.append((len(batch), sum(len(self._sentences[number].words) for number in batch)))
        for values in self.samples.values():
            values.extend([0.0] * (len(self.sizes) - len(values)))

    def _whole(self, batch: list[int]) -> dict[str, float]:
        given = [self._sentences[number] for number in batch]
        started = time.perf_counter()
        self._opened.pipeline.run(given, self._size)
        return {"whole": 1000 * (time.perf_counter() - started)}

    def _instrumented(self, batch: list[int]) -> dict[str, float]:
        given, watch = [self._sentences[number] for number in batch], self._watch
        watch.clear()
        with device.copies(watch.copies):
            started = time.perf_counter()
            watch.pipeline.run(given, self._size)
            ended = time.perf_counter()
        times = watch.split(started, ended) if self._split else {}
        for arrays in watch.encoded:
            self.padded += arrays["attention_mask"].size
            self.real += int(arrays["attention_mask"].sum())
        started = time.perf_counter()
        for arrays in watch.encoded:
            self._plain(arrays)
        return times | {"plain encoder": 1000 * (time.perf_counter() - started)}

    def _parse(self, batch: list[int]) -> dict[str, float]:
        assert self._parser is not None
        words = [self._sentences[number].words for number in batch]
        started = time.perf_counter()
        self._parser.parse(words)
        return {"parse": 1000 * (time.perf_counter() - started)}

    def _text(self, batch: list[int]) -> dict[str, float]:
        from ..runtime.text import split

        started = time.perf_counter()
        for number in batch:
            split(self._texts[number])
        return {"split": 1000 * (time.perf_counter() - started)}

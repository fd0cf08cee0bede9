"""Milliseconds a sentence at batch 1: the parse, each subgraph, the rest, and the encoder alone in the same run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table

from ..runtime.backend import SUBGRAPHS, Subgraph, open_backend
from ..runtime.bundle import Bundle, open_pipeline
from ..runtime.errors import InputError
from ..runtime.files import read_file
from ..runtime.parser import load_parser
from ..runtime.pipeline import ParsedSentence, Pipeline
from ..runtime.text import split

#: Sentences run before the clock counts.
WARM_UP = 10


class _Timed:
    """A subgraph that adds up the time of its runs and remembers what it was last given."""

    def __init__(self, graph: Subgraph) -> None:
        self.inputs, self.outputs, self.types, self._graph = graph.inputs, graph.outputs, graph.types, graph
        self.milliseconds = 0.0
        self.last: Mapping[str, Any] = {}

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Run the subgraph, by the clock."""
        started = time.perf_counter()
        outputs = self._graph.run(arrays)
        self.milliseconds += 1000 * (time.perf_counter() - started)
        self.last = {name: arrays[name] for name in self.inputs}
        return outputs

    def close(self) -> None:
        """Close the subgraph."""
        self._graph.close()


def measure(model: str, data: Path, threads: int, seconds: float) -> dict[str, Any]:
    """Extract from the sentences of ``data`` (UTF-8 text), one at a time and over again, for ``seconds``.

    Returns milliseconds: ``load``, ``first`` sentence, and ``samples`` of every sentence by stage, in the order run,
    with the median ``ratio`` of extraction without parse to the encoder alone, which runs on the same arrays in turn.

    Raises:
        InputError: ``seconds`` is not positive, or the file cannot be read or holds no sentence.
    """
    if seconds <= 0:
        raise InputError(f"seconds = {seconds}, but a positive number is needed")
    sentences = [sentence.words for line in read_file(data) for sentence in split(line)]
    if not sentences:
        raise InputError(f"{data}: holds no sentence")
    bundle = Bundle(model)
    parser = load_parser(bundle.manifest.parser.name)
    started = time.perf_counter()
    opened = open_pipeline(bundle, open_backend("auto", threads, bundle))
    load = 1000 * (time.perf_counter() - started)
    graphs = {name: _Timed(graph) for name, graph in opened.graphs.items()}
    pipeline = Pipeline(graphs, opened.tokenizer, opened.settings)

    samples: dict[str, list[float]] = {stage: [] for stage in ("parse", *SUBGRAPHS, "rest", "encoder alone")}
    first, ends = 0.0, 0.0
    for number, words in enumerate(cycle(sentences)):
        if number == WARM_UP:
            ends = time.perf_counter() + seconds
        elif number > WARM_UP and time.perf_counter() > ends:
            break
        times = _one(words, parser, pipeline, graphs)
        if number == 0:
            first = sum(value for stage, value in times.items() if stage != "encoder alone")
        if number >= WARM_UP:
            for stage, value in times.items():
                samples[stage].append(value)
    extraction = np.sum([samples[stage] for stage in (*SUBGRAPHS, "rest")], 0)
    return {
        "model": str(bundle.path.name),
        "precision": bundle.manifest.precision,
        "threads": threads,
        "load": load,
        "first": first,
        "ratio": float(np.median(extraction / samples["encoder alone"])),
        "samples": samples,
    }


def _one(words: list[str], parser: Any, pipeline: Pipeline, graphs: Mapping[str, _Timed]) -> dict[str, float]:
    for graph in graphs.values():
        graph.milliseconds = 0.0
    started = time.perf_counter()
    (parse,) = parser.parse([words])
    parsed = time.perf_counter()
    pipeline.run([ParsedSentence(words, *parse)], 1)
    total = 1000 * (time.perf_counter() - parsed)
    times = {name: graph.milliseconds for name, graph in graphs.items()}
    times |= {"parse": 1000 * (parsed - started), "rest": total - sum(times.values())}
    encoder = graphs["encoder"]
    encoder.milliseconds = 0.0
    encoder.run(encoder.last)
    return times | {"encoder alone": encoder.milliseconds}


def table(result: Mapping[str, Any]) -> Group:
    """The result for people: percentiles of each stage."""
    samples = result["samples"]
    count = len(samples["parse"])
    title = (
        f"{result['model']} ({result['precision']}), {result['threads']} thread(s), batch 1, n = {count}, "
        f"load {result['load']:.0f} ms, first sentence {result['first']:.0f} ms"
    )
    shown = Table("stage", "p50 ms", "p90 ms", "p95 ms")
    rows = {**samples, "whole": np.sum([samples[stage] for stage in ("parse", *SUBGRAPHS, "rest")], 0)}
    for stage, values in rows.items():
        shown.add_row(stage, *(f"{np.percentile(values, q):.2f}" for q in (50, 90, 95)))
    return Group(title, shown, f"without the parse {result['ratio']:.2f} x the encoder alone")

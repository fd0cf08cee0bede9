"""Measure how much longer an extraction takes with ``triggers="exact"``, on a CPU.

Run ``python docs/tools/measure_exact_triggers.py data/conll04/test.json``; the file is SpERT's. The sentences are those
of 27 to 33 words in which the model finds two relations. Both extractors run in one process and take turns, and the
shortest time of each counts, because other programs can only make a run longer. With one thread it is time of the
processor, which other programs hardly change. The result is written to ``docs/results/exact-triggers.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import trimf
from trimf.runtime.pipeline import SubgraphCall

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "docs" / "results" / "exact-triggers.json"

#: Least and greatest number of words of a sentence, and its number of relations.
WORDS = (27, 33)
RELATIONS = 2


class Timing(NamedTuple):
    """Shortest times of a sentence.

    Attributes:
        plain: Seconds of its extraction.
        exact: Seconds of its extraction with exact triggers.
        runs: Number of sentences that the model encoded for that, the complete one included.
    """

    plain: float
    exact: float
    runs: int


def select_sentences(extractor: trimf.Extractor, sentences: Sequence[list[str]]) -> list[list[str]]:
    """Return the sentences of the right length in which the model finds the right number of relations."""
    fitting = [words for words in sentences if WORDS[0] <= len(words) <= WORDS[1]]
    found = extractor.words(fitting)
    return [words for words, doc in zip(fitting, found, strict=True) if len(doc.relations) == RELATIONS]


def measure(
    plain: trimf.Extractor, exact: trimf.Extractor, words: list[str], rounds: int, clock: Callable[[], float]
) -> Timing:
    """Time the extraction of a sentence of words by two extractors in turn."""
    times: dict[trimf.Extractor, list[float]] = {plain: [], exact: []}
    for _ in range(rounds):
        for extractor, seconds in times.items():
            started = clock()
            list(extractor.words([words]))
            seconds.append(clock() - started)
    sizes: list[int] = []

    def count(call: SubgraphCall) -> None:
        if "input_ids" in call.graph.inputs:
            sizes.append(len(call.inputs["input_ids"]))

    with exact.pipeline.observe(count):
        list(exact.words([words]))
    return Timing(min(times[plain]), min(times[exact]), sum(sizes))


def build_row(threads: int, timings: Sequence[Timing]) -> list[str]:
    """Return the row of the table for a number of threads."""
    ratios = [timing.exact / timing.plain for timing in timings]
    return [
        f"{threads} thread{'s' * (threads > 1)}",
        f"{1000 * statistics.mean(timing.plain for timing in timings):.1f} ms",
        f"{1000 * statistics.mean(timing.exact for timing in timings):.1f} ms",
        f"{statistics.mean(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})",
        f"{statistics.mean(timing.runs for timing in timings):.1f}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default=platform.processor() or platform.machine())
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    sentences = [item["tokens"] for item in json.loads(options.data.read_text(encoding="utf-8"))]
    rows, count = [], 0
    for threads in options.threads:
        with (
            trimf.load(options.model, backend="cpu", threads=threads) as plain,
            trimf.load(options.model, backend="cpu", threads=threads, triggers="exact") as exact,
        ):
            selected = select_sentences(plain, sentences)
            count = len(selected)
            if not selected:
                sys.exit(f"{options.data}: no sentence of {WORDS[0]} to {WORDS[1]} words with {RELATIONS} relations")
            clock = time.process_time if threads == 1 else time.perf_counter
            timings = [measure(plain, exact, words, options.rounds, clock) for words in selected]
            rows.append(build_row(threads, timings))
    result: dict[str, Any] = {
        "title": "Cost of exact triggers on a CPU",
        "columns": ["", "extraction", "with exact triggers", "ratio (lowest–highest)", "sentences encoded"],
        "rows": rows,
        "measured": [
            {
                "command": "python docs/tools/measure_exact_triggers.py data/conll04/test.json",
                "device": options.device,
                "date": datetime.date.today().isoformat(),
                "commit": subprocess.run(
                    ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
                ).stdout.strip(),
            }
        ],
        "note": f"Means over the {count} sentences of CoNLL04 test of {WORDS[0]} to {WORDS[1]} words in which the model"
        f" finds {RELATIONS} relations; of each the shortest of {options.rounds} runs. Not run on a GPU.",
    }
    options.output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

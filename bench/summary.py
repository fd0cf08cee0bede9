"""Numbers drawn from a report: percentiles, ratios and rates of a case, over all its rounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .schema import Case, Round

#: Samples needed before a percentile is given: at least ten lie above it.
LEAST = {90: 100, 95: 200, 99: 1000}
#: The stages of a sample that are no part of a call's split.
APART = ("whole", "plain encoder")
#: Stages that make of text what a call takes.
BEFORE = ("split", "parse")


class Summary(NamedTuple):
    """What ``n`` samples come to, in their own unit; None where there are too few to say."""

    n: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class Spread(NamedTuple):
    """The median over rounds, with the least and the most."""

    value: float
    low: float
    high: float


class Speed(NamedTuple):
    """Sentences and words a second."""

    sentences: float
    words: float


def summary(values: Sequence[float]) -> Summary:
    """Mean and percentiles of all values; none is dropped.

    Percentiles are interpolated linearly between the two nearest samples (numpy's default). Above the median they are
    given from ``LEAST`` samples on; of no value at all nothing is given.
    """
    n = len(values)
    if n == 0:
        return Summary(0, None, None, None, None, None)
    above = (float(np.percentile(values, q)) if n >= least else None for q, least in LEAST.items())
    return Summary(n, float(np.mean(values)), float(np.median(values)), *above)


def pooled(case: Case, stage: str = "whole") -> list[float]:
    """The samples of a stage from all rounds, in order, in milliseconds."""
    return [sample for one in case.rounds for sample in one.samples.get(stage, ())]


def stages(case: Case) -> list[str]:
    """The stages a call is split into, after those that come before it, each in the order taken."""
    found = dict.fromkeys(name for one in case.rounds for name in one.samples if name not in APART)
    return [*(name for name in BEFORE if name in found), *(name for name in found if name not in BEFORE)]


def medians(case: Case, stage: str = "whole") -> list[float]:
    """The median of each round that has samples of the stage, in milliseconds."""
    return [float(np.median(samples)) for one in case.rounds if (samples := one.samples.get(stage))]


def spread(values: Iterable[float]) -> Spread | None:
    """Median, least and most of one value a round; None where there is none."""
    found = list(values)
    return Spread(float(np.median(found)), min(found), max(found)) if found else None


def ratio(case: Case, of: str = "whole", to: str = "plain encoder") -> Spread | None:
    """Median over median within each round that has both stages, and over the rounds their median and range."""
    pairs = ((one.samples.get(of), one.samples.get(to)) for one in case.rounds)
    found = [(np.median(upper), np.median(lower)) for upper, lower in pairs if upper and lower]
    return spread(float(upper / lower) for upper, lower in found if lower > 0)


def speed(case: Case, rounds: Sequence[Round] | None = None) -> Speed | None:
    """Sentences and words a second over some rounds (all, unless given); None where no time belongs to the sizes.

    The time of a throughput or soak round is its wall time, that of any other the sum of its "whole" samples.
    """
    chosen = case.rounds if rounds is None else rounds
    seconds = [_seconds(case, one) for one in chosen]
    total = sum(second for second in seconds if second is not None)
    if not chosen or None in seconds or total <= 0:
        return None
    sentences, words = (sum(size[i] for one in chosen for size in one.sizes) for i in (0, 1))
    return Speed(sentences / total, words / total)


def sentences_a_call(case: Case) -> float | None:
    """The mean number of sentences in a call."""
    sizes = [sentences for one in case.rounds for sentences, _ in one.sizes]
    return float(np.mean(sizes)) if sizes else None


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of an environment, those of a nested mapping under both names."""
    for key, value in values.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping):
            yield from flat(value, name)
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, str(value)


def throttled(cases: Sequence[Case]) -> Iterator[str]:
    """A line for each reason for which the device was slowed down: in how many rounds, and of which cases."""
    found: dict[str, list[tuple[str, float]]] = {}
    for case in cases:
        for one in case.rounds:
            if one.power:
                for reason in one.power.throttled:
                    found.setdefault(reason, []).append((case.name, one.power.lowest_clock_mhz))
    total = sum(len(case.rounds) for case in cases)
    for reason, rounds in found.items():
        names = list(dict.fromkeys(name for name, _ in rounds))
        more = f" and {len(names) - 3} more cases" if len(names) > 3 else ""
        lowest = min(clock for _, clock in rounds)
        yield (
            f"slowed down by {reason} in {len(rounds)} of {total} rounds, lowest clock {lowest:.0f} MHz"
            f" ({', '.join(names[:3])}{more})"
        )


def _seconds(case: Case, one: Round) -> float | None:
    if case.kind in ("throughput", "soak"):
        return one.seconds
    whole = one.samples.get("whole", ())
    return sum(whole) / 1000 if len(whole) == len(one.sizes) else None

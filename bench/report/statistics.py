"""Figures computed from a report: percentiles, ratios and rates of a case over all its rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .schema import Case, Round

#: Probability that an interval of a percentile misses the true value.
_ERROR_RATE = 0.05
#: Percentile -> samples needed to report it: from there on, the largest sample lies above the true percentile with a
#: probability of 97.5 %, so the 95 % interval between two order statistics has an upper end.
MIN_SAMPLES = {q: math.ceil(math.log(_ERROR_RATE / 2) / math.log(q / 100)) for q in (90, 95, 99)}
#: Stages that are not parts of a call.
NON_CALL_STAGES = ("whole", "plain encoder")
#: Stages that turn text into the input of a call.
PRE_CALL_STAGES = ("split", "parse")


class SampleSummary(NamedTuple):
    """Summary of samples, in their own unit; values are None if there are too few samples.

    Attributes:
        n: Number of samples.
        mean: Mean.
        p50: Median.
        p90: 90th percentile.
        p95: 95th percentile.
        p99: 99th percentile.
    """

    n: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class Spread(NamedTuple):
    """Spread of a value over rounds.

    Attributes:
        value: Median.
        low: Minimum.
        high: Maximum.
    """

    value: float
    low: float
    high: float


class Throughput(NamedTuple):
    """Sentences and words per second."""

    sentences: float
    words: float


def summarize_samples(values: Sequence[float]) -> SampleSummary:
    """Compute the mean and the percentiles of samples; none is dropped.

    Percentiles are interpolated linearly between the two nearest samples (numpy's default).

    Args:
        values: Samples.

    Returns:
        The summary; percentiles above the median need the number of samples in ``MIN_SAMPLES``.
    """
    n = len(values)
    if n == 0:
        return SampleSummary(0, None, None, None, None, None)
    above = (float(np.percentile(values, q)) if n >= least else None for q, least in MIN_SAMPLES.items())
    return SampleSummary(n, float(np.mean(values)), float(np.median(values)), *above)


def compute_percentile_interval(values: Sequence[float], q: int) -> tuple[float, float] | None:
    """Compute the 95 % interval of a percentile from order statistics, without an assumption about the distribution.

    The number of samples below the true percentile has a binomial distribution, which says between which two of the
    sorted samples the percentile lies.

    Args:
        values: Samples.
        q: The percentile; 50 or one of ``MIN_SAMPLES``.

    Returns:
        The lower and the upper end, in the unit of the samples; None with too few samples.
    """
    n = len(values)
    if n < MIN_SAMPLES.get(q, 6):
        return None
    below = np.arange(n)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - below) / (below + 1)))])  # of the binomial coefficients
    counts = np.arange(n + 1)
    cumulative = np.cumsum(np.exp(logs + counts * math.log(q / 100) + (n - counts) * math.log(1 - q / 100)))
    low = int(np.searchsorted(cumulative, _ERROR_RATE / 2, side="right"))
    high = int(np.searchsorted(cumulative, 1 - _ERROR_RATE / 2))
    ordered = np.sort(values)
    return float(ordered[max(low - 1, 0)]), float(ordered[min(high, n - 1)])


def estimate_seconds_needed(case: Case, q: int = 99) -> float | None:
    """Estimate how long a case must be measured until a percentile can be reported.

    Args:
        case: The case.
        q: The percentile, one of ``MIN_SAMPLES``.

    Returns:
        Seconds over all rounds, at the speed of the rounds so far; None if there are enough calls, or none.
    """
    calls = len(pool_samples(case))
    if calls == 0 or calls >= MIN_SAMPLES[q]:
        return None
    return sum(round_.seconds for round_ in case.rounds) * MIN_SAMPLES[q] / calls


def pool_samples(case: Case, stage: str = "whole") -> list[float]:
    """Return the samples of a stage from all rounds.

    Args:
        case: The case.
        stage: Name of the stage.

    Returns:
        Milliseconds, in the order taken.
    """
    return [sample for round_ in case.rounds for sample in round_.samples.get(stage, ())]


def list_stages(case: Case) -> list[str]:
    """Return the stages of a case in the order they run.

    Args:
        case: The case.

    Returns:
        The stages that precede a call (``PRE_CALL_STAGES``), then those that the call is split into.
    """
    names = dict.fromkeys(name for round_ in case.rounds for name in round_.samples if name not in NON_CALL_STAGES)
    return [
        *(name for name in PRE_CALL_STAGES if name in names),
        *(name for name in names if name not in PRE_CALL_STAGES),
    ]


def compute_round_medians(case: Case, stage: str = "whole") -> list[float]:
    """Return the median of each round that has samples of a stage.

    Args:
        case: The case.
        stage: Name of the stage.

    Returns:
        Milliseconds.
    """
    return [float(np.median(samples)) for round_ in case.rounds if (samples := round_.samples.get(stage))]


def compute_spread(values: Iterable[float]) -> Spread | None:
    """Return the median, minimum and maximum of one value per round, or None without values.

    Args:
        values: A value for each round.
    """
    numbers = list(values)
    return Spread(float(np.median(numbers)), min(numbers), max(numbers)) if numbers else None


def compute_stage_ratio(case: Case, of: str = "whole", to: str = "plain encoder") -> Spread | None:
    """Divide the medians of two stages within each round.

    Args:
        case: The case.
        of: Stage of the numerator.
        to: Stage of the denominator.

    Returns:
        Spread of the ratio over the rounds that have both stages; None without such a round.
    """
    pairs = ((round_.samples.get(of), round_.samples.get(to)) for round_ in case.rounds)
    values = [(np.median(upper), np.median(lower)) for upper, lower in pairs if upper and lower]
    return compute_spread(float(upper / lower) for upper, lower in values if lower > 0)


def compute_speed(case: Case, rounds: Sequence[Round] | None = None) -> Throughput | None:
    """Compute sentences and words per second.

    The time of a throughput or soak round is its wall-clock time, that of any other round the sum of its "whole"
    samples.

    Args:
        case: The case.
        rounds: Rounds of the case to include; default all.

    Returns:
        The rates; None if a round has no time that belongs to its sizes.
    """
    included = case.rounds if rounds is None else rounds
    seconds = [_count_seconds(case, round_) for round_ in included]
    total = sum(second for second in seconds if second is not None)
    if not included or None in seconds or total <= 0:
        return None
    sentences, words = (sum(size[i] for round_ in included for size in round_.sizes) for i in (0, 1))
    return Throughput(sentences / total, words / total)


def mean_sentences_per_call(case: Case) -> float | None:
    """Return the mean number of sentences per call, or None without calls.

    Args:
        case: The case.
    """
    sizes = [sentences for round_ in case.rounds for sentences, _ in round_.sizes]
    return float(np.mean(sizes)) if sizes else None


def flatten_mapping(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Flatten a nested mapping, such as the environment of a report.

    Args:
        values: Names and values.
        before: Prefix of the names.

    Yields:
        Name and value; names of nested mappings are joined by a space, and values that are None are left out.
    """
    for key, value in values.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping):
            yield from flatten_mapping(value, name)
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, str(value)


def describe_throttling(cases: Sequence[Case]) -> Iterator[str]:
    """Describe the throttling of the device.

    Args:
        cases: Cases of a report.

    Yields:
        One line per reason: the number of rounds, the lowest clock, and the first cases.
    """
    occurrences: dict[str, list[tuple[str, float]]] = {}
    for case in cases:
        for round_ in case.rounds:
            if round_.power:
                for reason in round_.power.throttled:
                    occurrences.setdefault(reason, []).append((case.name, round_.power.lowest_clock_mhz))
    total = sum(len(case.rounds) for case in cases)
    for reason, rounds in occurrences.items():
        names = list(dict.fromkeys(name for name, _ in rounds))
        more = f" and {len(names) - 3} more cases" if len(names) > 3 else ""
        lowest = min(clock for _, clock in rounds)
        yield (
            f"throttled by {reason} in {len(rounds)} of {total} rounds, lowest clock {lowest:.0f} MHz"
            f" ({', '.join(names[:3])}{more})"
        )


def _count_seconds(case: Case, round_: Round) -> float | None:
    """Return the time that the sizes of a round belong to, or None if it is unknown."""
    if case.kind in ("throughput", "soak"):
        return round_.seconds
    whole = round_.samples.get("whole", ())
    return sum(whole) / 1000 if len(whole) == len(round_.sizes) else None

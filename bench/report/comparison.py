"""Compare two reports: is B faster than A, beyond the noise of both?

Rounds are fresh processes, and a machine drifts more from one round to the next than calls differ within a round. So
the unit is the round: a report's time is the geometric mean of its round medians. Each end of a ratio's interval is the
wider of two intervals: a hierarchical bootstrap, which draws rounds first and then samples within them, and Student's t
over the round medians, which accounts for how little a few rounds say about the drift. A single round says nothing
about it, so its ratio has neither an interval nor a verdict. No number of rounds can show what differs between the two
machines or days as a whole; the lines that divide by the plain encoder of the same round cancel it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ...runtime.errors import InputError
from ...runtime.extras import require_extra
from .case_matching import match_cases
from .markdown_report import describe_input, get_precision
from .report_table import MISSING
from .schema import Case, ModelInfo, Report
from .statistics import compute_speed, describe_throttling, flatten_mapping

Verdict = Literal["faster", "slower", "no difference beyond the noise", "no verdict from one round"]

#: Ratios closer to 1 than this count as no difference, however narrow the interval is.
MIN_DIFFERENCE = 0.02
#: Bootstrap resamples.
BOOTSTRAP_DRAWS = 4000

#: Fields of a report that describe its sentences.
_DATA = ("data", "sentences", "words")
#: Parts of the environment that differ from run to run.
_VOLATILE = ("load", "clock_mhz", "memory_gb")

#: For each round, an array of log times for each stage.
_RoundLogs = list[list[np.ndarray]]


class QuantityComparison(NamedTuple):
    """Comparison of one quantity of a case.

    Attributes:
        case: What the case measures, such as "words, batch 8".
        runner_a: What runs the case in report A: model, precision, engine, backend and threads.
        runner_b: The same for report B.
        quantity: Name of the quantity (see ``compare_reports``).
        a: Value in report A.
        b: Value in report B.
        ratio: B over A; below 1 if B is faster.
        low: Lower end of the ratio's 95 % interval; None for a single round.
        high: Upper end of the ratio's 95 % interval; None for a single round.
        verdict: Conclusion from the interval.
    """

    case: str
    runner_a: str
    runner_b: str
    quantity: str
    a: float
    b: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict


class ReportComparison(NamedTuple):
    """Comparison of two reports.

    Attributes:
        lines: Quantities that both reports have.
        only_a: Names of the cases that only report A has.
        only_b: Names of the cases that only report B has.
        differences: What differs between the runs: a name, the value in A, and the value in B.
        warnings: What makes the reports hard to compare.
    """

    lines: list[QuantityComparison]
    only_a: list[str]
    only_b: list[str]
    differences: list[tuple[str, str, str]]
    warnings: list[str]


def compare_reports(a: Report, b: Report) -> ReportComparison:
    """Match the cases of two reports by what they measure (see ``match_cases``) and compare their times.

    The quantities are "whole" (milliseconds per call), "whole / plain encoder" (a ratio) and, for throughput cases,
    "per sentence" (milliseconds of wall-clock time). Lines follow the order of the cases in A. The random draws are
    seeded, so the result is always the same.

    Args:
        a: The report to compare with.
        b: The report to judge.

    Returns:
        The comparison.

    Raises:
        InputError: A sample is not a positive number.
    """
    matched = match_cases(a, b)
    models = {one.model: other.model for one, other in matched.pairs}
    return ReportComparison(
        [
            line._replace(
                case=describe_input(one), runner_a=_describe_runner(one, a), runner_b=_describe_runner(other, b)
            )
            for one, other in matched.pairs
            for line in _compare_cases(one, other)
        ],
        [case.name for case in matched.only_a],
        [case.name for case in matched.only_b],
        list(_collect_differences(a, b, models)),
        list(_collect_warnings(a, b)),
    )


def list_slower(lines: Sequence[QuantityComparison], percent: float) -> list[QuantityComparison]:
    """List the times that are slower by more than a percentage, beyond the noise.

    Args:
        lines: Quantities that were compared. Ratios, such as "whole / plain encoder", are not times and do not count.
        percent: Percentage by which B may be slower.

    Returns:
        The times whose ratio exceeds the limit and whose interval excludes 1.

    Raises:
        InputError: ``percent`` is negative, there is no time to judge, or a time has no interval.
    """
    if not 0 <= percent < float("inf"):
        raise InputError(f"fail-slower must be a number >= 0, got {percent}")
    times = [line for line in lines if "/" not in line.quantity]
    if not times:
        raise InputError("the reports have no case in common, so no case can be judged")
    for line in times:
        if line.low is None:
            raise InputError(
                f"{line.case}: one round says nothing about the noise; run trimf bench with --rounds 2 or more"
            )
    return [line for line in times if line.verdict == "slower" and line.ratio > 1 + percent / 100]


# --- ratios and their intervals ---


def _compare_cases(a: Case, b: Case) -> Iterator[QuantityComparison]:
    if a.kind in ("latency", "length", "throughput"):
        calls = _count_common_calls(a, b)
        for stages in (("whole",), ("whole", "plain encoder")):
            yield from _compare_quantity(
                a.name,
                " / ".join(stages),
                _collect_logs(a, stages, calls),
                _collect_logs(b, stages, calls),
                calls is not None,
            )
    if a.kind == "throughput":
        yield from _compare_quantity(a.name, "per sentence", _log_sentence_times(a), _log_sentence_times(b), False)


def _count_common_calls(a: Case, b: Case) -> int | None:
    """Return how many calls of every round to compare, counted from the first.

    A faster round gets further through the same data, so only the calls that all rounds made are compared. Return None
    (compare all calls) if the rounds did not make the same calls, or lack a size for each call.
    """
    rounds = [*a.rounds, *b.rounds]
    calls = min((len(round_.sizes) for round_ in rounds), default=0)
    same = all(
        round_.sizes[:calls] == rounds[0].sizes[:calls] and len(round_.sizes) == len(round_.samples.get("whole", ()))
        for round_ in rounds
    )
    return calls if same else None


def _collect_logs(case: Case, stages: tuple[str, ...], calls: int | None) -> _RoundLogs:
    """Return the log samples of each stage, for each round that has samples of all ``stages``."""
    return [
        [_log_samples(case, name, round_.samples[name][:calls]) for name in stages]
        for round_ in case.rounds
        if all(round_.samples.get(name) for name in stages)
    ]


def _log_samples(case: Case, stage: str, samples: list[float]) -> np.ndarray:
    if min(samples) <= 0:
        raise InputError(f"case {case.name}: samples of {stage} must be > 0 ms, got {min(samples)}")
    logs: np.ndarray = np.log(samples)
    return logs


def _log_sentence_times(case: Case) -> _RoundLogs:
    """Return the log of the milliseconds per sentence, for each round."""
    speeds = [compute_speed(case, [round_]) for round_ in case.rounds]
    return [[np.log([1000 / rate.sentences])] for rate in speeds if rate and rate.sentences > 0]


def _compare_quantity(
    name: str, quantity: str, a: _RoundLogs, b: _RoundLogs, paired: bool
) -> Iterator[QuantityComparison]:
    """Yield a line if both cases have the quantity.

    ``paired`` says that samples with the same index are of a call on the same words.
    """
    if not a or not b:
        return
    rounds_a, rounds_b = (
        [_compute_log_ratio([float(np.median(stage)) for stage in stages]) for stages in rounds] for rounds in (a, b)
    )
    means = [float(np.mean(rounds)) for rounds in (rounds_a, rounds_b)]
    difference = means[1] - means[0]
    low = high = None
    if min(len(a), len(b)) > 1:
        drawn = _bootstrap_interval(a, b, paired)
        half = _compute_half_width(rounds_a, rounds_b)
        low, high = np.exp([min(drawn[0], difference - half), max(drawn[1], difference + half)]).tolist()
    value_a, value_b, ratio = (float(np.exp(log)) for log in (*means, difference))
    yield QuantityComparison(
        name, "", "", quantity, value_a, value_b, ratio, low, high, _decide_verdict(ratio, low, high)
    )


def _compute_log_ratio(logs: Sequence[Any]) -> Any:
    """Return the log of the first value divided by the others."""
    return logs[0] - sum(logs[1:])


def _bootstrap_interval(a: _RoundLogs, b: _RoundLogs, paired: bool) -> tuple[float, float]:
    """Return the 95 % percentile interval of the log ratio, drawing rounds, and samples within them.

    ``scipy.stats.bootstrap`` draws on one level only, and would sort every resample.
    """
    rng = np.random.default_rng(0)
    medians = iter(_resample_medians(rng, [stage for stages in (*a, *b) for stage in stages], paired))
    means = []
    for rounds in (a, b):
        values = np.array([_compute_log_ratio([next(medians) for _ in stages]) for stages in rounds])
        picks = rng.integers(len(rounds), size=(len(rounds), BOOTSTRAP_DRAWS))
        means.append(np.take_along_axis(values, picks, 0).mean(0))
    low, high = np.percentile(means[1] - means[0], (2.5, 97.5))
    return float(low), float(high)


def _resample_medians(rng: np.random.Generator, samples: list[np.ndarray], paired: bool) -> list[np.ndarray]:
    """Return the medians of ``BOOTSTRAP_DRAWS`` bootstrap resamples of each array.

    The median of a resample is the value whose rank in the array is the resample's median rank. That rank is close to
    normally distributed around n / 2, with standard deviation sqrt(n) / 2. If ``paired``, the same calls are drawn in
    every array, so the ranks are correlated in the way that calls lie above or below the median of each array. Calls
    with longer sentences then do not count as noise.
    """
    normal = rng.standard_normal((len(samples), BOOTSTRAP_DRAWS))
    if paired and len({len(values) for values in samples}) == 1:
        sides = np.array([np.sign(values - np.median(values)) for values in samples])
        eigenvalues, eigenvectors = np.linalg.eigh(sides @ sides.T / sides.shape[1])
        normal = eigenvectors * np.sqrt(eigenvalues.clip(0)) @ normal
    return [
        np.sort(values)[((len(values) + np.sqrt(len(values)) * deviation) / 2).astype(int).clip(0, len(values) - 1)]
        for values, deviation in zip(samples, normal, strict=True)
    ]


def _compute_half_width(a: Sequence[float], b: Sequence[float]) -> float:
    """Return half the 95 % interval of the difference of two means of rounds.

    The interval is Student's t with Welch's degrees of freedom.
    """
    require_extra("bench", "scipy", purpose="comparing reports")
    from scipy import stats

    parts = [(float(np.var(rounds, ddof=1)) / len(rounds), len(rounds) - 1) for rounds in (a, b)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return float(np.sqrt(variance) * stats.t.ppf(0.975, freedom))


def _decide_verdict(ratio: float, low: float | None, high: float | None) -> Verdict:
    if low is None or high is None:
        return "no verdict from one round"
    if low <= 1 <= high or abs(ratio - 1) < MIN_DIFFERENCE:
        return "no difference beyond the noise"
    return "faster" if ratio < 1 else "slower"


# --- what differs between two runs ---


def _describe_runner(case: Case, report: Report) -> str:
    precision = get_precision(case, {subject.name: subject for subject in report.subjects})
    threads = f"{case.threads} thread{'s' * (case.threads > 1)}"
    engine = {"onnx": "", "eager": "PyTorch eager", "compile": "PyTorch compiled"}[case.engine]
    return ", ".join(filter(None, (case.model, precision, engine, case.backend, threads)))


def _collect_differences(a: Report, b: Report, models: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the facts that differ, and how they differ."""
    environments = (
        {name: value for name, value in report.environment.items() if name not in _VOLATILE} for report in (a, b)
    )
    yield from _list_differences("", *(dict(flatten_mapping(environment)) for environment in environments))
    yield from _list_differences("", *({name: getattr(report, name) for name in _DATA} for report in (a, b)))
    subjects_a, subjects_b = ({subject.name: subject for subject in report.subjects} for report in (a, b))
    for name, other in models.items():
        if name in subjects_a and other in subjects_b:
            facts = (_describe_subject(subjects_a[name]), _describe_subject(subjects_b[other]))
            yield from _list_differences(f"model {name}", *facts)


def _collect_warnings(a: Report, b: Report) -> Iterator[str]:
    if any(getattr(a, name) != getattr(b, name) for name in _DATA):
        yield "the sentences differ, so the times are of different work"
    for letter, report in (("A", a), ("B", b)):
        yield from (f"{letter} was {text}" for text in describe_throttling(report.cases))


def _describe_subject(subject: ModelInfo) -> dict[str, object]:
    """Return the properties of a model that two reports should share."""
    scores = {f"F1 of {name}": f"{value:.2f}" for name, value in (subject.f1 or {}).items()}
    return {"precision": subject.precision, "sha256": subject.sha256[:12], **scores}


def _list_differences(prefix: str, a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield f"{prefix} {name}".strip(), str(a.get(name, MISSING)), str(b.get(name, MISSING))

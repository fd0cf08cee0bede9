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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from ...runtime.errors import InputError, one_line
from ...runtime.extras import require_extra
from ...runtime.output.plain_text import make_visible
from .schema import CASE_SETTINGS, SCHEMA_VERSION, Case, ModelInfo, Report
from .statistics import compute_speed, describe_throttling, flatten_mapping

if TYPE_CHECKING:
    from rich.console import Group

Verdict = Literal["faster", "slower", "no difference beyond the noise", "no verdict from one round"]

#: Ratios closer to 1 than this count as no difference, however narrow the interval is.
MIN_DIFFERENCE = 0.02
#: Bootstrap resamples.
BOOTSTRAP_DRAWS = 4000

#: Fields of a report that describe its sentences.
_DATA = ("data", "sentences", "words")

#: For each round, an array of log times for each stage.
_RoundLogs = list[list[np.ndarray]]


class QuantityComparison(NamedTuple):
    """Comparison of one quantity of a case.

    Attributes:
        case: Name of the case.
        quantity: Name of the quantity (see ``compare_reports``).
        a: Value in report A.
        b: Value in report B.
        ratio: B over A; below 1 if B is faster.
        low: Lower end of the ratio's 95 % interval; None for a single round.
        high: Upper end of the ratio's 95 % interval; None for a single round.
        verdict: Conclusion from the interval.
    """

    case: str
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
        warnings: Differences that make the reports hard to compare.
    """

    lines: list[QuantityComparison]
    only_a: list[str]
    only_b: list[str]
    warnings: list[str]


def read_report(path: str | Path) -> Report:
    """Read a report.

    Args:
        path: A ``report.json`` written by ``trimf bench``.

    Returns:
        The report.

    Raises:
        InputError: The file cannot be read, is not a report, or has another schema version.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        version = msgspec.json.decode(content, type=_SchemaVersion).schema_version
        if version == SCHEMA_VERSION:
            return msgspec.json.decode(content, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a report of trimf bench: {one_line(error)}") from None
    raise InputError(
        f"{path}: schema_version must be {SCHEMA_VERSION}, got {version}; run trimf bench again with this version"
    )


def compare_reports(a: Report, b: Report) -> ReportComparison:
    """Match the cases of two reports by name and compare their times.

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
    cases_a, cases_b = ({case.name: case for case in report.cases} for report in (a, b))
    common = [name for name in cases_a if name in cases_b]
    return ReportComparison(
        [compared for name in common for compared in _compare_cases(cases_a[name], cases_b[name])],
        [name for name in cases_a if name not in cases_b],
        [name for name in cases_b if name not in cases_a],
        list(_collect_warnings(a, b, [(cases_a[name], cases_b[name]) for name in common])),
    )


def render_comparison(comparison: ReportComparison) -> Group:
    """Render a comparison as a table for the console, followed by notes and warnings.

    Args:
        comparison: Result of ``compare_reports``.
    """
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE, pad_edge=False)
    shown.add_column("case", overflow="fold")
    shown.add_column("quantity", overflow="fold")
    for name in ("A", "B", "B / A", "95 % interval"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict")
    colours = {"faster": "green", "slower": "red"}
    previous = None
    for compared in comparison.lines:
        unit = "" if "/" in compared.quantity else " ms"
        interval = "–" if compared.low is None else f"{compared.low:.3f}–{compared.high:.3f}"
        shown.add_row(
            Text("" if compared.case == previous else make_visible(compared.case)),
            Text(make_visible(compared.quantity)),
            f"{compared.a:.2f}{unit}",
            f"{compared.b:.2f}{unit}",
            f"{compared.ratio:.3f}",
            interval,
            Text(compared.verdict, colours.get(compared.verdict, "")),
        )
        previous = compared.case
    notes = [
        "A ratio below 1 means that B is faster. Each interval is computed separately, without correction for multiple"
        f" comparisons. Differences below {MIN_DIFFERENCE:.0%} get no verdict of faster or slower."
        if comparison.lines
        else "The reports have no times of the same case to compare."
    ]
    for letter, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        notes += [f"Only in {letter}: {name}" for name in names]
    notes += [f"Warning: {warning}" for warning in comparison.warnings]
    return Group(*([shown] if comparison.lines else []), *(Text(make_visible(note)) for note in notes))


class _SchemaVersion(msgspec.Struct):
    """The part of a report that every schema version has."""

    schema_version: int


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
    yield QuantityComparison(name, quantity, value_a, value_b, ratio, low, high, _decide_verdict(ratio, low, high))


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


# --- differences that make two reports hard to compare ---


def _collect_warnings(a: Report, b: Report, cases: list[tuple[Case, Case]]) -> Iterator[str]:
    yield from _list_differences(
        "environment", dict(flatten_mapping(a.environment)), dict(flatten_mapping(b.environment))
    )
    yield from _list_differences("sentences", *(_select_fields(report, _DATA) for report in (a, b)))
    subjects = {subject.name: subject for subject in b.subjects}
    for subject in a.subjects:
        if subject.name in subjects:
            yield from _list_differences(
                f"model {subject.name}", _describe_subject(subject), _describe_subject(subjects[subject.name])
            )
    for pair in cases:
        yield from _list_differences(
            f"case {pair[0].name}", *({name: getattr(case, name) for name in CASE_SETTINGS} for case in pair)
        )
    for letter, report in (("A", a), ("B", b)):
        yield from (f"{letter} was {text}" for text in describe_throttling(report.cases))


def _select_fields(record: object, names: Sequence[str]) -> dict[str, object]:
    return {name: getattr(record, name) for name in names}


def _describe_subject(subject: ModelInfo) -> dict[str, object]:
    """Return the properties of a model that two reports should share."""
    scores = {f"F1 of {name}": f"{value:.2f}" for name, value in (subject.f1 or {}).items()}
    return {"precision": subject.precision, "sha256": subject.sha256, **scores}


def _list_differences(topic: str, a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[str]:
    for name in dict.fromkeys([*a, *b]):
        value_a, value_b = (str(values.get(name, "missing")) for values in (a, b))
        if value_a != value_b:
            yield f"{topic}: {name} is {value_a} in A and {value_b} in B"

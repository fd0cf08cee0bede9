"""Two reports against each other: is B faster than A, beyond the noise of both?

Rounds are fresh processes, and a machine drifts from one to the next by more than calls differ within one. So the unit
is the round: a report's time is the geometric mean of its round medians. The interval of a ratio is, at each end, the
wider of two: a hierarchical bootstrap, which draws rounds first and samples within them, and Student's t over the round
medians, which knows how little few rounds say of the drift. One round says nothing of it: its ratio is given without
an interval and without a verdict. What differs between the two machines or days as a whole no number of rounds can
show; the lines over the plain encoder of the same round cancel it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from ..runtime.errors import InputError, line
from .schema import SCHEMA_VERSION, Case, Report, Subject
from .summary import flat, speed, throttled

if TYPE_CHECKING:
    from rich.console import Group

Verdict = Literal["faster", "slower", "no difference beyond the noise", "no verdict from one round"]

#: A ratio nearer to 1 than this is no difference, however sure it is.
SMALLEST = 0.02
DRAWS = 4000

# Two-sided 95 % quantiles by degrees of freedom; what lies between takes the fewer.
_STUDENT = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
    12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.0,
}  # fmt: skip

# How a case is run: two cases of one name that differ here are two different things.
_SETTINGS = (
    "kind", "model", "engine", "backend", "threads", "batch_size", "workers", "concurrency", "subwords",
)  # fmt: skip

_DATA = ("data", "sentences", "words")

_Values = list[list[np.ndarray]]


class Line(NamedTuple):
    """One quantity of one case in both reports; the interval is of ``ratio``, B over A, below 1 where B is faster."""

    case: str
    quantity: str
    a: float
    b: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict


class Comparison(NamedTuple):
    """What two reports have in common, what only one has, and what makes them hard to compare."""

    lines: list[Line]
    only_a: list[str]
    only_b: list[str]
    warnings: list[str]


def read(path: str | Path) -> Report:
    """Read a report.

    Raises:
        InputError: the file cannot be read, is no report, or has another schema version.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version == SCHEMA_VERSION:
            return msgspec.json.decode(content, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is no report of trimf bench: {line(error)}") from None
    raise InputError(
        f"{path}: has schema_version {version}, but this trimf reads {SCHEMA_VERSION}; run trimf bench again with it"
    )


def compare(a: Report, b: Report) -> Comparison:
    """Match the cases of two reports by name and say for each what changed from A to B.

    Quantities are "whole" (milliseconds a call), "whole / plain encoder" (no unit) and, of throughput cases, "a
    sentence" (milliseconds of wall time). The order of cases is that of A. Draws are seeded: the answer is always the
    same.

    Raises:
        InputError: a sample is not a positive number.
    """
    of_a, of_b = ({case.name: case for case in report.cases} for report in (a, b))
    both = [name for name in of_a if name in of_b]
    return Comparison(
        [found for name in both for found in _lines(of_a[name], of_b[name])],
        [name for name in of_a if name not in of_b],
        [name for name in of_b if name not in of_a],
        list(_warnings(a, b, [(of_a[name], of_b[name]) for name in both])),
    )


def table(comparison: Comparison) -> Group:
    """The comparison for people."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE, pad_edge=False)
    shown.add_column("case", overflow="fold")
    shown.add_column("what", overflow="fold")
    for name in ("A", "B", "B / A", "95 % interval"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict")
    colours = {"faster": "green", "slower": "red"}
    previous = None
    for one in comparison.lines:
        unit = "" if "/" in one.quantity else " ms"
        interval = "–" if one.low is None else f"{one.low:.3f}–{one.high:.3f}"
        shown.add_row(
            Text("" if one.case == previous else _printable(one.case)),
            Text(one.quantity),
            f"{one.a:.2f}{unit}",
            f"{one.b:.2f}{unit}",
            f"{one.ratio:.3f}",
            interval,
            Text(one.verdict, colours.get(one.verdict, "")),
        )
        previous = one.case
    notes = [
        f"Below 1, B is faster. Each interval holds by itself; less than {SMALLEST:.0%} is no difference."
        if comparison.lines
        else "No case is in both reports with times to compare."
    ]
    for letter, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        notes += [f"Only in {letter}: {name}" for name in names]
    notes += [f"Warning: {warning}" for warning in comparison.warnings]
    return Group(*([shown] if comparison.lines else []), *(Text(_printable(note)) for note in notes))


class _Version(msgspec.Struct):
    schema_version: int


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


# --- ratios and their intervals ---


def _lines(a: Case, b: Case) -> Iterator[Line]:
    if a.kind in ("latency", "length", "throughput"):
        calls = _common(a, b)
        for of in (("whole",), ("whole", "plain encoder")):
            yield from _line(a.name, " / ".join(of), _samples(a, of, calls), _samples(b, of, calls), calls is not None)
    if a.kind == "throughput":
        yield from _line(a.name, "a sentence", _wall(a), _wall(b), False)


def _common(a: Case, b: Case) -> int | None:
    """How many calls of every round to compare, from the first: a faster round gets further through the same data.

    None (compare all) where the rounds did not make the same calls, or have no size for each.
    """
    rounds = [*a.rounds, *b.rounds]
    calls = min((len(one.sizes) for one in rounds), default=0)
    same = all(
        one.sizes[:calls] == rounds[0].sizes[:calls] and len(one.sizes) == len(one.samples.get("whole", ()))
        for one in rounds
    )
    return calls if same else None


def _samples(case: Case, of: tuple[str, ...], calls: int | None) -> _Values:
    """For each round that has them, the logs of the samples of each stage in ``of``."""
    return [
        [_logs(case, name, one.samples[name][:calls]) for name in of]
        for one in case.rounds
        if all(one.samples.get(name) for name in of)
    ]


def _logs(case: Case, stage: str, samples: list[float]) -> np.ndarray:
    if min(samples) <= 0:
        raise InputError(f"case {case.name}: a sample of {stage} is {min(samples)} ms, but times are positive")
    logs: np.ndarray = np.log(samples)
    return logs


def _wall(case: Case) -> _Values:
    """For each round the log of milliseconds a sentence."""
    speeds = [speed(case, [one]) for one in case.rounds]
    return [[np.log([1000 / one.sentences])] for one in speeds if one and one.sentences > 0]


def _line(name: str, quantity: str, a: _Values, b: _Values, together: bool) -> Iterator[Line]:
    """A line, where both have the quantity; ``together`` says that samples of one index are of one call's words."""
    if not a or not b:
        return
    of_a, of_b = ([_ratio([float(np.median(stage)) for stage in one]) for one in rounds] for rounds in (a, b))
    means = [float(np.mean(rounds)) for rounds in (of_a, of_b)]
    difference = means[1] - means[0]
    low = high = None
    if min(len(a), len(b)) > 1:
        drawn = _bootstrap(a, b, together)
        half = _half_width(of_a, of_b)
        low, high = np.exp([min(drawn[0], difference - half), max(drawn[1], difference + half)]).tolist()
    in_a, in_b, ratio = (float(np.exp(log)) for log in (*means, difference))
    yield Line(name, quantity, in_a, in_b, ratio, low, high, _verdict(ratio, low, high))


def _ratio(logs: Sequence[Any]) -> Any:
    """The log of the first over the others."""
    return logs[0] - sum(logs[1:])


def _bootstrap(a: _Values, b: _Values, together: bool) -> tuple[float, float]:
    """The 95 % percentile interval of the log ratio: rounds are drawn, and within them samples."""
    rng = np.random.default_rng(0)
    medians = iter(_resampled(rng, [stage for one in (*a, *b) for stage in one], together))
    means = []
    for rounds in (a, b):
        values = np.array([_ratio([next(medians) for _ in one]) for one in rounds])
        picks = rng.integers(len(rounds), size=(len(rounds), DRAWS))
        means.append(np.take_along_axis(values, picks, 0).mean(0))
    low, high = np.percentile(means[1] - means[0], (2.5, 97.5))
    return float(low), float(high)


def _resampled(rng: np.random.Generator, samples: list[np.ndarray], together: bool) -> list[np.ndarray]:
    """``DRAWS`` medians of bootstrap resamples of each array.

    Such a median is the value whose rank in the array is the median rank of the resample, near to normal around n / 2
    with deviation sqrt(n) / 2. Where calls are drawn ``together``, the same ones in every array, the ranks are
    correlated as the sides of the median are on which a call lies: that some calls have longer sentences than others
    is then no noise.
    """
    normal = rng.standard_normal((len(samples), DRAWS))
    if together and len({len(one) for one in samples}) == 1:
        sides = np.array([np.sign(one - np.median(one)) for one in samples])
        values, vectors = np.linalg.eigh(sides @ sides.T / sides.shape[1])
        normal = vectors * np.sqrt(values.clip(0)) @ normal
    return [
        np.sort(one)[((len(one) + np.sqrt(len(one)) * deviation) / 2).astype(int).clip(0, len(one) - 1)]
        for one, deviation in zip(samples, normal, strict=True)
    ]


def _half_width(a: Sequence[float], b: Sequence[float]) -> float:
    """Half the 95 % interval of the difference of two means of rounds: Student's t, Welch's degrees of freedom."""
    parts = [(float(np.var(one, ddof=1)) / len(one), len(one) - 1) for one in (a, b)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(part**2 / least for part, least in parts)
    return float(np.sqrt(variance)) * _STUDENT[max(known for known in _STUDENT if known <= freedom + 1e-9)]


def _verdict(ratio: float, low: float | None, high: float | None) -> Verdict:
    if low is None or high is None:
        return "no verdict from one round"
    if low <= 1 <= high or abs(ratio - 1) < SMALLEST:
        return "no difference beyond the noise"
    return "faster" if ratio < 1 else "slower"


# --- what makes two reports hard to compare ---


def _warnings(a: Report, b: Report, cases: list[tuple[Case, Case]]) -> Iterator[str]:
    yield from _different("environment", dict(flat(a.environment)), dict(flat(b.environment)))
    yield from _different("sentences", *(_named(one, _DATA) for one in (a, b)))
    subjects = {subject.name: subject for subject in b.subjects}
    for subject in a.subjects:
        if subject.name in subjects:
            yield from _different(f"model {subject.name}", _about(subject), _about(subjects[subject.name]))
    for pair in cases:
        yield from _different(
            f"case {pair[0].name}", *({name: getattr(one, name) for name in _SETTINGS} for one in pair)
        )
    for letter, report in (("A", a), ("B", b)):
        yield from (f"{letter} was {one}" for one in throttled(report.cases))


def _named(one: object, names: Sequence[str]) -> dict[str, object]:
    return {name: getattr(one, name) for name in names}


def _about(subject: Subject) -> dict[str, object]:
    scores = {f"F1 of {name}": f"{value:.2f}" for name, value in (subject.f1 or {}).items()}
    return {"precision": subject.precision, "sha256": subject.sha256, **scores}


def _different(what: str, a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[str]:
    for name in dict.fromkeys([*a, *b]):
        one, other = (str(values.get(name, "nothing")) for values in (a, b))
        if one != other:
            yield f"{what}: {name} is {one} in A and {other} in B"

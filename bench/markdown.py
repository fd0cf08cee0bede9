"""A report as tables, and those as a Markdown document for a README."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .schema import Case, Report, Subject
from .summary import LEAST, Spread, flat, medians, pooled, ratio, speed, spread, stages, summary, throttled

NOTHING = "–"

#: What runs a case that is no bundle.
ENGINES = {"onnx": "", "eager": "PyTorch eager", "compile": "PyTorch compiled"}

_PERCENTILES = ("p50", "p90", "p95", "p99")


class Section(NamedTuple):
    """A table of plain text with a line of explanation; the first ``words`` columns are text, the others figures."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int


def markdown(report: Report) -> str:
    """The report as a Markdown document; names out of it are escaped."""
    parts = ["# Benchmark", *(_escape(text) for text in about(report)), _code(report.command)]
    parts += [f"**{_escape(text)}**" for text in warnings(report)]
    for section in sections(report):
        parts += [f"## {section.title}", section.note, _table(section)]
    parts += [f"Note: {_escape(text)}." for text in report.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def about(report: Report) -> list[str]:
    """Where and on what the report was made, a line each."""
    where = "; ".join(f"{name} {value}" for name, value in flat(report.environment))
    return [
        f"Environment: {where or 'not recorded'}.",
        f"Data: {report.data or 'not named'}, {report.sentences:,} sentences, {report.words:,} words."
        f" Made {report.created} by:",
    ]


def warnings(report: Report) -> list[str]:
    """What is to be said aloud: throttling, or that no round was without a watch on it."""
    found = [f"Throttled: {text}" for text in throttled(report.cases)]
    powers = [one.power for case in report.cases for one in case.rounds]
    if found or not powers:
        return found
    return [
        "No throttling was seen in any round."
        if all(powers)
        else "Clocks were not watched in every round: throttling, if any, went unseen."
    ]


def sections(report: Report) -> Iterator[Section]:
    """The tables of a report that have rows."""
    subjects = {subject.name: subject for subject in report.subjects}
    made = (
        _speed_and_f1(report),
        _latency(report, subjects),
        _split(report, subjects),
        _throughput(report, subjects),
        _length(report, subjects),
        _ratios(report),
        _floors(report),
        _power(report, subjects),
        _growth(report, subjects),
    )
    return (section for section in made if section.rows)


def precision(case: Case, subjects: dict[str, Subject]) -> str:
    """The precision of the case's model."""
    subject = subjects.get(case.model)
    return subject.precision if subject else NOTHING


def backend(case: Case) -> str:
    """What runs the case."""
    return ", ".join(filter(None, (ENGINES[case.engine], case.backend)))


def scores(report: Report) -> list[str]:
    """The names of the F1 figures that any model has."""
    return list(dict.fromkeys(name for subject in report.subjects for name in subject.f1 or ()))


def _figure(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"


def _range(found: Spread | None, digits: int = 2) -> str:
    if found is None:
        return NOTHING
    value, low, high = (_figure(one, digits) for one in found)
    return value if low == high else f"{value} ({low}–{high})"


def _percentiles(values: Sequence[float]) -> list[str]:
    found = summary(values)
    return [*(_figure(getattr(found, name)) for name in _PERCENTILES), f"{found.n:,}"]


def _of_kind(report: Report, *kinds: str) -> list[Case]:
    return [case for case in report.cases if case.kind in kinds]


def _run(case: Case, subjects: dict[str, Subject]) -> list[str]:
    return [case.model, precision(case, subjects), backend(case), str(case.threads)]


def _speed_and_f1(report: Report) -> Section:
    names = scores(report)
    rows = []
    for subject in report.subjects:
        products: Counter[str] = Counter()
        for types in subject.products.values():
            products.update(types)
        held = ", ".join(f"{count} {kind}" for kind, count in products.items()) or NOTHING
        cases = [case for case in _of_kind(report, "latency") if case.model == subject.name and pooled(case)]
        least = min((case.batch_size for case in cases), default=0)
        fast = [f"{summary(pooled(c)).p50:.2f} ({backend(c)}, {c.threads})" for c in cases if c.batch_size == least]
        f1 = [_figure((subject.f1 or {}).get(name)) for name in names]
        latency = "; ".join(fast) or NOTHING
        rows.append([subject.name, subject.precision, held, subject.sha256[:12], latency, *f1])
    head = ["model", "precision", "matrix products", "sha256", "p50 ms (backend, threads)", *(f"F1 {n}" for n in names)]
    note = "Milliseconds a call at the smallest batch, beside the strict micro F1 (per cent) of the same model."
    return Section("Speed and F1", note, head, rows, 5)


def _latency(report: Report, subjects: dict[str, Subject]) -> Section:
    rows = [
        [
            *_run(case, subjects),
            str(case.batch_size),
            *_percentiles(pooled(case)),
            _range(spread(one.load for one in case.rounds), 0),
            _range(spread(one.first for one in case.rounds), 1),
            _range(ratio(case)),
        ]
        for case in _of_kind(report, "latency")
    ]
    limits = ", ".join(f"no p{q} under {least:,}" for q, least in LEAST.items())
    note = (
        "Milliseconds a call on one batch, all rounds pooled and nothing dropped, percentiles interpolated linearly"
        f" ({limits} samples)."
        " Load, first call and the ratio to the plain encoder are medians over rounds with their range."
    )
    head = ["model", "precision", "backend", "threads", "batch", *_PERCENTILES, "n", "load", "first", "× plain encoder"]
    return Section("Latency", note, head, rows, 3)


def _split(report: Report, subjects: dict[str, Subject]) -> Section:
    cases = [case for case in _of_kind(report, "latency") if stages(case)]
    names = list(dict.fromkeys(name for case in cases for name in stages(case)))
    rows = [
        [*_run(case, subjects), str(case.batch_size), *(_figure(summary(pooled(case, name)).mean) for name in names)]
        for case in cases
    ]
    note = (
        "Milliseconds a call, means, so that stages add up; parse and split come before the call that Latency counts."
    )
    return Section("Stages", note, ["model", "precision", "backend", "threads", "batch", *names], rows, 3)


def _throughput(report: Report, subjects: dict[str, Subject]) -> Section:
    rows = []
    for case in _of_kind(report, "throughput", "soak"):
        speeds = [found for one in case.rounds if (found := speed(case, [one]))]
        devices = [one.memory.device for one in case.rounds if one.memory.device is not None]
        padding = spread(100 * one.padding for one in case.rounds)
        rows.append(
            [
                *_run(case, subjects),
                *(str(value) for value in (case.batch_size, case.workers, case.concurrency)),
                _range(spread(one.sentences for one in speeds), 1),
                _range(spread(one.words for one in speeds), 0),
                _figure(padding.value if padding else None, 1),
                _figure(max((one.memory.host for one in case.rounds), default=None), 0),
                _figure(max(devices, default=None), 0),
            ]
        )
    note = (
        "From text, by wall time: medians over rounds with their range. Padding is in per cent, memory the peak in MB."
    )
    head = ["model", "precision", "backend", "threads", "batch", "workers", "callers"]
    head += ["sentences/s", "words/s", "padding", "host MB", "device MB"]
    return Section("Throughput", note, head, rows, 3)


def _length(report: Report, subjects: dict[str, Subject]) -> Section:
    rows = [
        [
            *_run(case, subjects),
            NOTHING if case.subwords is None else str(case.subwords),
            *_percentiles(pooled(case)),
            _figure(summary(pooled(case, "plain encoder")).p50),
            _range(ratio(case)),
        ]
        for case in _of_kind(report, "length")
    ]
    head = ["model", "precision", "backend", "threads", "subwords", *_PERCENTILES, "n", "plain p50", "× plain encoder"]
    return Section("Latency by length", "Milliseconds a call at a fixed number of subwords.", head, rows, 3)


def _ratios(report: Report) -> Section:
    rows = [
        [one.name, one.of, one.to, _range(Spread(one.value, one.low, one.high)), str(one.rounds)]
        for one in report.ratios
    ]
    note = "Ratios of medians of the same round: median over rounds, least and most."
    return Section("Ratios", note, ["ratio", "of", "to", "value", "rounds"], rows, 3)


def _floors(report: Report) -> Section:
    rows = []
    for floor in report.floors:
        key = (floor.model, floor.backend, floor.threads, floor.batch_size)
        plain = [
            value
            for case in _of_kind(report, "latency")
            if case.engine == "onnx" and (case.model, case.backend, case.threads, case.batch_size) == key
            for value in medians(case, "plain encoder")
        ]
        found = spread(value / floor.milliseconds for value in plain) if floor.milliseconds > 0 else None
        sizes = [str(one) for one in (floor.threads, floor.batch_size, floor.subwords)]
        amounts = (floor.operations / 1e9, floor.bytes / 1e6, floor.peak_operations / 1e9, floor.peak_bytes / 1e9)
        numbers = [_figure(amount) for amount in (*amounts, floor.milliseconds)]
        rows.append([floor.model, floor.backend, *sizes, *numbers, _range(found)])
    note = (
        "What the encoder must compute and read in a call of median length, over what the device was measured to do;"
        " the last column is the plain encoder, measured, over that floor."
    )
    head = ["model", "backend", "threads", "batch", "subwords", "GFLOP", "MB", "peak GFLOP/s", "peak GB/s", "floor ms"]
    return Section("Arithmetic floors", note, [*head, "measured / floor"], rows, 2)


def _power(report: Report, subjects: dict[str, Subject]) -> Section:
    rows = []
    for case in report.cases:
        powers = [one.power for one in case.rounds if one.power]
        if not powers:
            continue
        sentences = sum(size for one in case.rounds if one.power for size, _ in one.sizes)
        joules = sum(power.joules for power in powers) / sentences if case.kind == "throughput" and sentences else None
        reasons = ", ".join(dict.fromkeys(reason for power in powers for reason in power.throttled))
        rows.append(
            [
                case.name,
                reasons or "none",
                _range(spread(power.clock_mhz for power in powers), 0),
                _figure(min(power.lowest_clock_mhz for power in powers), 0),
                _range(spread(power.watts for power in powers), 1),
                _figure(joules, 3),
            ]
        )
    note = "What NVML said while rounds ran; joules a sentence where a round does nothing but extract."
    head = ["case", "slowed down by", "clock MHz", "lowest MHz", "W", "J a sentence"]
    return Section("Power", note, head, rows, 2)


def _growth(report: Report, subjects: dict[str, Subject]) -> Section:
    rows = []
    for case in report.cases:
        for number, one in enumerate(case.rounds, start=1):
            if growth := one.memory.growth:
                (start, before), (end, after) = growth[0], growth[-1]
                figures = (f"{start:,}", f"{end:,}", _figure(before, 1), _figure(after, 1), _figure(after - before, 1))
                rows.append([case.name, str(number), *figures])
    head = ["case", "round", "first seen after", "last seen after", "MB then", "MB at last", "growth MB"]
    return Section("Memory over a long stream", "Resident memory by sentences done.", head, rows, 1)


# --- Markdown ---


def _table(section: Section) -> str:
    rule = ["---" if i < section.words else "---:" for i in range(len(section.head))]
    rows: Iterable[Sequence[str]] = (section.head, *section.rows)
    shown = ["| " + " | ".join(map(_escape, row)) + " |" for row in rows]
    return "\n".join([shown[0], "|" + "|".join(rule) + "|", *shown[1:]])


def plain(text: str) -> str:
    """The text on one line, with a blank for every character that has no shape."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _escape(text: str) -> str:
    escaped = re.sub(r"([\\`*\[\]|~$])|(?<!\w)_|_(?!\w)", lambda match: "\\" + match[0], plain(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    """The command as indented code, which needs no fence that it could close."""
    return f"    {plain(text)}" if text else ""

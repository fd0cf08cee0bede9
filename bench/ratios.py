"""Ratios of what one run measured, each within a round and then over the rounds: a slow minute hits both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from .schema import Case, Ratio, Round
from .summary import spread

Value = Callable[[Round], float | None]

#: Sentences after which memory is taken for settled.
SETTLED = 1000


def ratios(cases: Sequence[Case], precisions: dict[str, str]) -> list[Ratio]:
    """Every comparison that the cases allow; ``precisions`` are those of the models, in the order given."""
    found = [*_floors(cases), *_engines(cases), *_models(cases, precisions), *_backends(cases)]
    found += [*_threads(cases), *_batches(cases), *_workers(cases), *_callers(cases), *_growth(cases)]
    return [ratio for ratio in found if ratio is not None]


def ratio(name: str, of: Case, to: Case, value: Value, other: Value | None = None, stage: str = "") -> Ratio | None:
    """``value`` of each round of a case over ``other`` (the same) of that round of another; None without a round.

    ``stage`` is named with the second.
    """
    pairs = [(value(one), (other or value)(two)) for one, two in zip(of.rounds, to.rounds, strict=False)]
    values = [above / below for above, below in pairs if above is not None and below]
    found = spread(values)
    if found is None:
        return None
    return Ratio(
        name=name,
        of=of.name,
        to=f"{to.name}: {stage}" if stage else to.name,
        **found._asdict(),
        rounds=len(values),
    )


def stage(name: str) -> Value:
    """The median of a round's samples of a stage."""
    return lambda one: median(one.samples[name]) if one.samples.get(name) else None


def speed(one: Round) -> float | None:
    """Sentences a second of a throughput round."""
    return sum(sentences for sentences, _ in one.sizes) / one.seconds if one.seconds else None


_WHOLE = stage("whole")


def _from_text(one: Round) -> float | None:
    """The median of a call, with the splitting of its text and the parse before it, one after the other."""
    parts = [one.samples[name] for name in ("split", "parse", "whole") if one.samples.get(name)]
    return median(map(sum, zip(*parts, strict=True))) if one.samples.get("split") else None


def _floors(cases: Iterable[Case]) -> Iterator[Ratio | None]:
    """A call on parsed words, and one on raw text, over the plain encoder."""
    floor = stage("plain encoder")
    for case in cases:
        if case.kind in ("latency", "length"):
            yield ratio(f"{case.name}: whole / plain encoder", case, case, _WHOLE, floor, "plain encoder")
        if case.kind == "latency":
            name = f"{case.name}: from text / plain encoder"
            yield ratio(name, case, case, _from_text, floor, "plain encoder")


def _engines(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    """PyTorch over each bundle, and eager over compiled."""
    latency = _of(cases, "latency")
    for of in latency:
        for to in latency:
            if of.engine == "eager" and to.engine == "compile" and _same(of, to, "engine"):
                yield ratio(f"eager / compile ({_setting(of)})", of, to, _WHOLE)
            kind = _same(of, to, "engine", "model", "backend") and (of.backend == "cpu") == (to.backend == "cpu")
            if of.engine != "onnx" and to.engine == "onnx" and kind:
                yield ratio(f"{of.engine} / {to.model} ({_setting(to)})", of, to, _WHOLE)


def _models(cases: Sequence[Case], precisions: dict[str, str]) -> Iterator[Ratio | None]:
    """Each bundle over the one named first."""
    latency = [case for case in _of(cases, "latency") if case.engine == "onnx"]
    first = latency[0].model if latency else None
    for to in latency:
        for of in latency:
            if to.model == first != of.model and _same(of, to, "model"):
                names = precisions.get(of.model), precisions.get(to.model)
                above, below = names if names[0] != names[1] else (of.model, to.model)
                yield ratio(f"{above} / {below} ({_setting(of)})", of, to, _WHOLE)


def _backends(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    return _steps(_of(cases, "latency"), "backend", lambda of, to: f"{of.model}: {of.backend} / {to.backend}")


def _threads(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    return _steps(_of(cases, "latency"), "threads", lambda of, to: f"{of.threads} threads / {to.threads}")


def _batches(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    """Milliseconds of a word in a batch over those of one in a sentence alone (in the smallest batch).

    Means, for a few long sentences take much of the time; of words, for the batches of a round need not hold the same
    sentences as the calls with one.
    """

    def one(round_: Round) -> float | None:
        words = sum(words for _, words in round_.sizes)
        return sum(round_.samples.get("whole", ())) / words if words else None

    name = "a word in a batch of {} / of {}"
    return _steps(_of(cases, "latency"), "batch_size", lambda of, to: name.format(of.batch_size, to.batch_size), one)


def _workers(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    streams = [case for case in _of(cases, "throughput") if case.concurrency == 1]
    return _steps(streams, "workers", lambda of, to: f"speed of {of.workers} workers / {to.workers}", speed)


def _callers(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    calls = [case for case in _of(cases, "throughput") if case.batch_size == case.workers == 1]
    return _steps(calls, "concurrency", lambda of, to: f"speed of {of.concurrency} callers / {to.concurrency}", speed)


def _growth(cases: Iterable[Case]) -> Iterator[Ratio | None]:
    """Memory at the end of a long stream over that after :data:`SETTLED` sentences."""

    def settled(one: Round) -> float | None:
        return next((mb for done, mb in one.memory.growth if done >= SETTLED), None)

    def last(one: Round) -> float | None:
        return one.memory.growth[-1][1] if one.memory.growth else None

    for case in cases:
        if case.kind == "soak":
            name = f"memory after {case.rounds[0].sizes[0][0]} sentences / after {SETTLED}" if case.rounds else ""
            yield ratio(name, case, case, last, settled)


def _steps(
    cases: Sequence[Case], field: str, name: Callable[[Case, Case], str], value: Value = _WHOLE
) -> Iterator[Ratio | None]:
    """Each case over the first that differs from it in ``field`` alone."""
    for of in cases:
        to = next((case for case in cases if _same(of, case, field)), of)
        if getattr(of, field) != getattr(to, field):
            others = _setting(of, field)
            yield ratio(f"{name(of, to)} ({of.model}{', ' + others if others else ''})", of, to, value)


def _of(cases: Iterable[Case], kind: str) -> list[Case]:
    return [case for case in cases if case.kind == kind]


def _same(one: Case, other: Case, *but: str) -> bool:
    fields = ("kind", "model", "engine", "backend", "threads", "batch_size", "workers", "concurrency", "subwords")
    return all(getattr(one, name) == getattr(other, name) for name in fields if name not in but)


def _setting(case: Case, but: str = "") -> str:
    """What a ratio's two cases share, for people."""
    said: dict[str, Any] = {
        "backend": case.backend,
        "threads": f"threads {case.threads}",
        "batch_size": f"batch {case.batch_size}",
    }
    return ", ".join(text for field, text in said.items() if field != but)

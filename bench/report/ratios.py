"""Ratios between the cases of one run, computed within each round so that a slow minute affects both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from .schema import CASE_SETTINGS, Case, Ratio, Round
from .statistics import compute_spread

#: Computes a value of a round, or None if the round does not have it.
RoundValue = Callable[[Round], float | None]

#: Sentences after which the memory of a stream counts as settled.
SETTLED_SENTENCES = 1000


def compute_ratios(cases: Sequence[Case], precisions: dict[str, str]) -> list[Ratio]:
    """Compute every ratio that the cases allow.

    Args:
        cases: Cases of one run.
        precisions: Precision of each model, in the order in which the models were requested.

    Returns:
        The ratios that have at least one round.
    """
    entries = [
        *_compare_with_plain_encoder(cases),
        *_compare_engines(cases),
        *_compare_models(cases, precisions),
        *_compare_backends(cases),
        *_compare_threads(cases),
        *_compare_batch_sizes(cases),
        *_compare_workers(cases),
        *_compare_processes(cases),
        *_compare_callers(cases),
        *_compare_memory(cases),
    ]
    return [entry for entry in entries if entry is not None]


def compute_ratio(
    name: str, of: Case, to: Case, numerator: RoundValue, denominator: RoundValue | None = None, stage: str = ""
) -> Ratio | None:
    """Divide a value of each round of one case by a value of the same round of another.

    Args:
        name: Name of the ratio.
        of: Case of the numerator.
        to: Case of the denominator.
        numerator: Computes the value of a round of ``of``.
        denominator: Computes the value of a round of ``to``; default ``numerator``.
        stage: Stage of the denominator, to be named in the result.

    Returns:
        Median, minimum and maximum over rounds, or None if no round has both values.
    """
    pairs = [
        (numerator(upper), (denominator or numerator)(lower))
        for upper, lower in zip(of.rounds, to.rounds, strict=False)
    ]
    values = [upper / lower for upper, lower in pairs if upper is not None and lower]
    over_rounds = compute_spread(values)
    if over_rounds is None:
        return None
    return Ratio(
        name=name,
        of=of.name,
        to=f"{to.name}: {stage}" if stage else to.name,
        **over_rounds._asdict(),
        rounds=len(values),
    )


def stage_median(name: str) -> RoundValue:
    """Return a function that computes the median of a round's samples of a stage.

    Args:
        name: Name of the stage.
    """
    return lambda round_: median(round_.samples[name]) if round_.samples.get(name) else None


def compute_sentences_per_second(round_: Round) -> float | None:
    """Return the sentences per second of a throughput round, or None if it took no time."""
    return sum(sentences for sentences, _ in round_.sizes) / round_.seconds if round_.seconds else None


#: Median time of a whole call.
_WHOLE = stage_median("whole")


def _compute_time_from_text(round_: Round) -> float | None:
    """Return the median time of a call plus the splitting and the parse that precede it, or None without texts."""
    parts = [round_.samples[name] for name in ("split", "parse", "whole") if round_.samples.get(name)]
    return median(map(sum, zip(*parts, strict=True))) if round_.samples.get("split") else None


def _compare_with_plain_encoder(cases: Iterable[Case]) -> Iterator[Ratio | None]:
    """Compare calls on parsed words, and on raw text, with the plain encoder."""
    encoder = stage_median("plain encoder")
    for case in cases:
        if case.kind in ("latency", "length"):
            yield compute_ratio(f"{case.name}: whole / plain encoder", case, case, _WHOLE, encoder, "plain encoder")
        if case.kind == "latency":
            name = f"{case.name}: from text / plain encoder"
            yield compute_ratio(name, case, case, _compute_time_from_text, encoder, "plain encoder")


def _compare_engines(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    """Compare PyTorch with each bundle, and eager with compiled PyTorch."""
    latency = _select_cases(cases, "latency")
    for of in latency:
        for to in latency:
            if of.engine == "eager" and to.engine == "compile" and _have_same_settings(of, to, "engine"):
                yield compute_ratio(f"eager / compile ({_describe_settings(of)})", of, to, _WHOLE)
            same_device = (of.backend == "cpu") == (to.backend == "cpu")
            comparable = _have_same_settings(of, to, "engine", "model", "backend") and same_device
            if of.engine != "onnx" and to.engine == "onnx" and comparable:
                yield compute_ratio(f"{of.engine} / {to.model} ({_describe_settings(to)})", of, to, _WHOLE)


def _compare_models(cases: Sequence[Case], precisions: dict[str, str]) -> Iterator[Ratio | None]:
    """Compare each bundle with the first one."""
    latency = [case for case in _select_cases(cases, "latency") if case.engine == "onnx"]
    first = latency[0].model if latency else None
    for to in latency:
        for of in latency:
            if to.model == first != of.model and _have_same_settings(of, to, "model"):
                names = precisions.get(of.model), precisions.get(to.model)
                numerator, denominator = names if names[0] != names[1] else (of.model, to.model)
                yield compute_ratio(f"{numerator} / {denominator} ({_describe_settings(of)})", of, to, _WHOLE)


def _compare_backends(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    latency = _select_cases(cases, "latency")
    return _compare_with_first(latency, "backend", lambda of, to: f"{of.model}: {of.backend} / {to.backend}")


def _compare_threads(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    latency = _select_cases(cases, "latency")
    return _compare_with_first(latency, "threads", lambda of, to: f"{of.threads} threads / {to.threads}")


def _compare_batch_sizes(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    """Compare the time per word with that of the smallest batch size.

    Means are compared, because a few long sentences take much of the time, and times are per word, because the batches
    of a round need not hold the same sentences.
    """

    def time_per_word(round_: Round) -> float | None:
        words = sum(words for _, words in round_.sizes)
        return sum(round_.samples.get("whole", ())) / words if words else None

    latency, name = _select_cases(cases, "latency"), "time per word, batch {} / batch {}"
    return _compare_with_first(
        latency, "batch_size", lambda of, to: name.format(of.batch_size, to.batch_size), time_per_word
    )


def _compare_workers(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    streams = [case for case in _select_cases(cases, "throughput") if case.concurrency == 1]
    return _compare_with_first(
        streams,
        "workers",
        lambda of, to: f"sentences/s, {of.workers} workers / {to.workers}",
        compute_sentences_per_second,
    )


def _compare_processes(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    streams = [case for case in _select_cases(cases, "throughput") if case.concurrency == case.workers == 1]
    return _compare_with_first(
        streams,
        "processes",
        lambda of, to: f"sentences/s, {of.processes} processes / {to.processes}",
        compute_sentences_per_second,
    )


def _compare_callers(cases: Sequence[Case]) -> Iterator[Ratio | None]:
    streams = _select_cases(cases, "throughput")
    calls = [case for case in streams if case.batch_size == case.workers == case.processes == 1]
    return _compare_with_first(
        calls,
        "concurrency",
        lambda of, to: f"sentences/s, {of.concurrency} callers / {to.concurrency}",
        compute_sentences_per_second,
    )


def _compare_memory(cases: Iterable[Case]) -> Iterator[Ratio | None]:
    """Compare the memory at the end of a long stream with the memory after ``SETTLED_SENTENCES`` sentences."""

    def settled(round_: Round) -> float | None:
        return next((mb for done, mb in round_.memory.growth if done >= SETTLED_SENTENCES), None)

    def last(round_: Round) -> float | None:
        return round_.memory.growth[-1][1] if round_.memory.growth else None

    for case in cases:
        if case.kind == "soak":
            name = (
                f"memory after {case.rounds[0].sizes[0][0]} sentences / after {SETTLED_SENTENCES}"
                if case.rounds
                else ""
            )
            yield compute_ratio(name, case, case, last, settled)


def _compare_with_first(
    cases: Sequence[Case], field: str, name: Callable[[Case, Case], str], value: RoundValue = _WHOLE
) -> Iterator[Ratio | None]:
    """Compare each case with the first case that has the same settings, except perhaps ``field``."""
    for of in cases:
        to = next((case for case in cases if _have_same_settings(of, case, field)), of)
        if getattr(of, field) != getattr(to, field):
            settings = _describe_settings(of, field)
            yield compute_ratio(f"{name(of, to)} ({of.model}{', ' + settings if settings else ''})", of, to, value)


def _select_cases(cases: Iterable[Case], kind: str) -> list[Case]:
    return [case for case in cases if case.kind == kind]


def _have_same_settings(a: Case, b: Case, *ignored: str) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in CASE_SETTINGS if name not in ignored)


def _describe_settings(case: Case, ignored: str = "") -> str:
    """Describe the settings that the two cases of a ratio share."""
    settings: dict[str, Any] = {
        "backend": case.backend,
        "threads": f"threads {case.threads}",
        "batch_size": f"batch {case.batch_size}",
    }
    return ", ".join(text for field, text in settings.items() if field != ignored)

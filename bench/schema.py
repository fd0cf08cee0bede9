"""The JSON that ``trimf bench`` writes: every sample, where it was taken, and the ratios drawn from them.

All times are milliseconds of one call on one batch, unless a name says otherwise; memory is in MB (10**6 bytes).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SCHEMA_VERSION = 1

Kind = Literal["latency", "length", "throughput", "soak"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An object of the report."""


class Power(Section, frozen=True, kw_only=True):
    """What NVML said of the GPU while a round ran: clocks in MHz, watts, joules, and reasons it was slowed down."""

    clock_mhz: float
    lowest_clock_mhz: float
    watts: float
    joules: float
    throttled: tuple[str, ...] = ()


class Memory(Section, frozen=True, kw_only=True):
    """Most host and device memory a separate process saw the round's process hold.

    ``host`` is resident memory; that of a latency round includes the plain encoder and the parser. ``device`` is what
    NVML says of the process, or, where it cannot tell processes apart, what was in use more than before it. ``growth``
    holds (sentences done, resident MB) in order, where the round counts them.
    """

    host: float
    device: float | None = None
    growth: tuple[tuple[int, float], ...] = ()


class Measured(Section, frozen=True, kw_only=True):
    """What one fresh process measured of a case.

    ``samples`` holds milliseconds by stage, in the order taken and none left out. Of a "latency" or "length" case:

    - "whole": a call on a batch of parsed sentences, from words to decoded results;
    - its split, from a second call on the same batch: "words" (to arrays), each subgraph by its name, "decode"; on a
      GPU "encoder" … are what it computes, with "encoder host-to-device" and "encoder device-to-host" beside it;
    - "plain encoder": the transformer alone on the same arrays;
    - "parse" and, where the data is text, "split" into words, of the same sentences.

    The i-th sample of each is of the same batch, whose sentences and words are ``sizes[i]``. With ``concurrency`` above
    1 "whole" is a call on one text; other "throughput" cases have no samples, and ``sizes`` is their sum.

    ``load`` is milliseconds until the bundle (of a throughput case: with its parser) was loaded in a started
    interpreter, ``first`` the first call (of "compile": until nothing was compiled any more). ``seconds`` is the wall
    time measured, ``padding`` the share of subword positions that were padding.
    """

    load: float
    first: float
    samples: dict[str, list[float]]
    sizes: list[tuple[int, int]]
    seconds: float
    padding: float


class Round(Measured, frozen=True, kw_only=True):
    """The same with what was seen of the process from outside."""

    memory: Memory
    power: Power | None = None


class Case(Section, frozen=True, kw_only=True):
    """One thing measured, in as many rounds as the run had.

    ``model`` names one of the report's subjects. ``engine`` is "onnx" for a bundle, "eager" or "compile" for PyTorch.
    ``subwords`` is the fixed length of a "length" case.
    """

    name: str
    kind: Kind
    model: str
    engine: Literal["onnx", "eager", "compile"]
    backend: str
    threads: int
    batch_size: int
    workers: int = 1
    concurrency: int = 1
    subwords: int | None = None
    rounds: list[Round]


class Subject(Section, frozen=True, kw_only=True):
    """A bundle or checkpoint that was measured.

    ``sha256`` is of the manifest (which holds the hash of every file). ``precision`` is the declared one,
    ``products`` what the graphs hold: matrix products by type. ``f1`` is strict micro F1 (per cent) on ``data``.
    """

    name: str
    sha256: str
    precision: str
    products: dict[str, dict[str, int]]
    f1: dict[str, float] | None = None


class Floor(Section, frozen=True, kw_only=True):
    """The encoder's least time from arithmetic: what it must compute and read over what the device was measured to do.

    ``operations`` and ``bytes`` are of one call at the median length, ``peak_operations`` and ``peak_bytes`` a second.
    """

    model: str
    backend: str
    threads: int
    batch_size: int
    subwords: int
    operations: float
    bytes: float
    peak_operations: float
    peak_bytes: float
    milliseconds: float


class Ratio(Section, frozen=True, kw_only=True):
    """How two things compare: the ratio of their medians in each round, the median of those, and the least and most.

    ``of`` and ``to`` name cases, a stage of a case as "case: stage".
    """

    name: str
    of: str
    to: str
    value: float
    low: float
    high: float
    rounds: int


class Report(Section, frozen=True, kw_only=True):
    """A whole run of ``trimf bench``.

    ``environment`` says where: device, processor, cores, memory, operating system, Python, versions of the libraries,
    driver. ``data`` names the sentences, ``sentences`` and ``words`` count them. ``notes`` says what was left
    out and why, and what else a reader must know.
    """

    schema_version: int
    created: str
    command: str
    environment: dict[str, Any]
    data: str
    sentences: int
    words: int
    subjects: list[Subject]
    cases: list[Case]
    floors: list[Floor]
    ratios: list[Ratio]
    notes: tuple[str, ...] = ()

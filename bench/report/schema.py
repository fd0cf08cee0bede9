"""Schema of the JSON report of ``trimf bench``: every sample, how it was taken, and the ratios computed from them.

Times are milliseconds per call on one batch, unless stated otherwise; memory is in MB (10**6 bytes).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

#: Version of the report format. Version 1 has no profiles; ``trimf bench compare`` reads it, too.
SCHEMA_VERSION = 2

#: Kinds of cases: calls on batches, calls on sentences of a fixed length, streams from raw text, and one long stream.
CaseKind = Literal["latency", "length", "throughput", "soak"]

#: Kind of a case -> what its calls start from: sentences of words, or raw text.
CASE_INPUTS = {"latency": "words", "length": "words", "throughput": "text", "soak": "text"}

#: Fields of a case that say how it is run. Cases that differ here are not the same measurement.
CASE_SETTINGS = (
    "kind",
    "model",
    "engine",
    "backend",
    "threads",
    "batch_size",
    "workers",
    "processes",
    "concurrency",
    "subwords",
)


class ReportObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An object of the report."""


class Power(ReportObject, frozen=True, kw_only=True):
    """State of the GPU during a round, as reported by NVML.

    Attributes:
        clock_mhz: Mean clock of the multiprocessors.
        lowest_clock_mhz: Lowest clock of the multiprocessors.
        watts: Mean power draw.
        joules: Energy.
        throttled: Reasons for which the clock was lowered.
    """

    clock_mhz: float
    lowest_clock_mhz: float
    watts: float
    joules: float
    throttled: tuple[str, ...] = ()


class Memory(ReportObject, frozen=True, kw_only=True):
    """Peak memory of a round's process, and of those that it had started, observed from another process.

    Attributes:
        host: Resident memory in MB. For latency rounds it includes the plain encoder and the parser.
        device: Device memory of the process in MB, as reported by NVML. If NVML cannot tell processes apart, it is the
            increase of the memory in use since before the process started. None on a CPU.
        growth: Pairs of sentences done and resident MB, in order, for rounds that count sentences.
    """

    host: float
    device: float | None = None
    growth: tuple[tuple[int, float], ...] = ()


class Measurement(ReportObject, frozen=True, kw_only=True):
    """Measurements of a case in one fresh process.

    The stages of "latency" and "length" cases are:

    - "whole": a call on a batch of parsed sentences, from words to decoded results;
    - its split, from a second call on the same batch: "words" (words to arrays), each subgraph by its name, and
      "decode". On a GPU, "encoder" and the other subgraphs are the computation alone; copies are separate stages, such
      as "encoder host-to-device" and "encoder device-to-host";
    - "plain encoder": the transformer alone on the same arrays;
    - "parse" of the same sentences, and, if the data is text, "split" of the text into words.

    The i-th sample of each stage belongs to the same batch, whose size is ``sizes[i]``. Streams have no
    samples and one entry in ``sizes``, their sum, except with ``concurrency`` above 1: then "whole" is a call on one
    text.

    Attributes:
        load: Milliseconds to load the model in a running interpreter; for throughput cases including its parser.
        first: Milliseconds of the first call; for "compile", until nothing was compiled any more.
        samples: Stage -> milliseconds, in the order taken; no sample is dropped.
        sizes: Sentences and words of each call.
        seconds: Wall-clock time of the measurement.
        padding: Share of subword positions that were padding, from 0 to 1; None if other processes encoded them.
        warm_up: Milliseconds that ``Extractor.warm_up`` took after the first call; None where it was not timed.
        cuda_graphs: Subgraph -> whether its runs were captured as CUDA graphs; only subgraphs that say so.
    """

    load: float
    first: float
    samples: dict[str, list[float]]
    sizes: list[tuple[int, int]]
    seconds: float
    padding: float | None
    warm_up: float | None = None
    cuda_graphs: dict[str, bool] = {}


class Round(Measurement, frozen=True, kw_only=True):
    """Measurements of a case in one fresh process, with what was observed of the process from outside.

    Attributes:
        memory: Peak memory of the process.
        power: State of the GPU; None without a GPU.
    """

    memory: Memory
    power: Power | None = None


class Case(ReportObject, frozen=True, kw_only=True):
    """A measurement with fixed settings, repeated in several rounds.

    Attributes:
        name: Unique name, which contains all settings.
        kind: Kind of the case.
        model: Name of one of the report's subjects.
        engine: "onnx" for a bundle, "eager" or "compile" for a checkpoint in PyTorch.
        backend: Backend that runs the bundle, or "cpu" or "cuda" for PyTorch.
        threads: Intra-op threads per worker.
        batch_size: Sentences per batch.
        workers: Worker threads of a stream.
        processes: Processes of a stream.
        concurrency: Threads that share one extractor.
        subwords: Length of the sentences of a "length" case.
        rounds: Measurements, each in a fresh process.
    """

    name: str
    kind: CaseKind
    model: str
    engine: Literal["onnx", "eager", "compile"]
    backend: str
    threads: int
    batch_size: int
    workers: int = 1
    processes: int = 1
    concurrency: int = 1
    subwords: int | None = None
    rounds: list[Round]


class ModelInfo(ReportObject, frozen=True, kw_only=True):
    """A bundle or checkpoint that was measured.

    Attributes:
        name: Name of the model.
        sha256: Hash of a bundle's manifest, which holds the hash of every other file, or of a checkpoint's weights.
        precision: Declared precision.
        products: Subgraph -> element type -> number of matrix products in the graph.
        f1: Strict micro F1 (%) on ``data``, for entities and for relations; None if it was not measured.
    """

    name: str
    sha256: str
    precision: str
    products: dict[str, dict[str, int]]
    f1: dict[str, float] | None = None


class LatencyFloor(ReportObject, frozen=True, kw_only=True):
    """Lower bound on the latency of the encoder: its operations and bytes over the measured peaks of the device.

    Attributes:
        model: Name of the model.
        backend: Backend.
        threads: Intra-op threads.
        batch_size: Sentences per batch.
        subwords: Median length of the data, for which the bound is computed.
        operations: Operations of one call.
        bytes: Bytes that one call reads and writes.
        peak_operations: Operations per second, for the mix of element types of the encoder.
        peak_bytes: Bytes per second.
        milliseconds: The lower bound.
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


class Ratio(ReportObject, frozen=True, kw_only=True):
    """Ratio of two medians of the same round, over all rounds.

    Attributes:
        name: Name of the ratio.
        of: Case of the numerator.
        to: Case of the denominator; "case: stage" for a stage of a case.
        value: Median over rounds.
        low: Minimum over rounds.
        high: Maximum over rounds.
        rounds: Number of rounds.
    """

    name: str
    of: str
    to: str
    value: float
    low: float
    high: float
    rounds: int


class ProfiledNode(ReportObject, frozen=True, kw_only=True):
    """Time of a node of a subgraph, as the inference library runs it after its optimizations.

    Attributes:
        name: Name of the node.
        operator: Operator or kind of layer; empty if the library does not tell it.
        provider: Library or execution provider that runs the node.
        mean: Mean time per run of the subgraph, in microseconds.
        median: Median time per run of the subgraph, in microseconds.
    """

    name: str
    operator: str
    provider: str
    mean: float
    median: float


class SubgraphProfile(ReportObject, frozen=True, kw_only=True):
    """Times of all nodes of a subgraph.

    Attributes:
        subgraph: Name of the subgraph.
        runs: Runs that were profiled; 0 if the data did not need the subgraph.
        nodes: The nodes; the largest mean comes first.
    """

    subgraph: str
    runs: int
    nodes: list[ProfiledNode]


class Profile(ReportObject, frozen=True, kw_only=True):
    """Times of the nodes of a bundle on a backend, from the profiler of the inference library.

    They were taken in a separate process. Profiling slows a run down, so compare nodes with each other, and not with
    the times of the cases.

    Attributes:
        model: Name of one of the report's subjects.
        backend: Backend that runs the bundle.
        threads: Intra-op threads.
        batch_size: Sentences per batch.
        batches: Batches that were profiled; a batch may need several runs of a subgraph, or none.
        subgraphs: The subgraphs.
    """

    model: str
    backend: str
    threads: int
    batch_size: int
    batches: int
    subgraphs: list[SubgraphProfile]


class Parity(ReportObject, frozen=True, kw_only=True):
    """Comparison of a bundle on a backend with a reference, as ``trimf verify`` does it; None is not stated.

    Attributes:
        model: Name of one of the report's subjects.
        backend: Backend that runs the bundle.
        against: Name of the reference.
        sentences: Number of sentences.
        identical: Percentage of sentences with identical entities and relations.
        entities: F1 of the entities against those of the reference, in %.
        relations: F1 of the relations against those of the reference, in %.
        arcs: Percentage of words with the same arc, if the model parses by itself.
        errors: Output -> relative error at the 99th percentile.
        failure: Limits of the bundle's precision that were exceeded; None if there are none.
    """

    model: str
    backend: str
    against: str
    sentences: int
    identical: float | None = None
    entities: float | None = None
    relations: float | None = None
    arcs: float | None = None
    errors: dict[str, float | None] = {}
    failure: str | None = None


class FailedPart(ReportObject, frozen=True, kw_only=True):
    """A part of a run that failed while the others went on.

    Attributes:
        part: Name of the part: that of a case, or of another job.
        reason: The error, in one line.
    """

    part: str
    reason: str


class Report(ReportObject, frozen=True, kw_only=True):
    """Report of one run of ``trimf bench``.

    Attributes:
        schema_version: Version of this format.
        created: Time of the run (ISO 8601, UTC).
        command: Command line.
        environment: Device, processor, cores, memory, operating system, Python, library versions and driver.
        data: Name of the data.
        sentences: Number of sentences in the data.
        words: Number of words in the data.
        subjects: Models that were measured.
        cases: Cases with all their samples.
        floors: Lower bounds on the latency of the encoder.
        ratios: Ratios between cases and stages.
        profiles: Times of the nodes of each bundle, if they were requested.
        parities: Comparisons with the CPU, of a quick run.
        failures: Parts that failed, of a quick run.
        notes: What was left out and why, and what else a reader must know.
    """

    schema_version: int
    created: str
    command: str
    environment: dict[str, Any]
    data: str
    sentences: int
    words: int
    subjects: list[ModelInfo]
    cases: list[Case]
    floors: list[LatencyFloor]
    ratios: list[Ratio]
    profiles: list[Profile] = []
    parities: list[Parity] = []
    failures: list[FailedPart] = []
    notes: tuple[str, ...] = ()

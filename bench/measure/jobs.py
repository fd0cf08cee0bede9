"""Jobs of the child processes and their answers, which are exchanged as JSON."""

from __future__ import annotations

from typing import Literal

from ..report.schema import ReportObject

#: Prefix of the stderr lines of a child process that are messages to its parent: "start" or "stop" of the measurement,
#: or the number of sentences done.
MARK_PREFIX = "trimf-bench: "


#: Fewest batches of a warm-up, whose samples are dropped.
WARM_UP_BATCHES = 10
#: Seconds after which a warm-up on a GPU ends, once the fewest batches were run. If time allows, it runs every batch
#: twice, because each shape is compiled or captured when it first occurs.
MAX_WARM_UP_SECONDS = 60.0


class Job(ReportObject, frozen=True, kw_only=True):
    """A job of a child process.

    Attributes:
        name: Name of the job.
        kind: Kind of the case to measure, or "check" (run the model once and describe it), "evaluate" (measure F1),
            "peaks" (measure the device), "profile" (take the time of every node) or "verify" (compare with the CPU).
        model: Name of the model in the report.
        path: Folder of the bundle or checkpoint.
        data: File written by ``write_corpus``.
        engine: "onnx" for a bundle, "eager" or "compile" for a checkpoint in PyTorch.
        backend: Backend to run on.
        threads: Intra-op threads per worker.
        batch_size: Sentences per batch.
        workers: Worker threads of a stream.
        processes: Processes of a stream.
        concurrency: Threads that share one extractor.
        subwords: Length of the sentences of a "length" case.
        seconds: Least measurement time in seconds.
        calls: Calls to measure at least, as far as ``max_seconds`` allows.
        max_seconds: Measurement time after which no further call is started for the sake of ``calls``.
        sentences: Sentences to stream in a "soak" case.
        lengths: Lengths in subwords for which a "check" collects words.
        batch_sizes: Batch sizes for which a "check" counts the work of the plain encoder.
        precisions: Element types whose peaks a "peaks" job measures.
        warm_up_batches: Fewest batches of a warm-up.
        warm_up_seconds: Time after which a warm-up ends, once these were run.
        times_warm_up: Time ``Extractor.warm_up`` before a stream.
        whole_only: Leave out the stages and the plain encoder of a "latency" case or a "check".
        parses: Time the parser of the bundle in a "latency" case, if it needs one.
    """

    name: str
    kind: Literal["check", "latency", "length", "throughput", "soak", "evaluate", "peaks", "profile", "verify"]
    model: str
    path: str
    data: str
    engine: Literal["onnx", "eager", "compile"] = "onnx"
    backend: str = "auto"
    threads: int = 1
    batch_size: int = 1
    workers: int = 1
    processes: int = 1
    concurrency: int = 1
    subwords: int | None = None
    seconds: float = 0.0
    calls: int = 0
    max_seconds: float = 0.0
    sentences: int = 0
    lengths: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()
    warm_up_batches: int = WARM_UP_BATCHES
    warm_up_seconds: float = MAX_WARM_UP_SECONDS
    times_warm_up: bool = False
    whole_only: bool = False
    parses: bool = True


class EncoderWork(ReportObject, frozen=True, kw_only=True):
    """Minimum work of a plain encoder for one call.

    Attributes:
        operations: Element type -> operations; a multiplication and an addition count as two.
        bytes: Bytes of all weights once, of the rows that are looked up in tables, and of inputs and outputs. Values
            passed between operators do not count, because a backend could keep them in registers and caches.
    """

    operations: dict[str, float]
    bytes: float


class ModelCheck(ReportObject, frozen=True, kw_only=True):
    """Properties of a model on a backend, determined before anything is measured.

    Attributes:
        backend: Backend that was selected.
        reason: Why it was selected.
        device: Name of the accelerator; None on a CPU.
        products: Subgraph -> element type -> number of matrix products.
        median_subwords: Median number of subwords per sentence of the data, at most the model's limit.
        work: Batch size -> work of the plain encoder at the median length; empty if the backend does not run the ONNX
            files.
        lengths: Number of subwords -> words of a sentence of exactly that length.
    """

    backend: str
    reason: str
    device: str | None
    products: dict[str, dict[str, int]]
    median_subwords: int
    work: dict[int, EncoderWork]
    lengths: dict[int, list[str]]


class F1Scores(ReportObject, frozen=True, kw_only=True):
    """Strict micro F1 in %."""

    entities: float
    relations: float


class DevicePeaks(ReportObject, frozen=True, kw_only=True):
    """Measured peaks of a device on a backend.

    Attributes:
        operations: Element type -> operations per second.
        bytes: Bytes per second.
    """

    operations: dict[str, float]
    bytes: float

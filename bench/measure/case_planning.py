"""Options of a benchmark run, and the cases that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...runtime.engine.backend import BACKENDS
from ...runtime.errors import BackendError, InputError
from ..report.statistics import MIN_SAMPLES
from .jobs import Job, ModelCheck

#: Seconds to measure a case, over all rounds, if no time was requested.
DEFAULT_SECONDS = 4.0
#: Seconds after which a case ends, if no time was requested and p99 still needs more calls.
MAX_SECONDS = 30.0
#: Batches of a profile, if no time was requested and ``MAX_SECONDS`` allows.
LEAST_PROFILED_BATCHES = 10

#: Options of a quick run that nobody has set.
QUICK_OPTIONS: Mapping[str, Any] = {"batch_sizes": (1, 32), "workers": (1, 4), "lengths": (), "rounds": 1}
#: Limits of a quick run that say how long it takes: seconds to measure a case, seconds after which it ends although p90
#: still needs more calls, and seconds of a profile.
QUICK_SECONDS, QUICK_MAX_SECONDS, QUICK_PROFILE_SECONDS = 2.5, 15.0, 0.5
#: Limits of the warm-up of a quick run; see ``Job``.
QUICK_WARM_UP: Mapping[str, Any] = {"warm_up_batches": 3, "warm_up_seconds": 10.0}


class BenchmarkOptions(NamedTuple):
    """Options of a benchmark run; ``check`` validates them.

    Attributes:
        models: Bundle folders, or "default".
        checkpoint: Checkpoint to benchmark in PyTorch.
        data: File of sentences; None uses the sentences shipped with TriMF.
        backends: Backends to run every bundle on.
        batch_sizes: Sentences per batch.
        threads: Intra-op threads per worker.
        workers: Worker threads of a stream.
        processes: Processes of a stream, with one worker each.
        concurrency: Threads that share one extractor.
        seconds: Seconds of measurement per case, over all its rounds. None is ``DEFAULT_SECONDS``, and longer where p99
            needs more calls, up to ``MAX_SECONDS``.
        rounds: Fresh processes that measure each case.
        lengths: Lengths of synthetic sentences in subwords.
        soak: Sentences of the long stream; 0 for none.
        profile: Also take the time of every node of each bundle, in processes of their own.
        quick: Measure one bundle on one backend in a few minutes, compare it with the CPU, and go on if a part fails.
    """

    models: Sequence[str] = ("default",)
    checkpoint: Path | None = None
    data: Path | None = None
    backends: Sequence[str] = ("auto",)
    batch_sizes: Sequence[int] = (1, 8, 32)
    threads: Sequence[int] = (1,)
    workers: Sequence[int] = (1,)
    processes: Sequence[int] = (1,)
    concurrency: Sequence[int] = (1,)
    seconds: float | None = None
    rounds: int = 3
    lengths: Sequence[int] = (16, 64, 128)
    soak: int = 0
    profile: bool = False
    quick: bool = False

    def check(self) -> None:
        """Check that every option is within its limits.

        Raises:
            InputError: A number is out of range, a list is empty, or a value occurs twice.
            BackendError: A backend is unknown.
        """
        if self.quick:
            self._check_quick()
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"seconds must be > 0, got {self.seconds}")
        if self.rounds < 1:
            raise InputError(f"rounds must be >= 1, got {self.rounds}")
        if self.soak < 0:
            raise InputError(f"soak must be >= 0, got {self.soak}")
        for name in ("batch_sizes", "threads", "workers", "processes", "concurrency", "lengths"):
            values: Sequence[int] = getattr(self, name)
            if not values and name != "lengths":
                raise InputError(f"{name} must have at least one value, got none")
            for value in values:
                if value < 1:
                    raise InputError(f"{name} must be >= 1, got {value}")
            _reject_duplicates(name, values)
        _reject_duplicates("models", self.models)
        _reject_duplicates("backends", self.backends)
        for backend in self.backends:
            if backend not in BACKENDS:
                raise BackendError(f"unknown backend {backend!r}; choose from {', '.join(BACKENDS)}")

    def _check_quick(self) -> None:
        for name, values in (("model", self.models), ("backend", self.backends), ("threads", self.threads)):
            if len(values) > 1:
                raise InputError(f"--quick takes one --{name}, got {len(values)}; leave out --quick to compare several")
        if self.checkpoint or self.soak:
            option = "--against" if self.checkpoint else "--soak"
            raise InputError(f"--quick and {option} exclude each other; leave out --quick")


def _reject_duplicates(name: str, values: Sequence[object]) -> None:
    duplicate = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if duplicate is not None:
        raise InputError(f"{name} must not repeat a value, got {duplicate} twice")


class BenchmarkTarget(NamedTuple):
    """A model to benchmark on a backend.

    Attributes:
        model: Name of the model in the report.
        path: Folder of the bundle or checkpoint.
        engine: "onnx" for a bundle, "eager" or "compile" for a checkpoint in PyTorch.
        backend: Backend that runs it.
        checked: Properties found by the check.
        lengths: Number of subwords -> data file of a synthetic sentence of that length.
    """

    model: str
    path: str
    engine: Literal["onnx", "eager", "compile"]
    backend: str
    checked: ModelCheck
    lengths: Mapping[int, str]


def name_models(paths: Sequence[str]) -> list[str]:
    """Name models for the report: the folder's name, with as many parent folders as make the names unique.

    Args:
        paths: Folders of bundles and checkpoints, or "default".

    Returns:
        One name per path.
    """
    for parts in range(1, 1 + max(len(Path(path).parts) for path in paths)):
        unique = ["default" if path == "default" else "/".join(Path(path).resolve().parts[-parts:]) for path in paths]
        if len(set(unique)) == len(unique):
            return unique
    return list(paths)


def plan_cases(options: BenchmarkOptions, targets: Sequence[BenchmarkTarget], data: str) -> list[Job]:
    """Plan the cases of a run.

    Args:
        options: Checked options.
        targets: Models on their backends.
        data: Data file of the run (see ``write_corpus``).

    Returns:
        The cases, in the order in which each round runs them.
    """
    return [case for target in targets for case in _plan_cases(options, target, data)]


def _plan_cases(options: BenchmarkOptions, target: BenchmarkTarget, data: str) -> Iterator[Job]:
    common: dict[str, object] = {
        "model": target.model,
        "path": target.path,
        "engine": target.engine,
        "backend": target.backend,
    }
    common["data"] = data
    default, longest, percentile = DEFAULT_SECONDS, MAX_SECONDS, 99
    if options.quick:
        default, longest, percentile = QUICK_SECONDS, QUICK_MAX_SECONDS, 90
        common |= {**QUICK_WARM_UP, "times_warm_up": True}
    common["seconds"] = (options.seconds or default) / options.rounds
    if options.seconds is None:
        common["calls"] = math.ceil(MIN_SAMPLES[percentile] / options.rounds)
        common["max_seconds"] = longest / options.rounds

    def build_job(kind: str, **fields: object) -> Job:
        unnamed = Job(name="", kind=kind, **{**common, **fields})  # type: ignore[arg-type]
        values = {field: getattr(unnamed, field) for field in Job.__struct_fields__}
        return Job(**values | {"name": _name_case(unnamed)})

    for threads in options.threads:
        for batch in options.batch_sizes:
            yield build_job("latency", threads=threads, batch_size=batch)
    if target.engine != "onnx":
        return
    for length, file in target.lengths.items():
        yield build_job("length", threads=options.threads[0], subwords=length, data=file)
    stream_batches = [max(options.batch_sizes)] if options.quick else options.batch_sizes
    for threads in options.threads:
        for workers in options.workers:
            for batch in stream_batches:
                yield build_job("throughput", threads=threads, workers=workers, batch_size=batch)
        for processes in options.processes:
            for batch in stream_batches if processes > 1 else ():
                yield build_job("throughput", threads=threads, processes=processes, batch_size=batch)
        for callers in options.concurrency:
            if callers > 1:
                yield build_job("throughput", threads=threads, concurrency=callers)
    if options.soak:
        last = {"threads": options.threads[0], "workers": options.workers[-1], "batch_size": options.batch_sizes[-1]}
        yield build_job("soak", sentences=options.soak, **last)


def plan_profiles(options: BenchmarkOptions, targets: Sequence[BenchmarkTarget], data: str) -> list[Job]:
    """Plan the profiles of a run: the smallest and the largest batch of every bundle on every backend.

    A quick run always has one, of the smallest batch, for the number of nodes.

    Args:
        options: Checked options.
        targets: Models on their backends; only bundles can be profiled.
        data: Data file of the run (see ``write_corpus``).

    Returns:
        The jobs; none if no profile was requested.
    """
    limits: dict[str, float] = {"seconds": options.seconds or DEFAULT_SECONDS}
    if options.seconds is None:
        limits |= {"calls": LEAST_PROFILED_BATCHES, "max_seconds": MAX_SECONDS}
    sizes = sorted({min(options.batch_sizes), max(options.batch_sizes)})
    if options.quick and not options.profile:
        sizes = sizes[:1]
        limits = {"seconds": QUICK_PROFILE_SECONDS, **QUICK_WARM_UP}
    return [
        Job(
            name=f"profile {target.model} {target.backend} threads {threads} batch {batch}",
            kind="profile",
            model=target.model,
            path=target.path,
            data=data,
            backend=target.backend,
            threads=threads,
            batch_size=batch,
            **limits,  # type: ignore[arg-type]
        )
        for target in targets
        if (options.profile or options.quick) and target.engine == "onnx"
        for threads in options.threads
        for batch in sizes
    ]


def _name_case(job: Job) -> str:
    """Name a case by all its settings, so that two reports can be compared by name."""
    engine = [] if job.engine == "onnx" else [job.engine]
    parts = [job.kind, job.model, *engine, job.backend, f"threads {job.threads}", f"batch {job.batch_size}"]
    if job.workers > 1:
        parts.append(f"workers {job.workers}")
    if job.processes > 1:
        parts.append(f"processes {job.processes}")
    if job.concurrency > 1:
        parts.append(f"callers {job.concurrency}")
    if job.subwords:
        parts.append(f"{job.subwords} subwords")
    if job.sentences:
        parts.append(f"{job.sentences} sentences")
    return " ".join(parts)

"""Run a benchmark: check the options and models, measure all cases round by round, and build the report."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ...runtime.bundle.reader import Bundle
from ...runtime.errors import BackendError, BundleError, InputError
from ...runtime.extras import require_extra
from ..report.schema import SCHEMA_VERSION, Case, Measurement, ModelInfo, Parity, Power, Profile, Report, Round
from . import corpus as data
from .case_planning import BenchmarkOptions, BenchmarkTarget, name_models, plan_cases, plan_profiles
from .jobs import DevicePeaks, F1Scores, Job, ModelCheck
from .part_runner import PartRunner

if TYPE_CHECKING:
    from .gpu_monitor import GpuMonitor
    from .job_process import JobOutcome

#: Modules that a run needs in addition to those of the runtime.
REQUIRED_MODULES = ("onnx", "psutil")

#: Receives a line of text.
NoteCallback = Callable[[str], None]
#: Receives the label of the current job, the number of finished jobs, and the number of all jobs.
ProgressCallback = Callable[[str, int, int], None]


class RunOutcome(NamedTuple):
    """Result of a run.

    Attributes:
        report: Report of everything that was measured.
        failure: Error that ended the run early, if any.
    """

    report: Report
    failure: BaseException | None


def run_benchmark(
    options: BenchmarkOptions,
    command: str,
    say: NoteCallback = lambda _: None,
    progress: ProgressCallback = lambda *_: None,
) -> RunOutcome:
    """Run a benchmark.

    A job that fails ends the run; what was measured before it is kept. In a quick run, it ends only its own part.

    Args:
        options: Models, data and cases.
        command: Command line to record in the report.
        say: Receives notes, line by line: what was left out and what a reader must know.
        progress: Receives the progress of the run.

    Returns:
        The report, and the error that ended the run early, or that names the parts of a quick run that failed.

    Raises:
        InputError: An option is out of range, or the data has no sentences.
        DataError: The annotated data cannot be used.
        BundleError: A model is damaged.
        BackendError: A module is missing, or a model cannot run on a backend here.
    """
    require_extra("bench", *REQUIRED_MODULES)
    options.check()
    with tempfile.TemporaryDirectory(prefix="trimf-bench-") as folder:
        return _BenchmarkRun(options, command, say, progress, Path(folder)).execute()


class _BenchmarkRun:
    """State of one run; creating it reads the data and checks every model on every backend."""

    def __init__(
        self, options: BenchmarkOptions, command: str, say: NoteCallback, progress: ProgressCallback, folder: Path
    ) -> None:
        from .environment import LoadMonitor

        self._options, self._command, self._folder = options, command, folder
        self._say, self._progress = say, progress
        self._load = LoadMonitor()
        self._notes: list[str] = []
        self._cases: dict[str, Case] = {}
        self._scores: dict[str, F1Scores] = {}
        self._peaks: dict[tuple[str, int], DevicePeaks] = {}
        self._profiles: list[Profile] = []
        self._parities: list[Parity] = []
        self._parts = PartRunner(options.quick)
        paths = [*options.models, *([str(options.checkpoint)] if options.checkpoint else [])]
        self._names = dict(zip(paths, name_models(paths), strict=True))
        self._bundles = {path: Bundle(path) for path in options.models}
        self._hashes = {path: _hash_file(bundle.path / "manifest.json") for path, bundle in self._bundles.items()}
        longest = max(options.lengths, default=0)
        for path, bundle in self._bundles.items():
            if longest > (limit := bundle.manifest.sizes.max_subwords):
                raise InputError(f"lengths must be <= {limit} subwords for {self._names[path]}, got {longest}")
        if options.checkpoint:
            weights = options.checkpoint / "model.safetensors"
            if not weights.is_file():
                raise BundleError(f"checkpoint not found: {options.checkpoint} (create one with `trimf train`)")
            self._hashes[str(options.checkpoint)] = _hash_file(weights)
        parsers = sorted({bundle.manifest.parser.name for bundle in self._bundles.values()})
        if len(parsers) > 1:
            raise InputError(
                f"the models were trained on different parsers ({', '.join(parsers)}); benchmark them in separate runs"
            )
        self._parser = parsers[0]
        self._has_parser = True
        self._corpus = self._read_corpus()
        self._gpu: GpuMonitor | None = None
        self._targets = list(self._check_bundles())

    def execute(self) -> RunOutcome:
        """Run every job and build the report."""
        failure: BaseException | None = None
        try:
            self._measure_cases()
        except (Exception, KeyboardInterrupt) as error:
            if not self._has_results():
                raise
            failure = error
            self._add_note(
                f"the run ended early; everything measured until then is reported: {str(error) or type(error).__name__}"
            )
        if not self._has_results():
            raise BackendError(self._parts.failures[0].reason)
        return RunOutcome(self._build_report(), failure or self._parts.build_error())

    def _has_results(self) -> bool:
        """Return whether anything was measured that a report can show."""
        return bool(any(case.rounds for case in self._cases.values()) or self._profiles or self._parities)

    def _add_note(self, text: str) -> None:
        self._notes.append(text)
        self._say(text)

    def _write_corpus(self, corpus: data.Corpus, name: str) -> str:
        path = self._folder / f"{name}.json"
        data.write_corpus(corpus, path)
        return str(path)

    def _read_corpus(self) -> data.Corpus:
        """Read the data, and parse it once before anything is measured if a bundle needs that."""
        language = next(iter(self._bundles.values())).manifest.language
        corpus = data.read_corpus(self._options.data, language)
        if any(map(self._needs_spacy, self._bundles)) and any(sentence.heads is None for sentence in corpus.sentences):
            corpus = self._parse_corpus(corpus)
        if self._options.quick:
            corpus = msgspec.structs.replace(corpus, annotated=False)  # F1 would take as long as the data is large
        elif not corpus.annotated:
            self._add_note("F1 was not measured, because the data has no annotations")
        self._data = self._write_corpus(corpus, "data")
        return corpus

    def _needs_spacy(self, path: str) -> bool:
        """Return whether a bundle takes its dependency trees from the spaCy parser."""
        return self._bundles[path].manifest.parser.source == "spacy"

    def _parse_corpus(self, corpus: data.Corpus) -> data.Corpus:
        from ...runtime.text.parser import load_parser

        parsed = self._parts.attempt("parser", lambda: data.parse_corpus(corpus, load_parser(self._parser)))
        if parsed is None:
            self._has_parser = False
            self._add_note("the sentences of words have arbitrary arcs, because the parser of the bundle is missing")
            return data.link_words(corpus)
        return parsed

    def _check_bundles(self) -> Iterator[BenchmarkTarget]:
        """Run one sentence through every model on every backend, so that problems show before anything is measured."""
        devices: list[str] = []
        for path in self._options.models:
            selected: set[str] = set()
            for backend in self._options.backends:
                checked = self._run_check(path, "onnx", backend)
                if backend == "auto" and checked.reason:
                    self._add_note(f"{self._names[path]}: backend auto selected {checked.backend}: {checked.reason}")
                if checked.backend in selected:
                    raise InputError(
                        f"backend {backend} selects {checked.backend} here; request {checked.backend} only once"
                    )
                selected.add(checked.backend)
                devices.append(checked.backend)
                if not checked.work and not self._parts.failures:
                    self._add_note(
                        f"{self._names[path]} on {checked.backend}: the whole encoder is used as the plain encoder and "
                        "no floor is computed, because the backend runs only the bundle's own engines"
                    )
                yield self._build_target(path, "onnx", checked)
        if self._options.checkpoint:
            yield from self._check_checkpoint(str(self._options.checkpoint), dict.fromkeys(devices))
        if any(device not in ("auto", "cpu") for device in devices):
            from .gpu_monitor import GpuMonitor

            self._gpu = self._parts.attempt("memory, clock and power of the GPU", GpuMonitor)

    def _check_checkpoint(self, path: str, backends: dict[str, None]) -> Iterator[BenchmarkTarget]:
        """Check the checkpoint in PyTorch on the devices of the bundles' backends."""
        if self._options.profile:
            self._add_note(
                f"{self._names[path]} was not profiled: PyTorch has no node times here, use torch.profiler for it"
            )
        for device in dict.fromkeys("cpu" if name == "cpu" else "cuda" for name in backends):
            yield self._build_target(path, "eager", self._run_check(path, "eager", device))
            try:
                yield self._build_target(path, "compile", self._run_check(path, "compile", device))
            except BackendError as error:
                self._add_note(f"compiled PyTorch was not measured: {error}")

    def _run_check(self, path: str, engine: str, backend: str) -> ModelCheck:
        onnx = engine == "onnx"
        job = self._build_job(
            "check",
            path,
            engine=engine,
            backend=backend,
            lengths=tuple(self._options.lengths) if onnx else (),
            batch_sizes=tuple(self._options.batch_sizes),
        )
        outcome = self._run_job(job, ModelCheck)
        if outcome is None:
            return ModelCheck(
                backend=backend, reason="", device=None, products={}, median_subwords=0, work={}, lengths={}
            )
        checked: ModelCheck = outcome.answer
        return checked

    def _build_target(self, path: str, engine: str, checked: ModelCheck) -> BenchmarkTarget:
        lengths = {}
        for length, words in checked.lengths.items():
            corpus = data.build_sentence_corpus(words, f"{length} subwords")
            if self._needs_spacy(path):
                corpus = self._parse_corpus(corpus)
            lengths[length] = self._write_corpus(corpus, f"{len(list(self._folder.iterdir()))}")
        return BenchmarkTarget(self._names[path], path, engine, checked.backend, checked, lengths)  # type: ignore[arg-type]

    def _build_job(self, kind: str, path: str, **fields: object) -> Job:
        name = f"{kind} {self._names[path]}"
        return Job(name=name, kind=kind, model=self._names[path], path=path, data=self._data, **fields)  # type: ignore[arg-type]

    def _run_job(self, job: Job, answer: type[object]) -> JobOutcome | None:
        return self._parts.run_job(job, answer, self._gpu if job.backend != "cpu" else None)

    def _measure_cases(self) -> None:
        """Measure all cases in turn, round after round, then F1, the peaks of the devices and the profiles."""
        planned = [
            msgspec.structs.replace(job, parses=self._has_parser)
            for job in plan_cases(self._options, self._targets, self._data)
        ]
        self._cases = {job.name: _build_case(job) for job in planned}
        jobs = [(job, index) for index in range(self._options.rounds) for job in planned]
        jobs = [(job, index) for job, index in jobs if index == 0 or job.kind != "soak"]
        profiles = plan_profiles(self._options, self._targets, self._data)
        extra = [*self._plan_parities(), *self._plan_evaluations(), *self._plan_peaks(), *profiles]
        total = len(jobs) + len(extra)
        for done, (job, index) in enumerate(jobs):
            self._progress(f"{job.name}, round {index + 1}", done, total)
            if outcome := self._run_job(job, Measurement):
                answer, memory, power = outcome
                fields = {name: getattr(answer, name) for name in Measurement.__struct_fields__}
                self._cases[job.name].rounds.append(Round(**fields, memory=memory, power=power))
                self._note_throttling(job, index, power)
        for done, job in enumerate(extra, start=len(jobs)):
            self._progress(job.name, done, total)
            self._run_extra_job(job)
        self._progress("done", total, total)

    def _run_extra_job(self, job: Job) -> None:
        """Run a job that measures no case, and keep its answer."""
        kinds = {"evaluate": F1Scores, "profile": Profile, "verify": Parity, "peaks": DevicePeaks}
        outcome = self._run_job(job, kinds[job.kind])
        if outcome is None:
            return
        if job.kind == "evaluate":
            self._scores[job.model] = outcome.answer
        elif job.kind == "profile":
            self._profiles.append(outcome.answer)
        elif job.kind == "verify":
            self._parities.append(outcome.answer)
            if outcome.answer.failure:
                self._parts.add_failure(job.name, outcome.answer.failure)
        else:
            self._peaks[job.backend, job.threads] = outcome.answer

    def _note_throttling(self, job: Job, index: int, power: Power | None) -> None:
        if power and power.throttled:
            self._add_note(
                f"{job.name}, round {index + 1}: the GPU was throttled by {', '.join(power.throttled)}, down to "
                f"{power.lowest_clock_mhz:.0f} MHz"
            )

    def _plan_parities(self) -> Iterator[Job]:
        for target in self._targets if self._options.quick else ():
            yield self._build_job("verify", target.path, backend=target.backend, threads=self._options.threads[0])

    def _plan_evaluations(self) -> Iterator[Job]:
        if not self._corpus.annotated:
            return
        seen: set[str] = set()
        for target in self._targets:
            if target.path not in seen:
                seen.add(target.path)
                threads = max(self._options.threads)
                fields = {"engine": target.engine, "backend": target.backend, "threads": threads}
                yield self._build_job("evaluate", target.path, **fields)

    def _plan_peaks(self) -> Iterator[Job]:
        dtypes: dict[str, dict[str, None]] = {}
        first: dict[str, str] = {}
        for target in self._targets:
            for work in target.checked.work.values():
                dtypes.setdefault(target.backend, {}).update(dict.fromkeys(work.operations))
                first.setdefault(target.backend, target.path)
        for backend, kinds in dtypes.items():
            for threads in self._options.threads:
                yield self._build_job(
                    "peaks", first[backend], backend=backend, threads=threads, precisions=tuple(kinds)
                )

    def _build_report(self) -> Report:
        from ..report.ratios import compute_ratios
        from .environment import describe_environment
        from .roofline import build_floors

        cases = [case for case in self._cases.values() if case.rounds]
        subjects = [self._build_subject(path) for path in self._names]
        device = next((target.checked.device for target in self._targets if target.checked.device), None)
        return Report(
            schema_version=SCHEMA_VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=self._command,
            environment=describe_environment(device, self._gpu, self._load),
            data=self._corpus.name,
            sentences=len(self._corpus.sentences),
            words=self._corpus.word_count,
            subjects=subjects,
            cases=cases,
            floors=list(build_floors(self._targets, self._options.threads, self._peaks)),
            ratios=compute_ratios(cases, {subject.name: subject.precision for subject in subjects}),
            profiles=self._profiles,
            parities=self._parities,
            failures=self._parts.failures,
            notes=(*self._notes, *self._list_general_notes()),
        )

    def _list_general_notes(self) -> Iterator[str]:
        from ..report.summary import list_shortfalls

        yield (
            f"the {len(self._corpus.sentences)} sentences are repeated, so the tokenizer and the parser have seen every"
            " word before, and model files are loaded from the operating system's cache"
        )
        if any(target.backend == "cpu" for target in self._targets):
            yield (
                "the clock of the CPU was read once, at the end of the run, and not in each round; a clock that changed"
                " shows in the differences between rounds"
            )
        if not self._options.quick:
            yield from list_shortfalls(list(self._cases.values()))

    def _build_subject(self, path: str) -> ModelInfo:
        scores = self._scores.get(self._names[path])
        products = next(target.checked.products for target in self._targets if target.path == path)
        bundle = self._bundles.get(path)
        return ModelInfo(
            name=self._names[path],
            sha256=self._hashes[path],
            precision=bundle.manifest.precision if bundle else "fp32",
            products=products,
            f1={"entities": scores.entities, "relations": scores.relations} if scores else None,
        )


def _build_case(job: Job) -> Case:
    fields = {name: getattr(job, name) for name in Case.__struct_fields__ if name != "rounds"}
    return Case(**fields, rounds=[])


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

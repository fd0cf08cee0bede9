"""A whole run: what is asked for is checked, measured case by case and round by round, and put in one report."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..runtime.bundle import Bundle
from ..runtime.errors import BackendError, BundleError, InputError
from . import data
from .plan import Options, Target, names, plan
from .schema import SCHEMA_VERSION, Case, Floor, Measured, Power, Report, Round, Subject
from .spec import Checked, Peaks, Scores, Spec

if TYPE_CHECKING:
    from . import process
    from .nvml import Gpu

#: Modules that a run needs beside those of the runtime.
NEEDED = ("onnx", "psutil")

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


class Outcome(NamedTuple):
    """A report of all that was measured, and what ended the run too early, if anything did."""

    report: Report
    failure: BaseException | None


def need(*modules: str) -> None:
    """Refuse to begin without these modules.

    Raises:
        BackendError: one is not installed.
    """
    for module in modules:
        if find_spec(module) is None:
            raise BackendError(f'`trimf bench` needs {module}, which is not installed; pip install "trimf[bench]"')


def run(options: Options, command: str, say: Say = lambda _: None, progress: Progress = lambda *_: None) -> Outcome:
    """Measure what ``options`` ask for; ``command`` is what the report says was typed.

    ``say`` is told, line by line, what was left out and what a reader must know; ``progress`` what is being done, how
    many of the jobs were, and how many there are. A job that fails ends the run, but not what was measured before it.

    Raises:
        InputError: an option is out of range, or there is no sentence.
        DataError: the annotated data cannot be used.
        BundleError: a model is damaged.
        BackendError: a module is missing, or a model cannot run on a backend here.
    """
    need(*NEEDED)
    options.check()
    with tempfile.TemporaryDirectory(prefix="trimf-bench-") as folder:
        return _Run(options, command, say, progress, Path(folder)).outcome()


class _Run:
    def __init__(self, options: Options, command: str, say: Say, progress: Progress, folder: Path) -> None:
        self._options, self._command, self._folder = options, command, folder
        self._say, self._progress = say, progress
        self._notes: list[str] = []
        self._cases: dict[str, Case] = {}
        self._scores: dict[str, Scores] = {}
        self._peaks: dict[tuple[str, int], Peaks] = {}
        paths = [*options.models, *([str(options.against)] if options.against else [])]
        self._names = dict(zip(paths, names(paths), strict=True))
        self._bundles = {path: Bundle(path) for path in options.models}
        self._hashes = {path: _hash(bundle.path / "manifest.json") for path, bundle in self._bundles.items()}
        longest = max(options.lengths, default=0)
        for path, bundle in self._bundles.items():
            if longest > (most := bundle.manifest.sizes.max_subwords):
                raise InputError(f"length {longest}, but {self._names[path]} takes at most {most} subwords")
        if options.against:
            weights = options.against / "model.safetensors"
            if not weights.is_file():
                raise BundleError(f"{options.against}: no checkpoint folder; `trimf train` makes one")
            self._hashes[str(options.against)] = _hash(weights)
        parsers = sorted({bundle.manifest.parser.name for bundle in self._bundles.values()})
        if len(parsers) > 1:
            raise InputError(f"the models were trained on different parsers ({', '.join(parsers)}); measure them apart")
        self._parser = parsers[0]
        self._corpus = self._read()
        self._gpu: Gpu | None = None
        self._targets = list(self._check())

    def outcome(self) -> Outcome:
        """Run every job."""
        failure: BaseException | None = None
        try:
            self._measure()
        except (Exception, KeyboardInterrupt) as error:
            if not any(case.rounds for case in self._cases.values()):
                raise
            failure = error
            self._note(f"the run ended early, and what it had measured is kept: {str(error) or type(error).__name__}")
        return Outcome(self._report(), failure)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._say(text)

    def _write(self, corpus: data.Corpus, name: str) -> str:
        path = self._folder / f"{name}.json"
        data.write(corpus, path)
        return str(path)

    def _read(self) -> data.Corpus:
        """The data, parsed: before anything is measured, and once for all."""
        corpus = data.read(self._options.data)
        if any(map(self._is_fed, self._bundles)) and any(one.heads is None for one in corpus.sentences):
            corpus = self._parse(corpus)
        if not corpus.annotated:
            self._note("F1 is not measured: the data has no annotation")
        self._data = self._write(corpus, "data")
        return corpus

    def _is_fed(self, path: str) -> bool:
        """Whether spaCy parses in front of this bundle."""
        return self._bundles[path].manifest.parser.source == "spacy"

    def _parse(self, corpus: data.Corpus) -> data.Corpus:
        from ..runtime.parser import load_parser

        return data.parse(corpus, load_parser(self._parser))

    def _check(self) -> Iterator[Target]:
        """Every model on every backend runs one sentence, so that nothing is measured where something cannot run."""
        devices: list[str] = []
        for path in self._options.models:
            taken: set[str] = set()
            for backend in self._options.backends:
                checked = self._ask_check(path, "onnx", backend)
                if backend == "auto":
                    self._note(f"{self._names[path]}: backend auto took {checked.backend}: {checked.reason}")
                if checked.backend in taken:
                    raise InputError(f"backend {backend} is {checked.backend} here, which is measured already")
                taken.add(checked.backend)
                devices.append(checked.backend)
                if not checked.work:
                    self._note(
                        f"{self._names[path]} on {checked.backend}: the plain encoder is its whole encoder, and "
                        "no floor is computed, for the backend runs nothing but the bundle's own engines"
                    )
                yield self._target(path, "onnx", checked)
        if self._options.against:
            yield from self._check_torch(str(self._options.against), dict.fromkeys(devices))
        if any(device != "cpu" for device in devices):
            need("pynvml")
            from .nvml import Gpu

            self._gpu = Gpu()

    def _check_torch(self, path: str, backends: dict[str, None]) -> Iterator[Target]:
        for place in dict.fromkeys("cpu" if name == "cpu" else "cuda" for name in backends):
            yield self._target(path, "eager", self._ask_check(path, "eager", place))
            try:
                yield self._target(path, "compile", self._ask_check(path, "compile", place))
            except BackendError as error:
                self._note(f"compiled PyTorch is left out: {error}")

    def _ask_check(self, path: str, engine: str, backend: str) -> Checked:
        onnx = engine == "onnx"
        spec = self._spec(
            "check",
            path,
            engine=engine,
            backend=backend,
            lengths=tuple(self._options.lengths) if onnx else (),
            batches=tuple(self._options.batch_sizes),
        )
        found: Checked = self._job(spec, Checked).answer
        return found

    def _target(self, path: str, engine: str, checked: Checked) -> Target:
        lengths = {}
        for length, words in checked.lengths.items():
            corpus = data.of_words(words, f"{length} subwords")
            if self._is_fed(path):
                corpus = self._parse(corpus)
            lengths[length] = self._write(corpus, f"{len(list(self._folder.iterdir()))}")
        return Target(self._names[path], path, engine, checked.backend, checked, lengths)  # type: ignore[arg-type]

    def _spec(self, kind: str, path: str, **fields: object) -> Spec:
        name = f"{kind} {self._names[path]}"
        return Spec(name=name, kind=kind, model=self._names[path], path=path, data=self._data, **fields)  # type: ignore[arg-type]

    def _job(self, spec: Spec, answer: type[object]) -> process.Outcome:
        from . import process

        return process.run(spec, answer, self._gpu if spec.backend != "cpu" else None)

    def _measure(self) -> None:
        """All cases in turn, round after round; then F1 and peaks."""
        planned = plan(self._options, self._targets, self._data)
        self._cases = {spec.name: _case(spec) for spec in planned}
        jobs = [(spec, number) for number in range(self._options.rounds) for spec in planned]
        jobs = [(spec, number) for spec, number in jobs if number == 0 or spec.kind != "soak"]
        extra = [*self._evaluations(), *self._peak_jobs()]
        total = len(jobs) + len(extra)
        for done, (spec, number) in enumerate(jobs):
            self._progress(f"{spec.name}, round {number + 1}", done, total)
            answer, memory, power = self._job(spec, Measured)
            fields = {name: getattr(answer, name) for name in Measured.__struct_fields__}
            self._cases[spec.name].rounds.append(Round(**fields, memory=memory, power=power))
            self._throttled(spec, number, power)
        for done, spec in enumerate(extra, start=len(jobs)):
            self._progress(spec.name, done, total)
            if spec.kind == "evaluate":
                self._scores[spec.model] = self._job(spec, Scores).answer
            else:
                self._peaks[spec.backend, spec.threads] = self._job(spec, Peaks).answer
        self._progress("done", total, total)

    def _throttled(self, spec: Spec, number: int, power: Power | None) -> None:
        if power and power.throttled:
            self._note(
                f"{spec.name}, round {number + 1}: the GPU was slowed down by {', '.join(power.throttled)}, down to "
                f"{power.lowest_clock_mhz:.0f} MHz"
            )

    def _evaluations(self) -> Iterator[Spec]:
        if not self._corpus.annotated:
            return
        seen: set[str] = set()
        for target in self._targets:
            if target.path not in seen:
                seen.add(target.path)
                threads = max(self._options.threads)
                fields = {"engine": target.engine, "backend": target.backend, "threads": threads}
                yield self._spec("evaluate", target.path, **fields)

    def _peak_jobs(self) -> Iterator[Spec]:
        kinds: dict[str, dict[str, None]] = {}
        first: dict[str, str] = {}
        for target in self._targets:
            for work in target.checked.work.values():
                kinds.setdefault(target.backend, {}).update(dict.fromkeys(work.operations))
                first.setdefault(target.backend, target.path)
        for backend, names_ in kinds.items():
            for threads in self._options.threads:
                yield self._spec("peaks", first[backend], backend=backend, threads=threads, precisions=tuple(names_))

    def _report(self) -> Report:
        from .environment import environment
        from .ratios import ratios

        cases = [case for case in self._cases.values() if case.rounds]
        subjects = [self._subject(path) for path in self._names]
        device = next((target.checked.device for target in self._targets if target.checked.device), None)
        return Report(
            schema_version=SCHEMA_VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=self._command,
            environment=environment(device, self._gpu),
            data=self._corpus.name,
            sentences=len(self._corpus.sentences),
            words=self._corpus.words,
            subjects=subjects,
            cases=cases,
            floors=list(self._floors()),
            ratios=ratios(cases, {subject.name: subject.precision for subject in subjects}),
            notes=(*self._notes, *self._always()),
        )

    def _always(self) -> Iterator[str]:
        yield (
            f"the {len(self._corpus.sentences)} sentences are read over and over, so that the tokenizer and the parser "
            "have met every word before, and files are loaded from the system's cache"
        )

    def _subject(self, path: str) -> Subject:
        scores = self._scores.get(self._names[path])
        products = next(target.checked.products for target in self._targets if target.path == path)
        bundle = self._bundles.get(path)
        return Subject(
            name=self._names[path],
            sha256=self._hashes[path],
            precision=bundle.manifest.precision if bundle else "fp32",
            products=products,
            f1={"entities": scores.entities, "relations": scores.relations} if scores else None,
        )

    def _floors(self) -> Iterator[Floor]:
        from .arithmetic import computing, least

        for target in self._targets:
            for threads in self._options.threads:
                peaks = self._peaks.get((target.backend, threads))
                if peaks is None:
                    continue
                for batch, work in target.checked.work.items():
                    operations = sum(work.operations.values())
                    yield Floor(
                        model=target.model,
                        backend=target.backend,
                        threads=threads,
                        batch_size=batch,
                        subwords=target.checked.median,
                        operations=operations,
                        bytes=work.bytes,
                        peak_operations=operations / computing(work, peaks),
                        peak_bytes=peaks.bytes,
                        milliseconds=least(work, peaks),
                    )


def _case(spec: Spec) -> Case:
    fields = {name: getattr(spec, name) for name in Case.__struct_fields__ if name != "rounds"}
    return Case(**fields, rounds=[])


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

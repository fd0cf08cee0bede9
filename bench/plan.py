"""What a run will measure: options, checked, and the cases that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ..runtime.backend import BACKENDS
from ..runtime.errors import BackendError, InputError
from .spec import Checked, Spec


class Options(NamedTuple):
    """What the caller asks for. ``seconds`` are those of a case over all its ``rounds``; ``soak`` counts sentences."""

    models: Sequence[str] = ("default",)
    against: Path | None = None
    data: Path | None = None
    backends: Sequence[str] = ("auto",)
    batch_sizes: Sequence[int] = (1, 8, 32)
    threads: Sequence[int] = (1,)
    workers: Sequence[int] = (1,)
    concurrency: Sequence[int] = (1,)
    seconds: float = 4.0
    rounds: int = 3
    lengths: Sequence[int] = (16, 64, 128)
    soak: int = 0

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            InputError: a number is out of range, or a list is empty.
            BackendError: a backend is not known.
        """
        if not self.seconds > 0:
            raise InputError(f"seconds = {self.seconds}, but a positive number is needed")
        if self.rounds < 1:
            raise InputError(f"rounds = {self.rounds}, but at least 1 is needed")
        if self.soak < 0:
            raise InputError(f"soak = {self.soak}, but a number of sentences from 0 up is needed")
        for name in ("batch_sizes", "threads", "workers", "concurrency", "lengths"):
            values: Sequence[int] = getattr(self, name)
            if not values and name != "lengths":
                raise InputError(f"{name} is empty, but at least one number is needed")
            for value in values:
                if value < 1:
                    raise InputError(f"{name} has {value}, but every number must be at least 1")
            _once(name, values)
        _once("models", self.models)
        _once("backends", self.backends)
        for backend in self.backends:
            if backend not in BACKENDS:
                raise BackendError(f"backend {backend!r} is not known; this TriMF has {', '.join(BACKENDS)}")


def _once(name: str, values: Sequence[object]) -> None:
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise InputError(f"{name} has {twice} twice")


class Target(NamedTuple):
    """A model in an engine on a backend, and what is known of it; ``lengths`` are data files by number of subwords."""

    model: str
    path: str
    engine: Literal["onnx", "eager", "compile"]
    backend: str
    checked: Checked
    lengths: Mapping[int, str]


def names(paths: Sequence[str]) -> list[str]:
    """What the report calls each model: its folder, with as much of the path as tells it from the others."""
    for parts in range(1, 1 + max(len(Path(path).parts) for path in paths)):
        found = ["default" if path == "default" else "/".join(Path(path).resolve().parts[-parts:]) for path in paths]
        if len(set(found)) == len(found):
            return found
    return list(paths)


def plan(options: Options, targets: Sequence[Target], data: str) -> list[Spec]:
    """The cases, in the order in which each round runs them."""
    return [case for target in targets for case in _cases(options, target, data)]


def _cases(options: Options, target: Target, data: str) -> Iterator[Spec]:
    common: dict[str, object] = {
        "model": target.model,
        "path": target.path,
        "engine": target.engine,
        "backend": target.backend,
    }
    common["data"] = data
    common["seconds"] = options.seconds / options.rounds

    def spec(kind: str, **fields: object) -> Spec:
        made = Spec(name="", kind=kind, **{**common, **fields})  # type: ignore[arg-type]
        return Spec(**{field: getattr(made, field) for field in Spec.__struct_fields__} | {"name": _name(made)})

    for threads in options.threads:
        for batch in options.batch_sizes:
            yield spec("latency", threads=threads, batch_size=batch)
    if target.engine != "onnx":
        return
    for length, file in target.lengths.items():
        yield spec("length", threads=options.threads[0], subwords=length, data=file)
    for threads in options.threads:
        for workers in options.workers:
            for batch in options.batch_sizes:
                yield spec("throughput", threads=threads, workers=workers, batch_size=batch)
        for callers in options.concurrency:
            if callers > 1:
                yield spec("throughput", threads=threads, concurrency=callers)
    if options.soak:
        last = {"threads": options.threads[0], "workers": options.workers[-1], "batch_size": options.batch_sizes[-1]}
        yield spec("soak", sentences=options.soak, **last)


def _name(spec: Spec) -> str:
    """A case's name says all that tells it from the others, so that two runs can be compared."""
    engine = [] if spec.engine == "onnx" else [spec.engine]
    parts = [spec.kind, spec.model, *engine, spec.backend, f"threads {spec.threads}", f"batch {spec.batch_size}"]
    if spec.workers > 1:
        parts.append(f"workers {spec.workers}")
    if spec.concurrency > 1:
        parts.append(f"callers {spec.concurrency}")
    if spec.subwords:
        parts.append(f"{spec.subwords} subwords")
    if spec.sentences:
        parts.append(f"{spec.sentences} sentences")
    return " ".join(parts)

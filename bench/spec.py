"""What a child process is told to do, and what it says back; both as JSON."""

from __future__ import annotations

from typing import Literal

from .schema import Section

#: A line of a child's stderr that begins so is for its parent: "start" or "stop" of the measuring, or sentences done.
MARK = "trimf-bench: "


class Spec(Section, frozen=True, kw_only=True):
    """One job. ``kind`` is that of a case, or "check" (can it run at all, and what is it), "evaluate" or "peaks".

    ``path`` is a bundle or checkpoint, called ``model`` in the report; ``data`` a file written by :mod:`.data`.
    ``seconds`` is how long to measure, ``sentences`` how many to stream ("soak"). A "check" makes words for ``lengths``
    and counts the work of ``batches``; a "peaks" multiplies ``precisions``.
    """

    name: str
    kind: Literal["check", "latency", "length", "throughput", "soak", "evaluate", "peaks"]
    model: str
    path: str
    data: str
    engine: Literal["onnx", "eager", "compile"] = "onnx"
    backend: str = "auto"
    threads: int = 1
    batch_size: int = 1
    workers: int = 1
    concurrency: int = 1
    subwords: int | None = None
    seconds: float = 0.0
    sentences: int = 0
    lengths: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()


class Work(Section, frozen=True, kw_only=True):
    """What a plain encoder must at least do: operations (a multiplication and an addition are two) by type, and bytes.

    The bytes are those of all weights once, of tables only the rows looked up, and of inputs and outputs: not those of
    what is passed between operators, which an engine could keep in registers and caches.
    """

    operations: dict[str, float]
    bytes: float


class Checked(Section, frozen=True, kw_only=True):
    """What is known of a model on a backend before anything is measured.

    ``products`` are the matrix products of its graphs by type, ``median`` the median number of subwords of the data,
    ``work`` that of the plain encoder at this length by batch size (of none where the engine does not run our graphs),
    ``lengths`` the words of sentences of exactly so many subwords.
    """

    backend: str
    reason: str
    device: str | None
    products: dict[str, dict[str, int]]
    median: int
    work: dict[int, Work]
    lengths: dict[int, list[str]]


class Scores(Section, frozen=True, kw_only=True):
    """Strict micro F1 in per cent."""

    entities: float
    relations: float


class Peaks(Section, frozen=True, kw_only=True):
    """What a device was measured to do: operations a second by type, and bytes a second."""

    operations: dict[str, float]
    bytes: float

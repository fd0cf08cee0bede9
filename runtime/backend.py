"""What an inference engine must do: open a subgraph, run it on arrays, close it; and which engines there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import BackendError
from .manifest import Manifest

#: The four subgraphs in the order they run.
SUBGRAPHS = ("encoder", "fusion", "entities", "relations")

#: Names of the dynamic axes of every input and output, in order; a number is a fixed size.
AXES: dict[str, tuple[str | None, ...]] = {
    "input_ids": ("batch", "subwords"),
    "attention_mask": ("batch", "subwords"),
    "pieces": ("batch", "words", "pieces"),
    "subwords": ("batch", "subwords", None),
    "words": ("batch", "words", None),
    "cls": ("batch", None),
    "word_mask": ("batch", "words"),
    "heads": ("batch", "words"),
    "labels": ("batch", "words"),
    "nodes": ("batch", "words", None),
    "spans": ("spans", None),
    "pairs": ("pairs", None),
    "ranges": ("ranges", "rows"),
    "gaps": ("pairs",),
    "entity_logits": ("batch", "words", None, None),
    "relation_logits": ("pairs", None),
    "triggers": ("pairs", "words"),
    "word_logits": ("batch", "words", None),
    "arc_scores": ("batch", "words", "words"),
    "subword_flow": ("batch", None, "subwords"),
    "word_flow": ("batch", None, "words"),
    "syntactic_share": ("batch", "words"),
}

#: What explains a result: the weight that each of :data:`MEMORIES` gives to every subword and word (paper (10)), and
#: the weight of the syntactic graph at every word (paper (19)).
EXPLAINING = ("subword_flow", "word_flow", "syntactic_share")
MEMORIES = ("entity", "relation")

#: Outputs that are large or seldom wanted: of the CPU's ONNX files alone, and only where they are asked for.
EXTRA = ("arc_scores", *EXPLAINING)

#: What ``trimf.load(backend=...)`` accepts. ``tensorrt`` runs a bundle's own engines; the two ``-ep`` are execution
#: providers of ONNX Runtime that compile its ONNX files when they load them.
BACKENDS = ("auto", "cpu", "cuda", "tensorrt", "tensorrt-ep", "tensorrt-rtx-ep")


class Subgraph(Protocol):
    """One compiled subgraph. Arrays may live on a device; only the engine that made them need understand them.

    An output on a device is copied to the host by ``numpy.asarray``.
    """

    inputs: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, type[np.generic] | None]:
        """The numpy type of every input and output; None where numpy has none (bfloat16), which stays on a device."""

    @property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Every output's name and shape; None where the size depends on the inputs."""

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output but :data:`EXTRA` from arrays named as :attr:`inputs` (more may be given)."""

    def close(self) -> None:
        """Free what the subgraph holds; it cannot run afterwards."""


class Files(Protocol):
    """What an engine needs of a bundle: its manifest, and its files with their hashes checked."""

    path: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """The bytes of a file of the bundle."""


class Backend(Protocol):
    """An engine on one device.

    Attributes:
        name: which, one of :data:`BACKENDS` but "auto".
        reason: why it was taken, for people.
    """

    name: str
    reason: str

    def open(self, name: str, files: Files) -> Subgraph:
        """Load the subgraph ``name`` of a bundle."""


def thread_count(threads: int | None, default: int) -> int:
    """``threads``, or ``default`` where it is None.

    Raises:
        BackendError: ``threads`` is not positive.
    """
    if threads is not None and threads < 1:
        raise BackendError(f"threads = {threads}, but at least 1 is needed")
    return threads or default


def open_backend(name: str, threads: int | None, files: Files) -> Backend:
    """The engine of that name for a bundle; ``auto`` takes the best that can run it, and its ``reason`` says why.

    Raises:
        BackendError: the name is unknown, ``threads`` is not positive, or the engine cannot run, here or this bundle.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r} is not known; this TriMF has {', '.join(BACKENDS)}")
    thread_count(threads, 1)  # also for engines that have no use for it
    if name == "auto":
        return _auto(threads, files)
    if name == "cpu":
        return _cpu(threads, files, "asked for")
    if name == "tensorrt":
        from .tensorrt_backend import open_native

        return open_native(files, "asked for")
    from .onnx_device_backend import DeviceBackend

    return DeviceBackend(name, "asked for", threads)


def _auto(threads: int | None, files: Files) -> Backend:
    """The bundle's own engines, else CUDA, else the CPU. Nothing of a GPU is imported where there is none."""
    from . import cuda

    if files.manifest.precision == "int8":
        return _cpu(threads, files, "this bundle is int8 for CPUs")
    if reason := cuda.missing():
        return _cpu(threads, files, reason)
    reason = "this bundle has no engines"
    if files.manifest.engines:
        from .tensorrt_backend import open_native

        try:
            return open_native(files)
        except BackendError as error:
            reason = str(error)
    from .onnxruntime_library import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        from .onnx_device_backend import DeviceBackend

        return DeviceBackend("cuda", reason, threads)
    return _cpu(threads, files, f'{reason}; and ONNX Runtime here has no CUDA: pip install "trimf[gpu]"')


def _cpu(threads: int | None, files: Files, reason: str) -> Backend:
    precision = files.manifest.precision
    if precision == "bf16":
        raise BackendError(
            f"{files.path} is bf16, which runs on a GPU alone, and the CPU was taken: {reason};"
            f" export it as fp32, or use backend cuda or tensorrt on a GPU"
        )
    if precision in ("fp16", "int8-qdq"):
        reason += f"; {precision} is made for GPUs, a CPU runs fp32 or int8 faster"
    from .onnx_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(threads, reason)

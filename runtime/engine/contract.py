"""Define the contract of a backend (open a subgraph, run it on arrays, close it) and choose one by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..bundle.manifest import Manifest
from ..errors import BackendError

#: The four subgraphs in the order they run.
SUBGRAPHS = ("encoder", "fusion", "entities", "relations")

#: Names of the axes of every input and output, in order; None is an axis of fixed size.
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

#: Outputs for explanations: the weight that each of ``MEMORIES`` gives to every subword and word (equation (10)),
#: and the weight of the syntactic graph at every word (equation (19)).
EXPLAINING = ("subword_flow", "word_flow", "syntactic_share")
MEMORIES = ("entity", "relation")

#: Large or rarely used outputs, computed on request only, and only by the cpu backend.
EXTRA = ("arc_scores", *EXPLAINING)

#: Values of ``trimf.load(backend=...)``. ``tensorrt`` runs the bundle's engines; the two ``-ep`` are execution
#: providers of ONNX Runtime that compile the bundle's ONNX files when they load them.
BACKENDS = ("auto", "cpu", "cuda", "tensorrt", "tensorrt-ep", "tensorrt-rtx-ep")


class Subgraph(Protocol):
    """Compiled subgraph. Arrays may live on a device, in a form that only their backend understands.

    ``numpy.asarray`` copies an output from a device to the host.
    """

    inputs: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, type[np.generic] | None]:
        """Numpy type of every input and output; None for bfloat16, which numpy lacks and which stays on a device."""

    @property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Name and shape of every output; None where a size depends on the inputs."""

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output except ``EXTRA`` from arrays named as ``inputs``; further arrays are ignored."""

    def close(self) -> None:
        """Free the memory of the subgraph; it cannot run afterwards."""


class Files(Protocol):
    """Access to a bundle: its manifest, and its files with their hashes checked."""

    path: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of the bundle."""


class Backend(Protocol):
    """Inference library on one device.

    Attributes:
        name: one of ``BACKENDS``, but not "auto".
        reason: why it was chosen, as text for users.
    """

    name: str
    reason: str

    def open(self, name: str, files: Files) -> Subgraph:
        """Load subgraph ``name`` of a bundle."""


def thread_count(threads: int | None, default: int) -> int:
    """Return ``threads``, or ``default`` if it is None.

    Raises:
        BackendError: ``threads`` is less than 1.
    """
    if threads is not None and threads < 1:
        raise BackendError(f"threads must be >= 1, got {threads}")
    return threads or default


def open_backend(name: str, threads: int | None, files: Files) -> Backend:
    """Open the backend of that name for a bundle.

    Args:
        name: one of ``BACKENDS``; ``auto`` chooses the best one that can run the bundle.
        threads: intra-op threads of the CPU. Default: all cores.
        files: the bundle.

    Returns:
        The backend. A backend requested by name is never replaced by another one.

    Raises:
        BackendError: the name is unknown, ``threads`` is less than 1, or the backend cannot run here or this bundle.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; choose from {', '.join(BACKENDS)}")
    thread_count(threads, 1)  # check the value for backends that do not use it, too
    if name == "auto":
        return _auto(threads, files)
    if name == "cpu":
        return _cpu(threads, files, "requested")
    if name == "tensorrt":
        from .tensorrt_backend import open_tensorrt

        return open_tensorrt(files, "requested")
    from .onnx_device import OnnxGpuBackend

    return OnnxGpuBackend(name, "requested", threads)


def _auto(threads: int | None, files: Files) -> Backend:
    """Choose the bundle's engines, else CUDA, else the CPU. No GPU package is imported on a machine without a GPU."""
    from . import cuda

    if files.manifest.precision == "int8":
        return _cpu(threads, files, "this bundle is int8 for CPUs")
    if reason := cuda.explain_missing_device():
        return _cpu(threads, files, reason)
    reason = "this bundle has no engines"
    if files.manifest.engines:
        from .tensorrt_backend import open_tensorrt

        try:
            return open_tensorrt(files)
        except BackendError as error:
            reason = str(error)
    from .onnxruntime_library import INSTALL_GPU, onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        from .onnx_device import OnnxGpuBackend

        return OnnxGpuBackend("cuda", reason, threads)
    return _cpu(threads, files, f"{reason}; and the installed ONNX Runtime has no CUDA: run {INSTALL_GPU}")


def _cpu(threads: int | None, files: Files, reason: str) -> Backend:
    precision = files.manifest.precision
    if precision == "bf16":
        raise BackendError(
            f"{files.path} is bf16, which runs only on a GPU, but the CPU was chosen: {reason};"
            f" re-export it as fp32, or use the cuda or tensorrt backend on a GPU"
        )
    if precision in ("fp16", "int8-qdq"):
        reason += f"; {precision} is meant for GPUs, and a CPU runs fp32 or int8 faster"
    from .onnx_cpu import OnnxCpuBackend

    return OnnxCpuBackend(threads, reason)

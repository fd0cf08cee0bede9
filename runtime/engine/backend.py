"""Define the contract of a backend: its name, and how it opens the subgraphs of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..bundle.manifest import Manifest
from ..errors import BackendArgumentError, InputError, check_integer
from .contract import Subgraph
from .cpu_info import count_available_cores
from .profiling import ProfiledSubgraph

#: Values of ``trimf.load(backend=...)``. ``tensorrt`` runs the bundle's engines; the two ``-ep`` are execution
#: providers of ONNX Runtime that compile the bundle's ONNX files when they load them.
BACKENDS = ("auto", "cpu", "cuda", "tensorrt", "tensorrt-ep", "tensorrt-rtx-ep")


class BundleFiles(Protocol):
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

    def choose_subgraphs(self, files: BundleFiles, uses_model_parser: bool) -> tuple[str, ...]:
        """Return the names of the graphs to open, as ``contract.list_subgraphs`` lists them."""

    def name_file(self, name: str, files: BundleFiles) -> str:
        """Return the name of the bundle's file that ``open`` loads as subgraph ``name``."""

    def open(self, name: str, files: BundleFiles) -> Subgraph:
        """Load subgraph ``name`` of a bundle."""

    def open_profiled(self, name: str, files: BundleFiles) -> ProfiledSubgraph:
        """Load subgraph ``name`` of a bundle together with a profiler of its nodes."""


def resolve_thread_count(threads: int | None, default: int) -> int:
    """Return ``threads``, or ``default`` if it is None.

    Raises:
        BackendArgumentError: ``threads`` is not a positive integer.
    """
    try:
        return default if threads is None else check_integer("threads", threads, 1)
    except InputError as error:
        raise BackendArgumentError(str(error)) from None


def divide_threads(backend: str, threads: int | None, processes: int) -> int | None:
    """Return the ``threads`` of each of several processes that share the cores.

    Args:
        backend: Name of the backend.
        threads: Threads that all of them may use for an operation; None is all cores on a CPU.
        processes: Number of processes.

    Returns:
        At least 1; None, the default of the backend, if none were given on a GPU.
    """
    if threads is None and backend != "cpu":
        return None
    return max(1, resolve_thread_count(threads, count_available_cores()) // processes)

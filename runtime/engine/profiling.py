"""Define how a backend profiles a subgraph: the time of every node, from the profiler of the inference library.

A profiled subgraph computes the same outputs, but takes longer: the library takes the time of each node, and a GPU runs
neither CUDA graphs nor several nodes at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from ..errors import BackendError
from .contract import Subgraph


class NodeCall(NamedTuple):
    """One execution of a node of a subgraph, as the library runs it after its optimizations.

    Attributes:
        name: Name of the node.
        operator: Operator or kind of layer; empty if the library does not tell it.
        provider: Library or execution provider that runs the node.
        microseconds: Time of the execution.
    """

    name: str
    operator: str
    provider: str
    microseconds: float


class NodeTime(NamedTuple):
    """Time of a node per run of its subgraph.

    Attributes:
        name: Name of the node.
        operator: Operator or kind of layer; empty if the library does not tell it.
        provider: Library or execution provider that runs the node.
        mean: Mean time per run in microseconds.
        median: Median time per run in microseconds.
    """

    name: str
    operator: str
    provider: str
    mean: float
    median: float


class NodeTimes(NamedTuple):
    """Times of all nodes of a subgraph.

    Attributes:
        runs: Number of runs that were profiled.
        nodes: Time of every node; the largest mean comes first.
    """

    runs: int
    nodes: list[NodeTime]


class NodeProfiler(Protocol):
    """Profiler of one subgraph, which one thread runs."""

    def read(self, skip: int = 0) -> NodeTimes:
        """Stop profiling and return the times, once, and before the subgraph is closed.

        Args:
            skip: Number of runs to leave out, counted from the first.

        Raises:
            BackendError: The library recorded no run after those, or its record cannot be read.
        """


class ProfiledSubgraph(NamedTuple):
    """A subgraph, and the profiler of its runs."""

    subgraph: Subgraph
    profiler: NodeProfiler


def summarize_runs(runs: Sequence[Iterable[NodeCall]], skip: int, source: str) -> NodeTimes:
    """Summarize the times of each node over runs; a node that a run does not have counts as 0 there.

    Args:
        runs: For each run the executions of its nodes. Executions of the same name in one run are of distinct nodes,
            because no graph has a loop.
        skip: Number of runs to leave out, counted from the first.
        source: File and library of the times, for the message.

    Raises:
        BackendError: No run is left, or none of them has a node.
    """
    kept = runs[skip:]
    times: dict[tuple[str, str, str, int], list[float]] = {}
    for run in kept:
        seen: Counter[tuple[str, str, str]] = Counter()
        for name, operator, provider, microseconds in run:
            node = (name, operator, provider)
            times.setdefault((*node, seen[node]), []).append(microseconds)
            seen[node] += 1
    if not times:
        raise BackendError(
            f"no node of {source} has a time: {len(runs)} runs were recorded, of which the first {skip} do not count"
        )
    from statistics import median  # the import takes 4 ms, and only a profile needs it

    nodes = [
        NodeTime(*key[:3], sum(values) / len(kept), median(values + [0.0] * (len(kept) - len(values))))
        for key, values in times.items()
    ]
    return NodeTimes(len(kept), sorted(nodes, key=lambda node: -node.mean))


def list_profiling_variables(backend: str) -> dict[str, str]:
    """List the environment variables that a process must have from its start, so that it can profile a backend.

    ONNX Runtime takes the time of a node on the host. On a GPU a node only launches its kernels, so CUDA must wait for
    every kernel where it is launched. TensorRT takes the times on the device.

    Args:
        backend: Name of the backend.

    Returns:
        Name -> value.
    """
    return {} if backend in ("cpu", "tensorrt") else {"CUDA_LAUNCH_BLOCKING": "1"}

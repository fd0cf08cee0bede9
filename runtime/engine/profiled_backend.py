"""Open all subgraphs of a pipeline together with their profilers."""

from __future__ import annotations

from .backend import Backend, BundleFiles
from .contract import Subgraph
from .profiling import NodeProfiler, ProfiledSubgraph


class ProfiledBackend:
    """Backend that opens every subgraph together with its profiler; one thread may run them.

    Args:
        backend: Backend that runs the subgraphs.

    Attributes:
        name: Name of that backend.
        reason: Why it was chosen.
        profilers: Name of an open subgraph -> its profiler.
    """

    def __init__(self, backend: Backend) -> None:
        self.name, self.reason = backend.name, backend.reason
        self._backend = backend
        self.profilers: dict[str, NodeProfiler] = {}

    def choose_subgraphs(self, files: BundleFiles, uses_model_parser: bool) -> tuple[str, ...]:
        """Return the names of the graphs to open, as the backend does."""
        return self._backend.choose_subgraphs(files, uses_model_parser)

    def name_file(self, name: str, files: BundleFiles) -> str:
        """Return the name of the file that the backend loads as a subgraph."""
        return self._backend.name_file(name, files)

    def open(self, name: str, files: BundleFiles) -> Subgraph:
        """Load a subgraph of a bundle and keep its profiler.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: See the backend.
            BundleError: If a file is missing or damaged.
        """
        subgraph, self.profilers[name] = self.open_profiled(name, files)
        return subgraph

    def open_profiled(self, name: str, files: BundleFiles) -> ProfiledSubgraph:
        """Load a subgraph of a bundle together with a profiler of its nodes, as the backend does."""
        return self._backend.open_profiled(name, files)

"""What an inference engine must do: open a subgraph, run it on arrays, close it; and which engines there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .errors import BackendError

#: The four subgraphs in the order they run.
SUBGRAPHS = ("encoder", "fusion", "entities", "relations")

#: What ``trimf.load(backend=...)`` accepts.
BACKENDS = ("auto", "cpu")


class Subgraph(Protocol):
    """One compiled subgraph. Arrays may live on a device; only the engine that made them need understand them."""

    inputs: tuple[str, ...]

    @property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Every output's name and shape; None where the size depends on the inputs."""

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output from arrays named as :attr:`inputs` (more may be given)."""

    def close(self) -> None:
        """Free what the subgraph holds; it cannot run afterwards."""


class Backend(Protocol):
    """An engine on one device."""

    name: str

    def open(self, name: str, model: bytes) -> Subgraph:
        """Load the subgraph ``name`` from the bytes of its file."""


def open_backend(name: str = "auto", threads: int | None = None) -> Backend:
    """The engine of that name; ``auto`` takes the best one present, and its ``name`` says which.

    Raises:
        BackendError: the name is unknown, or ``threads`` is not positive.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r} is not known; this TriMF has {', '.join(BACKENDS)}")
    from .onnx_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(threads)

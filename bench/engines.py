"""What a round runs: a bundle in its engine or a checkpoint in PyTorch, and the plain encoder beside either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..runtime.pipeline import Pipeline
from . import device
from .spec import Spec

Run = Callable[[Mapping[str, Any]], None]


class Opened(NamedTuple):
    """A loaded model.

    ``cuts`` says whether the engine runs the transformer cut out of the bundle; one that runs nothing but the bundle's
    own engines has its whole encoder in that place. ``plain`` gives what runs it on a batch's arrays, done when it
    returns; ``wait`` waits for what a subgraph has begun. ``warm`` says whether nothing more was compiled since it was
    last asked.
    """

    pipeline: Pipeline
    backend: str
    reason: str
    device: str | None
    cuts: bool
    plain: Callable[[], Run]
    wait: Callable[[Any], None]
    warm: Callable[[], bool]


def open_model(spec: Spec) -> Opened:
    """Load the model of a job; everything that it imports counts as loading.

    Raises:
        BundleError: it is damaged.
        BackendError: it cannot run here.
    """
    if spec.engine == "onnx":
        return _bundle(spec)
    from .torch_engine import open_checkpoint

    return open_checkpoint(spec)


def _bundle(spec: Spec) -> Opened:
    from ..runtime.backend import open_backend
    from ..runtime.bundle import Bundle, open_pipeline

    bundle = Bundle(spec.path)
    backend: Any = open_backend(spec.backend, spec.threads, bundle)
    pipeline = open_pipeline(bundle, backend)

    cuts = hasattr(backend, "load")

    def plain() -> Run:
        if cuts:
            from .plain import cut

            graph = backend.load("plain encoder", cut(bundle.read("encoder.onnx")))
        else:
            graph = pipeline.graphs["encoder"]

        def run(arrays: Mapping[str, Any]) -> None:
            graph.run(arrays)
            device.wait(graph)

        return run

    name = getattr(getattr(backend, "device", None), "name", None)
    return Opened(pipeline, backend.name, backend.reason, name, cuts, plain, device.wait, lambda: True)

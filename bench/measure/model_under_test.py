"""Load the model of a job, a bundle on its backend or a checkpoint in PyTorch, together with its plain encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...runtime.pipeline import Pipeline
from . import device_timing as device
from .jobs import Job

#: Runs a plain encoder on the arrays of a batch and returns when it is done.
EncoderRunner = Callable[[Mapping[str, Any]], None]


class LoadedModel(NamedTuple):
    """A loaded model.

    Attributes:
        pipeline: The model's pipeline.
        backend: Name of the backend that runs it.
        reason: Why that backend was selected.
        device: Name of the accelerator; None on a CPU.
        cuts: Whether the plain encoder is the transformer cut out of the bundle. A backend that runs only the bundle's
            own engines uses the whole encoder in its place.
        plain: Loads the plain encoder.
        wait: Waits until the work that a subgraph has started is done.
        warm: Returns whether nothing was compiled since its last call.
    """

    pipeline: Pipeline
    backend: str
    reason: str
    device: str | None
    cuts: bool
    plain: Callable[[], EncoderRunner]
    wait: Callable[[Any], None]
    warm: Callable[[], bool]


def load_model(spec: Job) -> LoadedModel:
    """Load the model of a job.

    Nothing that the model needs is imported before, so that imports count as loading.

    Args:
        spec: The job.

    Returns:
        The loaded model.

    Raises:
        BundleError: The bundle or checkpoint is damaged.
        BackendError: The model cannot run here.
    """
    if spec.engine == "onnx":
        return _open_bundle(spec)
    from .torch_model import open_checkpoint

    return open_checkpoint(spec)


def _open_bundle(spec: Job) -> LoadedModel:
    from ...runtime.bundle.reader import Bundle, open_pipeline
    from ...runtime.engine.contract import open_backend

    bundle = Bundle(spec.path)
    backend: Any = open_backend(spec.backend, spec.threads, bundle)
    pipeline = open_pipeline(bundle, backend)

    cuts = hasattr(backend, "load")

    def plain() -> EncoderRunner:
        if cuts:
            from .encoder_baseline import cut_transformer

            graph = backend.load("plain encoder", cut_transformer(bundle.read("encoder.onnx")))
        else:
            graph = pipeline.graphs["encoder"]

        def run(arrays: Mapping[str, Any]) -> None:
            graph.run(arrays)
            device.wait_for_subgraph(graph)

        return run

    name = getattr(getattr(backend, "device", None), "name", None)
    return LoadedModel(
        pipeline, backend.name, backend.reason, name, cuts, plain, device.wait_for_subgraph, lambda: True
    )

"""Load the model of a job, a bundle on its backend or a checkpoint in PyTorch, together with its plain encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import device_timing as device
from .jobs import Job
from .loaded_model import EncoderRunner, LoadedModel


def load_model(job: Job) -> LoadedModel:
    """Load the model of a job.

    Nothing that the model needs is imported before, so that imports count as loading.

    Args:
        job: The job.

    Returns:
        The loaded model.

    Raises:
        BundleError: The bundle or checkpoint is damaged.
        BackendError: The model cannot run here.
    """
    if job.engine == "onnx":
        return _open_bundle(job)
    from .torch_model import open_checkpoint

    return open_checkpoint(job)


def _open_bundle(job: Job) -> LoadedModel:
    from trimf_train.evaluation.model_loading import open_bundle

    bundle, opened, pipeline = open_bundle(job.path, job.threads, job.backend)
    backend: Any = opened
    has_plain_encoder = hasattr(backend, "load")

    def load_plain_encoder() -> EncoderRunner:
        if has_plain_encoder:
            from .encoder_baseline import load_transformer

            graph = load_transformer(backend, bundle, pipeline.graphs)
        else:
            graph = pipeline.graphs["encoder"]

        def run(arrays: Mapping[str, Any]) -> None:
            graph.run(arrays)
            device.wait_for_subgraph(graph)

        return run

    name = getattr(getattr(backend, "device", None), "name", None)
    return LoadedModel(
        pipeline,
        backend.name,
        backend.reason,
        name,
        has_plain_encoder,
        load_plain_encoder,
        device.wait_for_subgraph,
        lambda: True,
    )

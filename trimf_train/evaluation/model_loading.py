"""Open a checkpoint, a bundle or the default bundle for evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.errors import ModelPathError
from trimf.runtime.extras import require_extra
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline


class LoadedModel(NamedTuple):
    """Model that is ready to run, with its labels, the name of the parser it was trained on, and its language."""

    pipeline: Pipeline
    labels: Labels
    parser: str
    language: str = "en"


def open_model(model: str | Path, threads: int | None = None, backend: str = "auto") -> LoadedModel:
    """Open a checkpoint in PyTorch, or a bundle on a backend.

    Args:
        model: A checkpoint folder, a bundle folder, or ``"default"`` for the bundle shipped with the package.
        threads: CPU threads for inference; None uses the default of the library.
        backend: The backend that runs a bundle; ignored for a checkpoint.

    Returns:
        The pipeline with its labels and the name of its parser.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        BackendError: PyTorch or the backend is not available, or cannot run the model.
    """
    folder = Path(model)
    if str(model) != "default" and (folder / "trimf.json").is_file():
        require_extra("train", "torch", "transformers", "safetensors", purpose="running a checkpoint")
        import torch

        from trimf_train.model import checkpoint as checkpoints
        from trimf_train.model import torch_backend as inference

        if threads:
            torch.set_num_threads(threads)
        checkpoint = checkpoints.load_checkpoint(folder)
        described = checkpoint.description
        return LoadedModel(
            inference.build_pipeline(checkpoint), described.labels, described.parser.name, described.model.language
        )
    if str(model) == "default" or (folder / "manifest.json").is_file():
        bundle = Bundle(model)
        pipeline = open_pipeline(bundle, open_backend(backend, threads, bundle))
        return LoadedModel(pipeline, bundle.manifest.labels, bundle.manifest.parser.name, bundle.manifest.language)
    raise ModelPathError(
        f"model not found: {model} is neither a checkpoint (no trimf.json) nor a bundle (no manifest.json)"
    )

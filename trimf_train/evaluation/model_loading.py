"""Open a model: a checkpoint in PyTorch, or a bundle on a backend. Every command that runs a model opens it here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.backend import Backend
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.errors import ModelPathError
from trimf.runtime.extras import require_extra
from trimf.runtime.pipeline import Pipeline
from trimf.runtime.pipeline_loading import open_pipeline

if TYPE_CHECKING:
    from trimf_train.model.checkpoint import Checkpoint


class LoadedModel(NamedTuple):
    """Model that is ready to run.

    Attributes:
        pipeline: The model.
        labels: Its labels.
        parser: Name of the parser it was trained on.
        language: Language whose rules split text into words for it.
        max_span: Maximum number of words of an entity that it predicts.
    """

    pipeline: Pipeline
    labels: Labels
    parser: str
    language: str
    max_span: int


class OpenedCheckpoint(NamedTuple):
    """Checkpoint with the pipeline that runs it in PyTorch."""

    checkpoint: Checkpoint
    pipeline: Pipeline


class OpenedBundle(NamedTuple):
    """Bundle with the backend that was selected and the pipeline that runs on it."""

    bundle: Bundle
    backend: Backend
    pipeline: Pipeline


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
        checkpoint, pipeline = open_checkpoint(folder, threads)
        described = checkpoint.description
        parser, settings = described.parser.name, described.model
        return LoadedModel(pipeline, described.labels, parser, settings.language, settings.span.max_width)
    if str(model) == "default" or (folder / "manifest.json").is_file():
        bundle, _, pipeline = open_bundle(model, threads, backend)
        manifest = bundle.manifest
        parser, max_span = manifest.parser.name, manifest.sizes.max_span
        return LoadedModel(pipeline, manifest.labels, parser, manifest.language, max_span)
    raise ModelPathError(
        f"model not found: {model} is neither a checkpoint (no trimf.json) nor a bundle (no manifest.json)"
    )


def open_checkpoint(folder: str | Path, threads: int | None = None, device: str = "cpu") -> OpenedCheckpoint:
    """Open a checkpoint in PyTorch.

    Args:
        folder: The checkpoint folder.
        threads: CPU threads for inference; None leaves PyTorch's setting.
        device: Device of the model, as PyTorch names it.

    Returns:
        The checkpoint and its pipeline.

    Raises:
        BundleError: The folder is no checkpoint, or is damaged.
        BackendError: PyTorch is not installed.
    """
    require_extra("train", "torch", "transformers", "safetensors", purpose="running a checkpoint")
    import torch

    from trimf_train.model.checkpoint import load_checkpoint
    from trimf_train.model.torch_backend import build_pipeline

    if threads:
        torch.set_num_threads(threads)
    checkpoint = load_checkpoint(folder)
    checkpoint.model.to(device)
    return OpenedCheckpoint(checkpoint, build_pipeline(checkpoint))


def open_bundle(path: str | Path, threads: int | None = None, backend: str = "auto") -> OpenedBundle:
    """Open a bundle on a backend.

    Args:
        path: Folder of the bundle, or ``"default"``.
        threads: CPU threads of one operation; None uses all cores.
        backend: Name of the backend, or ``"auto"``.

    Returns:
        The bundle, the selected backend and the pipeline.

    Raises:
        BundleError: The bundle is damaged.
        BackendError: The backend is not available, or cannot run the bundle.
    """
    bundle = Bundle(path)
    opened = open_backend(backend, threads, bundle)
    return OpenedBundle(bundle, opened, open_pipeline(bundle, opened))

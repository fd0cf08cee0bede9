"""Study the triggers of a trained model, without training: a checkpoint in PyTorch, or a bundle on a backend."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

import trimf
from trimf.runtime.errors import DataError
from trimf.runtime.extras import require_extra
from trimf.runtime.files.atomic import atomic_path
from trimf.runtime.output.plain_text import escape_markdown, make_visible, quote_code
from trimf.runtime.pipeline import Pipeline
from trimf_train.data.document_splitting import DocumentSplitting
from trimf_train.data.readers import read_sentences
from trimf_train.evaluation.model_loading import open_bundle, open_checkpoint, open_model
from trimf_train.evaluation.prediction import add_missing_parses

from .study import StudyOptions, TriggerStudy, study_triggers
from .study_markdown import format_study
from .word_weights import WeightFunction


class ModelStudy(msgspec.Struct, frozen=True):
    """Study of a model on a data file.

    Attributes:
        model: The model.
        data: The data file.
        command: The command line.
        environment: Versions, backend and device.
        seconds: Duration of the study, without loading the model and reading the data.
        study: The measures.
    """

    model: str
    data: str
    command: str
    environment: dict[str, str]
    seconds: float
    study: TriggerStudy


class RunOptions(NamedTuple):
    """How a model is run.

    Attributes:
        threads: CPU threads; None uses the default of the library.
        backend: Backend that runs a bundle.
        gradients: Whether gradient times input is measured too, which needs a checkpoint.
    """

    threads: int | None = None
    backend: str = "auto"
    gradients: bool = False


class _StudiedModel(NamedTuple):
    pipeline: Pipeline
    relation_types: tuple[str, ...]
    parser: str
    language: str
    gradients: WeightFunction | str
    environment: dict[str, str]


def study_model(model: str, data: Path, options: StudyOptions, running: RunOptions, command: str = "") -> ModelStudy:
    """Study the triggers of a model on a data file.

    Args:
        model: A checkpoint folder, a bundle folder, or ``"default"``.
        data: A data file in any format that ``trimf prepare`` reads; sentences without a parse are parsed unless the
            model parses.
        options: The settings of the study.
        running: How the model is run. A checkpoint runs on a GPU if there is one.
        command: The command line, for the report.

    Returns:
        The study.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        InputError: An option is out of range, or the model has no relation types.
        DataError: The data cannot be used, or has no sentence.
        BackendError: PyTorch, the backend or a required parser is not available.
    """
    options.check()
    with _open_studied_model(model, running) as opened:
        sentences = list(read_sentences(data, splitting=DocumentSplitting(opened.language)))
        if not sentences:
            raise DataError(f"{data}: no sentences; at least one is needed")
        if not opened.pipeline.has_parser:
            sentences = add_missing_parses(sentences, opened.parser)
        started = time.perf_counter()
        study = study_triggers(opened.pipeline, opened.relation_types, sentences, opened.gradients, options)
        seconds = time.perf_counter() - started
    return ModelStudy(model, str(data), command, opened.environment, round(seconds, 1), study)


@contextmanager
def _open_studied_model(model: str, running: RunOptions) -> Iterator[_StudiedModel]:
    """Open a model, and close it at the end."""
    environment = {"TriMF": trimf.__version__, "machine": platform.machine()}
    if model != "default" and (Path(model) / "trimf.json").is_file():
        yield _open_checkpoint(model, running, environment)
        return
    if model != "default" and not (Path(model) / "manifest.json").is_file():
        open_model(model)  # says what is wrong with the path
    bundle, backend, pipeline = open_bundle(model, running.threads, running.backend)
    with closing(pipeline):
        manifest = bundle.manifest
        reason = "a bundle gives no gradients; study the checkpoint it was exported from"
        environment |= {"backend": backend.name, "precision": manifest.precision}
        yield _StudiedModel(
            pipeline,
            tuple(manifest.labels.relation_types),
            manifest.parser.name,
            manifest.language,
            reason,
            environment,
        )


def _open_checkpoint(model: str, running: RunOptions, environment: dict[str, str]) -> _StudiedModel:
    require_extra("train", "torch", "transformers", "safetensors", purpose="running a checkpoint")
    import torch

    from .gradients import weigh_by_gradient

    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint, pipeline = open_checkpoint(model, running.threads, device)
    described = checkpoint.description
    gradients: WeightFunction | str = "not measured without --gradients"
    if running.gradients:
        gradients = partial(weigh_by_gradient, checkpoint, pipeline)
    environment |= {"backend": f"PyTorch {torch.__version__.split('+')[0]}"}
    if device == "cuda":
        environment["device"] = torch.cuda.get_device_name()
    return _StudiedModel(
        pipeline,
        tuple(described.labels.relation_types),
        described.parser.name,
        described.model.language,
        gradients,
        environment,
    )


def format_model_study(done: ModelStudy, plot: str | None) -> str:
    """Format a study of a model as a Markdown document.

    Args:
        done: The study.
        plot: File name of the figure, in the same folder; None if there is none.

    Returns:
        The document.
    """
    where = "; ".join(f"{name} {value}" for name, value in done.environment.items())
    parts = [
        "# Triggers compared with leaving words out",
        f"Model {quote_code(done.model)} on {quote_code(done.data)}.",
        f"{escape_markdown(where)}; {done.seconds:.0f} s. Command:",
        # An indented block of code has no fence that the command could close.
        f"    {make_visible(done.command)}",
        *format_study(done.study),
    ]
    if plot:
        parts.append(f"![Triggers compared with leaving words out]({plot})")
    return "\n\n".join(parts) + "\n"


def write_model_study(done: ModelStudy, output: Path) -> None:
    """Write ``triggers.json``, ``triggers.md`` and, if there are relations, the figure ``triggers.svg``.

    Args:
        done: The study.
        output: The folder.

    Raises:
        BackendError: matplotlib is not installed.
    """
    from trimf_train.experiments.plots import draw_deletion_curves

    curves = done.study.groups[0].curves if done.study.groups[0].relations else []
    plot = draw_deletion_curves(curves) if curves else None
    files = {
        "json": msgspec.json.format(msgspec.json.encode(done), indent=2),
        "md": format_model_study(done, "triggers.svg" if plot else None).encode(),
    }
    if plot:
        files["svg"] = plot.encode()
    output.mkdir(parents=True, exist_ok=True)
    for extension, content in files.items():
        with atomic_path(output / f"triggers.{extension}") as new:
            new.write_bytes(content)

"""Checkpoint to bundle: trace, quantise, compare with PyTorch, and write all of it or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import onnx
import torch

from trimf_train import checkpoint as checkpoints
from trimf_train import inference
from trimf_train.data.sentence import Sentence
from trimf_train.loading import read_prepared

from ..runtime.backend import SUBGRAPHS
from ..runtime.bundle import Bundle
from ..runtime.errors import ConfigError, DataError
from ..runtime.files import atomic_folder
from ..runtime.manifest import SCHEMA_VERSION, Decoding, File, Manifest, Sizes
from ..runtime.onnx_backend import OnnxRuntimeBackend
from ..runtime.pipeline import Pipeline
from . import parity
from .card import card
from .graphs import build
from .onnx import OPSET, convert, example_inputs
from .quantize import quantize
from .samples import samples

#: Sentences that the activation ranges of int8 are taken from.
CALIBRATION = 64


def export(
    checkpoint_folder: str | Path,
    output: str | Path,
    *,
    int8: bool = False,
    calibrate: str | Path | None = None,
    data: str | Path | None = None,
    licence: str = "not stated",
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Write the bundle of a checkpoint and return its manifest.

    ``calibrate`` is a prepared file whose first sentences give the activation ranges of ``int8``. ``data`` is a
    prepared file on which whole extractions are compared with PyTorch (and scored, where it has gold annotation);
    without it, on a few sentences that come with TriMF. ``say`` hears of each step.

    Raises:
        BundleError: the checkpoint is damaged, a graph holds a forbidden operator, or parity fails.
        ConfigError: ``int8`` without ``calibrate``.
        DataError: a file cannot be used.
        InputError: ``output`` exists and ``overwrite`` is false.
    """
    if int8 and calibrate is None:
        raise ConfigError("--int8 needs --calibrate FILE: prepared sentences of the kind the model will read")
    checkpoint = checkpoints.load(checkpoint_folder)
    precision: Literal["fp32", "int8"] = "int8" if int8 else "fp32"
    compared = _sentences(data) if data is not None else samples(checkpoint.description.labels.dependencies)
    calibration = _sentences(calibrate)[:CALIBRATION] if calibrate is not None and int8 else []
    with atomic_folder(Path(output), overwrite=overwrite) as folder:
        models = _trace(checkpoint, say)
        if int8:
            say(f"calibrating int8 on {len(calibration)} sentences")
            models = _quantized(checkpoint, models, calibration)
        content = {f"{name}.onnx": model.SerializeToString(deterministic=True) for name, model in models.items()}
        content["tokenizer.json"] = checkpoint.tokenizer_json.encode()
        say(f"comparing with PyTorch on {len(compared)} sentences")
        reference = inference.pipeline(checkpoint)
        backend = OnnxRuntimeBackend()
        graphs = {name: backend.load(name, content[f"{name}.onnx"]) for name in SUBGRAPHS}
        exported = Pipeline(graphs, reference.tokenizer, reference.settings)
        report = parity.compare(reference, exported, checkpoint.description.labels, compared)
        report["extractions"]["data"] = "/".join(Path(data).parts[-2:]) if data is not None else "built-in samples"
        parity.check(report, precision)
        manifest = _manifest(checkpoint, precision, licence, report)
        content["MODEL_CARD.md"] = card(manifest).encode()
        files = {
            name: File(size=len(value), sha256=hashlib.sha256(value).hexdigest())
            for name, value in sorted(content.items())
        }
        manifest = msgspec.structs.replace(manifest, files=files)
        for name, value in content.items():
            (folder / name).write_bytes(value)
        (folder / "manifest.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"
        )
        written = Bundle(folder)
        for name in files:
            written.read(name)
    return manifest


def _sentences(path: str | Path) -> list[Sentence]:
    sentences = list(read_prepared(str(path)))
    if not sentences:
        raise DataError(f"{path}: holds no sentence")
    return sentences


def _trace(checkpoint: checkpoints.Checkpoint, say: Callable[[str], None]) -> dict[str, onnx.ModelProto]:
    model = checkpoint.model
    # The plain attention exports to fewer operators than the fused one, which guards against rows without any key.
    model.encoder.set_attn_implementation("eager")
    examples = example_inputs(model.width, torch.Generator().manual_seed(0))
    models = {}
    for name, module in build(model, checkpoint.description.stage).items():
        say(f"tracing {name}")
        models[name] = convert(module, examples)
    return models


def _quantized(
    checkpoint: checkpoints.Checkpoint, models: dict[str, onnx.ModelProto], sentences: Sequence[Sentence]
) -> dict[str, onnx.ModelProto]:
    calls = parity.tap(inference.pipeline(checkpoint), checkpoint.description.labels, sentences, batch_size=1)
    return models | {"encoder": quantize(models["encoder"], [inputs for inputs, _ in calls["encoder"]])}


def _manifest(
    checkpoint: checkpoints.Checkpoint, precision: Literal["fp32", "int8"], licence: str, report: dict[str, Any]
) -> Manifest:
    description = checkpoint.description
    config = description.model
    return Manifest(
        schema_version=SCHEMA_VERSION,
        created_by=f"trimf {version('trimf')}",
        labels=description.labels,
        sizes=Sizes(
            hidden=checkpoint.model.width,
            max_span=config.span.max_width,
            max_subwords=config.encoder.max_subwords,
            max_words=config.encoder.max_words,
        ),
        decoding=Decoding(relation_threshold=description.decode.relation_threshold, overlap=description.decode.overlap),
        parser=description.parser,
        encoder=config.encoder.name,
        precision=precision,
        opset=OPSET,
        licence=licence,
        provenance=description.provenance,
        parity=report,
        files={},
    )

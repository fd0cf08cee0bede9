"""Checkpoint to bundle: trace, quantise, compare with PyTorch, and write all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import onnx
import torch

from trimf_train import checkpoint as checkpoints
from trimf_train import inference
from trimf_train.data.sentence import Sentence
from trimf_train.loading import read_prepared

from ..runtime import tensorrt_library
from ..runtime.backend import SUBGRAPHS
from ..runtime.bundle import Bundle
from ..runtime.errors import ConfigError, DataError
from ..runtime.files import atomic_folder
from ..runtime.manifest import SCHEMA_VERSION, Decoding, Manifest, Precision, Profile, Sizes, encode
from ..runtime.onnx_backend import OnnxRuntimeBackend
from ..runtime.pipeline import Pipeline
from . import parity
from .card import card
from .compile import Progress, engines_for, file, plan
from .engines import check as check_products
from .graphs import build
from .half import products
from .onnx import OPSET, example_inputs
from .onnx import convert as to_onnx
from .precision import convert
from .samples import name_of, samples

#: Sentences that the activation ranges of int8 are taken from.
CALIBRATION = 64


def export(
    checkpoint_folder: str | Path,
    output: str | Path,
    *,
    precision: Precision = "fp32",
    calibrate: str | Path | None = None,
    data: str | Path | None = None,
    targets: Sequence[str] = (),
    shapes: Sequence[Profile] = (),
    workspace_mb: int | None = None,
    licence: str = "not stated",
    explain: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
    show: Callable[[Mapping[str, Any]], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Manifest:
    """Write the bundle of a checkpoint and return its manifest.

    ``calibrate`` is a prepared file whose first sentences give the activation ranges of int8. ``data`` is a prepared
    file on which whole extractions are compared with PyTorch (and scored, where it has gold annotation); without it, on
    a few sentences that come with TriMF. For each of ``targets`` (``sm_89``) engines of TensorRT for RTX are built,
    with the profiles ``shapes``. To ``explain`` what it finds, the bundle's graphs give more on request
    (``trimf explain``). ``say`` hears of each step, ``progress`` of each engine's; ``show`` gets the parity
    report, before it fails the export if it does.

    Raises:
        BundleError: the checkpoint is damaged, a graph holds a forbidden operator, or parity or precision fails.
        BackendError: engines are asked for and cannot be built here.
        ConfigError: int8 without ``calibrate``, or the reverse; engines of an int8 bundle for CPUs; ``shapes`` or
            ``workspace_mb`` without ``targets``; a target or profile that cannot be built.
        DataError: a file cannot be used.
        InputError: ``output`` exists and ``overwrite`` is false.
    """
    _check_options(precision, calibrate, targets, bool(shapes) or workspace_mb is not None)
    library = tensorrt_library.find("tensorrt-rtx") if targets else None
    checkpoint = checkpoints.load(checkpoint_folder)
    planned = None
    if library is not None:
        planned = plan(library, _sizes(checkpoint), targets=targets, shapes=shapes, workspace_mb=workspace_mb)
    labels = checkpoint.description.labels
    typical = samples(labels.dependencies)
    compared = _sentences(data) if data is not None else typical
    calibration = _sentences(calibrate)[:CALIBRATION] if calibrate is not None else None
    with atomic_folder(Path(output), overwrite=overwrite) as folder:
        models = _trace(checkpoint, say, explain)
        reference = inference.pipeline(checkpoint)
        converted = convert(
            models,
            precision,
            parity.given(reference, labels, [*typical, *compared[: parity.TAPPED]]),
            parity.given(reference, labels, calibration) if calibration else None,
            name_of(calibrate),
            say,
        )
        content = {
            f"{name}.onnx": model.SerializeToString(deterministic=True) for name, model in converted.shipped.items()
        }
        content["tokenizer.json"] = checkpoint.tokenizer_json.encode()
        say(f"comparing with PyTorch on {len(compared)} sentences")
        report = parity.compare(reference, _opened(converted.comparable, reference), labels, compared)
        report["extractions"]["data"] = name_of(data)
        report["against"] = "PyTorch"
        show(report)
        parity.check(report, precision)
        manifest = msgspec.structs.replace(
            _manifest(checkpoint, precision, licence, report),
            products={name: products(model) for name, model in converted.shipped.items()},
            quantization=converted.quantization,
            opset=max(one.version for model in converted.shipped.values() for one in model.opset_import),
        )
        for remark in check_products(manifest.products, precision):
            say(remark)
        if planned is not None:
            for engine, built in engines_for(content, manifest, planned, say=say, progress=progress):
                manifest = msgspec.structs.replace(manifest, engines=[*manifest.engines, engine])
                content[engine.file] = built
        content["MODEL_CARD.md"] = card(manifest).encode()
        manifest = msgspec.structs.replace(manifest, files={name: file(content[name]) for name in sorted(content)})
        _write(folder, content, manifest)
    return manifest


def _check_options(
    precision: Precision, calibrate: str | Path | None, targets: Sequence[str], engine_options: bool
) -> None:
    quantized = precision in ("int8", "int8-qdq")
    if quantized and calibrate is None:
        raise ConfigError(f"--{precision} needs --calibrate FILE: prepared sentences of the kind the model will read")
    if calibrate is not None and not quantized:
        raise ConfigError(f"--calibrate {calibrate} is for --int8 and --int8-qdq, not for {precision}")
    if precision == "int8" and targets:
        raise ConfigError(f"--int8 is for CPUs and has no engines ({targets[0]}); take --int8-qdq")
    if engine_options and not targets:
        raise ConfigError("--shapes and --workspace are for engines; say which, as in --engine sm_89")


def _opened(models: Mapping[str, onnx.ModelProto], like: Pipeline) -> Pipeline:
    """The graphs on the CPU, with the tokenizer and the settings of another pipeline."""
    backend = OnnxRuntimeBackend()
    graphs = {name: backend.load(name, models[name].SerializeToString()) for name in SUBGRAPHS}
    return Pipeline(graphs, like.tokenizer, like.settings)


def _write(folder: Path, content: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write the files and the manifest, and read all of it back."""
    for name, value in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(value)
    (folder / "manifest.json").write_bytes(encode(manifest))
    written = Bundle(folder)
    for name in manifest.files:
        written.read(name)


def _sentences(path: str | Path) -> list[Sentence]:
    sentences = list(read_prepared(str(path)))
    if not sentences:
        raise DataError(f"{path}: holds no sentence")
    return sentences


def _trace(
    checkpoint: checkpoints.Checkpoint, say: Callable[[str], None], explain: bool = False
) -> dict[str, onnx.ModelProto]:
    model = checkpoint.model
    # The plain attention exports to fewer operators than the fused one, which guards against rows without any key.
    model.encoder.set_attn_implementation("eager")
    examples = example_inputs(model.width, torch.Generator().manual_seed(0))
    models = {}
    for name, module in build(model, checkpoint.description.stage, explain).items():
        say(f"tracing {name}")
        models[name] = to_onnx(module, examples)
    return models


def _sizes(checkpoint: checkpoints.Checkpoint) -> Sizes:
    config = checkpoint.description.model
    return Sizes(
        hidden=checkpoint.model.width,
        max_span=config.span.max_width,
        max_subwords=config.encoder.max_subwords,
        max_words=config.encoder.max_words,
    )


def _manifest(
    checkpoint: checkpoints.Checkpoint, precision: Precision, licence: str, report: dict[str, Any]
) -> Manifest:
    description = checkpoint.description
    config = description.model
    return Manifest(
        schema_version=SCHEMA_VERSION,
        created_by=f"trimf {version('trimf')}",
        labels=description.labels,
        sizes=_sizes(checkpoint),
        decoding=Decoding(relation_threshold=description.decode.relation_threshold, overlap=description.decode.overlap),
        parser=description.parser,
        encoder=config.encoder.name,
        casing=config.encoder.casing,
        triggers="contribution",
        precision=precision,
        opset=OPSET,
        licence=licence,
        provenance=description.provenance,
        parity=report,
        files={},
    )

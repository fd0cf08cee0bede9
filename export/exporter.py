"""Export of a checkpoint as a bundle: trace, convert the precision, compare with PyTorch, write atomically."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import onnx
import torch

from trimf_train.data.document_splitting import DocumentSplitting
from trimf_train.data.readers import find_format, read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.prediction import add_missing_parses
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference
from trimf_train.training.dataset import read_prepared

from .. import __version__
from ..runtime.bundle.manifest import (
    EFFECTS_FILE,
    SCHEMA_VERSION,
    Decoding,
    Manifest,
    Precision,
    Profile,
    Sizes,
    encode_manifest,
)
from ..runtime.bundle.parity_report import ParityReport, encode_parity
from ..runtime.bundle.reader import Bundle
from ..runtime.engine import tensorrt_library
from ..runtime.engine.contract import JOINED, JOINED_FILE, JOINED_WEIGHTS
from ..runtime.engine.onnx_cpu import OnnxCpuBackend
from ..runtime.errors import BundleError, ConfigError, DataError
from ..runtime.files.atomic import atomic_folder
from ..runtime.files.folder_kinds import BUNDLE
from ..runtime.pipeline import Pipeline
from . import parity
from .bundle_compiler import BundleProgress, build_engines, plan_engine_builds
from .bundle_writer import describe_file
from .cpu_joining import JOINED_PRECISIONS, build_joined_graph
from .engine_builder import check_precision as check_products
from .fused.fusing import fuse_graphs
from .half_precision import count_matmuls_by_dtype
from .model_card import render_model_card
from .onnx_conversion import OPSET, create_example_inputs
from .onnx_conversion import convert_to_onnx as to_onnx
from .parity_limits import describe_exceeded, find_exceeded_limits
from .precision import convert_precision
from .rewriting.gelu import count_gelus
from .samples import built_in_samples, describe_data_file
from .subgraphs import build_subgraphs

#: Maximum number of calibration sentences from which the int8 activation ranges are measured.
MAX_CALIBRATION_SENTENCES = 64


def export_checkpoint(
    checkpoint_folder: str | Path,
    output: str | Path,
    *,
    precision: Precision = "fp32",
    calibration_data: str | Path | None = None,
    data: str | Path | None = None,
    targets: Sequence[str] = (),
    profiles: Sequence[Profile] = (),
    workspace_mb: int | None = None,
    separate: bool = False,
    licence: str = "not stated",
    explain: bool = False,
    overwrite: bool = False,
    accept_difference: bool = False,
    log: Callable[[str], None] = lambda _: None,
    on_report: Callable[[ParityReport], None] = lambda _: None,
    on_progress: BundleProgress = lambda *_: None,
) -> Manifest:
    """Export a checkpoint as a bundle and return the bundle's manifest.

    The bundle is written to a temporary folder and renamed at the end, so a failed export leaves nothing behind.

    Args:
        checkpoint_folder: Folder of the checkpoint.
        output: Folder of the new bundle.
        precision: Precision of the graphs; ``int8`` runs on CPUs, ``int8-qdq`` on GPUs.
        calibration_data: Prepared file with the calibration data; required for the two int8 precisions, where its first
            ``MAX_CALIBRATION_SENTENCES`` sentences determine the activation ranges.
        data: Prepared file on which whole extractions are compared with PyTorch, and scored if it has gold
            annotations. By default, a few sentences that ship with TriMF.
        targets: Compute capabilities, such as ``sm_89``, for which TensorRT for RTX engines are built.
        profiles: Optimization profiles of the engines; see ``compile_bundle``.
        workspace_mb: Limit on the device memory that a single layer of an engine may use, in MiB.
        separate: Also build the separate engines of a model that parses by itself, which another parser needs.
        licence: Licence of the weights, for the model card.
        explain: Add the outputs that ``trimf explain`` needs.
        overwrite: Replace an existing bundle.
        accept_difference: Write the bundle even if it exceeds limits of its precision, and record in the manifest and
            in the model card which ones and by how much. NaN, infinity and damaged files are refused all the same.
        log: Called with a line of text at each step.
        on_report: Called with the parity report, also when the report then fails the export.
        on_progress: Called with the progress of each engine build.

    Returns:
        The manifest as written.

    Raises:
        BundleError: The checkpoint is damaged, a graph contains a forbidden operator, or the parity or precision
            check fails.
        BackendError: Engines are requested but cannot be built on this machine.
        ConfigError: An int8 precision without ``calibration_data``, or the reverse; engines of an int8 bundle for CPUs;
            ``profiles``, ``workspace_mb`` or ``separate`` without ``targets``; or an unsupported target or profile.
        DataError: A data file cannot be read or contains no sentences.
        InputError: ``output`` exists and ``overwrite`` is false.
    """
    _check_options(precision, calibration_data, targets, bool(profiles) or workspace_mb is not None or separate)
    library = tensorrt_library.import_library("tensorrt-rtx") if targets else None
    checkpoint = checkpoints.load_checkpoint(checkpoint_folder)
    planned = None
    if library is not None:
        planned = plan_engine_builds(
            library,
            _model_sizes(checkpoint),
            targets=targets,
            profiles=profiles,
            workspace_mb=workspace_mb,
            separate=separate,
        )
    labels = checkpoint.description.labels
    typical = built_in_samples(labels.dependency_labels)
    compared = _read_sentences(data, checkpoint) if data is not None else typical
    calibration = None
    if calibration_data is not None:
        calibration = _read_sentences(calibration_data, checkpoint)[:MAX_CALIBRATION_SENTENCES]
    with atomic_folder(output, BUNDLE, overwrite=overwrite) as folder:
        models = _trace_subgraphs(checkpoint, log, explain)
        reference = inference.build_pipeline(checkpoint)
        converted = convert_precision(
            models,
            precision,
            parity.record_inputs(reference, labels, [*typical, *compared[: parity.MAX_COMPARED_SENTENCES]]),
            parity.record_inputs(reference, labels, calibration) if calibration else None,
            describe_data_file(calibration_data),
            log,
        )
        content = {
            f"{name}.onnx": model.SerializeToString(deterministic=True) for name, model in converted.shipped.items()
        }
        content["tokenizer.json"] = checkpoint.tokenizer_json.encode()
        if checkpoint.effects is not None:
            content[EFFECTS_FILE] = checkpoint.effects.to_bytes()
        if checkpoint.model.parser is not None and precision in JOINED_PRECISIONS:
            log("joining encoder, fusion and entities for CPUs")
            content[JOINED_FILE] = build_joined_graph(content)
        log(f"comparing with PyTorch on {len(compared)} sentences")
        separate_graphs = _open_cpu_pipeline(converted.comparable, reference)
        report = parity.compare_pipelines(
            reference,
            separate_graphs,
            labels,
            compared,
            precision=precision,
            extracting=_open_joined_pipeline(content, separate_graphs) if precision in ("fp32", "int8") else None,
            data=describe_data_file(data),
        )
        on_report(report)
        if exceeded := find_exceeded_limits(report, precision):
            if not accept_difference:
                raise BundleError(f"{describe_exceeded(exceeded)}; {_advise(precision)}")
            report = msgspec.structs.replace(report, accepted=exceeded)
            for limit in exceeded:
                log(f"accepted although a limit is exceeded: {limit.text}")
        if precision != "int8":  # for CPUs only
            content |= fuse_graphs(checkpoint, precision, reference, compared, content, log)
        manifest = msgspec.structs.replace(
            _build_manifest(checkpoint, precision, licence, report),
            products={name: count_matmuls_by_dtype(model) for name, model in converted.shipped.items()},
            quantization=converted.quantization,
            opset=max(opset.version for model in converted.shipped.values() for opset in model.opset_import),
        )
        for warning in check_products(manifest.products, precision):
            log(warning)
        if planned is not None:
            for engine, plan_bytes in build_engines(content, manifest, planned, log=log, on_progress=on_progress):
                manifest = msgspec.structs.replace(manifest, engines=[*manifest.engines, engine])
                content[engine.file] = plan_bytes
        content["MODEL_CARD.md"] = render_model_card(manifest).encode()
        manifest = msgspec.structs.replace(
            manifest, files={name: describe_file(content[name]) for name in sorted(content)}
        )
        _write_bundle(folder, content, manifest)
    return manifest


def _check_options(
    precision: Precision, calibration_data: str | Path | None, targets: Sequence[str], engine_options: bool
) -> None:
    """Reject combinations of options that contradict each other, before any work is done."""
    quantized = precision in ("int8", "int8-qdq")
    if quantized and calibration_data is None:
        raise ConfigError(f"--{precision} needs --calibration-data FILE, a prepared file of typical sentences")
    if calibration_data is not None and not quantized:
        raise ConfigError(
            f"--calibration-data {calibration_data} applies only to --int8 and --int8-qdq, not to {precision}"
        )
    if precision == "int8" and targets:
        raise ConfigError(f"--int8 is for CPUs only and excludes --target {targets[0]}; use --int8-qdq for engines")
    if engine_options and not targets:
        raise ConfigError("--shapes, --workspace and --separate require --target, for example --target sm_89")


def _open_cpu_pipeline(models: Mapping[str, onnx.ModelProto], reference: Pipeline) -> Pipeline:
    """Open the graphs on the CPU, with the tokenizer and the settings of the reference pipeline."""
    backend = OnnxCpuBackend()
    graphs = {name: backend.load(name, model.SerializeToString()) for name, model in models.items()}
    return Pipeline(graphs, reference.tokenizer, reference.settings)


def _open_joined_pipeline(files: Mapping[str, bytes], separate: Pipeline) -> Pipeline | None:
    """Open the graphs that a CPU runs where the bundle has a joined graph; None where it has none."""
    if JOINED_FILE not in files:
        return None
    weights = {name: files[name] for name in JOINED_WEIGHTS}
    joined = OnnxCpuBackend().load(JOINED, files[JOINED_FILE], weights=weights)
    graphs = {JOINED: joined, **{name: graph for name, graph in separate.graphs.items() if name == "relations"}}
    return Pipeline(graphs, separate.tokenizer, separate.settings)


def _advise(precision: Precision) -> str:
    """Return what helps against differences that exceed the limits of a precision."""
    helps = {
        "fp32": "nothing but another version of PyTorch or ONNX Runtime should cause this",
        "fp16": "training longer, --bf16 or fp32 may help",
        "bf16": "training longer, --fp16 or fp32 may help",
        "int8": "more, or more typical, sentences in --calibration-data, training longer, --fp16 or fp32 may help",
        "int8-qdq": "more, or more typical, sentences in --calibration-data, training longer, --fp16 or fp32 may help",
    }
    return f"{helps[precision]}; --accept-difference writes the bundle all the same and records this"


def _write_bundle(folder: Path, content: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write the files and the manifest, then read everything back to check sizes and hashes."""
    for name, value in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(value)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    written = Bundle(folder)
    for name in manifest.files:
        written.read(name)


def _read_sentences(path: str | Path, checkpoint: checkpoints.Checkpoint) -> list[Sentence]:
    """Read a prepared file, or running text as the model splits it; there must be at least one sentence."""
    if find_format(path).read_documents is None:
        sentences = list(read_prepared(str(path)))
    else:
        description = checkpoint.description
        sentences = list(read_sentences(path, splitting=DocumentSplitting(description.model.language)))
        if checkpoint.model.parser is None:
            sentences = add_missing_parses(sentences, description.parser.name)
    if not sentences:
        raise DataError(f"{path}: contains no sentences; at least one is needed")
    return sentences


def _trace_subgraphs(
    checkpoint: checkpoints.Checkpoint, log: Callable[[str], None], explain: bool = False
) -> dict[str, onnx.ModelProto]:
    """Export the four subgraphs of a checkpoint to fp32 ONNX models, by name."""
    model = checkpoint.model
    # Eager attention exports to fewer operators than fused attention, which adds a guard for rows without any key.
    model.encoder.set_attn_implementation("eager")
    examples = create_example_inputs(model.width, torch.Generator().manual_seed(0))
    models = {}
    for name, module in build_subgraphs(model, checkpoint.description.stage, explain).items():
        log(f"tracing {name}")
        models[name] = to_onnx(module, examples)
        ordered, found = count_gelus(models[name])
        if ordered < found:
            log(f"{name}: {ordered} of {found} GELUs are in the order that engines fuse; the rest runs as traced")
    return models


def _model_sizes(checkpoint: checkpoints.Checkpoint) -> Sizes:
    """Return the sizes of a model as the manifest records them."""
    config = checkpoint.description.model
    return Sizes(
        hidden=checkpoint.model.width,
        max_span=config.span.max_width,
        max_subwords=config.encoder.max_subwords,
        max_words=config.encoder.max_words,
    )


def _build_manifest(
    checkpoint: checkpoints.Checkpoint, precision: Precision, licence: str, report: ParityReport
) -> Manifest:
    """Build the manifest of a new bundle; its files and engines are added later."""
    description = checkpoint.description
    config = description.model
    return Manifest(
        schema_version=SCHEMA_VERSION,
        created_by=f"trimf {__version__}",
        labels=description.labels,
        sizes=_model_sizes(checkpoint),
        decoding=Decoding(relation_threshold=description.decode.relation_threshold, overlap=description.decode.overlap),
        parser=description.parser,
        encoder=config.encoder.name,
        language=config.language,
        casing=config.encoder.casing,
        triggers="contribution" if checkpoint.effects is None else "effect",
        trigger_floor=description.trigger_floor,
        precision=precision,
        opset=OPSET,
        licence=licence,
        provenance=description.provenance,
        parity=encode_parity(report),
        files={},
    )

"""Verification of a bundle on a backend, against PyTorch or an unoptimized CPU run (``trimf verify``)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from trimf_train.data.document_splitting import DocumentSplitting
from trimf_train.data.readers import read_sentences
from trimf_train.evaluation.model_loading import open_checkpoint
from trimf_train.evaluation.prediction import add_missing_parses

from ..runtime.bundle.manifest import SCHEMA_VERSION, encode_manifest
from ..runtime.bundle.parity_report import VerificationReport, encode_parity, read_accepted
from ..runtime.bundle.reader import Bundle
from ..runtime.engine.backend_selection import open_backend
from ..runtime.engine.onnx_cpu import OnnxCpuBackend
from ..runtime.errors import BackendError, BundleError, DataError, check_integer
from ..runtime.pipeline import Pipeline
from ..runtime.pipeline_loading import open_pipeline
from .bundle_writer import write_bundle_file
from .parity import compare_pipelines
from .parity_limits import check_limits
from .samples import built_in_samples, describe_data_file


def verify_bundle(
    path: str | Path,
    *,
    backend: str = "auto",
    against: str | Path | None = None,
    data: str | Path | None = None,
    threads: int | None = None,
    batch_size: int = 32,
) -> VerificationReport:
    """Check the hashes of all files of a bundle, and compare its results on a backend with a reference.

    Args:
        path: Folder of the bundle, or ``default``.
        backend: Backend to verify.
        against: Checkpoint that the bundle was exported from, as the reference. By default the reference is ONNX
            Runtime on the CPU, which runs the bundle's graphs without optimization.
        data: File of sentences in any format that ``trimf prepare`` reads; by default the built-in samples.
        threads: CPU cores to use; by default all.
        batch_size: Number of sentences per call.

    Returns:
        The parity report, with the backend and the limit that is exceeded, if any.

    Raises:
        BundleError: The bundle or the checkpoint is damaged, they do not belong together, or an output contains NaN or
            infinity.
        BackendError: The backend cannot run the bundle, or no reference is available.
        DataError: The data cannot be read or contains no sentences.
        InputError: ``batch_size`` is less than 1.
    """
    check_integer("batch_size", batch_size, 1)
    bundle = Bundle(path)
    for name in bundle.manifest.files:
        bundle.read(name)
    labels, precision = bundle.manifest.labels, bundle.manifest.precision
    if data is None:
        sentences = built_in_samples(labels.dependency_labels)
    else:
        sentences = list(read_sentences(data, splitting=DocumentSplitting(bundle.manifest.language)))
        if bundle.manifest.parser.source == "spacy":
            sentences = add_missing_parses(sentences, bundle.manifest.parser.name)
        if not sentences:
            raise DataError(f"{data}: contains no sentences; at least one is needed")
    opened = open_backend(backend, threads, bundle)
    with closing(open_pipeline(bundle, opened)) as candidate:
        if against is not None:
            reference, name = _open_checkpoint(Path(against), bundle), "PyTorch"
        elif precision == "bf16":
            raise BackendError("bf16 graphs cannot run on the CPU as a reference; use --against CHECKPOINT")
        else:
            reference = open_pipeline(bundle, OnnxCpuBackend(threads, optimize=False))
            name = "ONNX Runtime, unoptimised"  # as manifests have stored it
        with closing(reference):
            report = compare_pipelines(
                reference,
                candidate,
                labels,
                sentences,
                batch_size,
                precision=precision,
                against=name,
                data=describe_data_file(data),
            )
    failure = None
    try:
        check_limits(report, precision)
    except BundleError as error:
        failure = str(error)
    return VerificationReport(
        **msgspec.structs.asdict(report) | {"accepted": read_accepted(bundle.manifest.parity) or msgspec.UNSET},
        backend=opened.name,
        reason=opened.reason,
        failure=failure,
    )


def save_report(path: str | Path, report: VerificationReport) -> None:
    """Save a report in the bundle's manifest, for ``trimf inspect``; it replaces an older report on the same backend.

    Args:
        path: Folder of the bundle; see ``open_writable_bundle``.
        report: Report as ``verify_bundle`` returns it.

    Raises:
        BundleError: The bundle is damaged or cannot be written.
    """
    bundle = Bundle(path)
    parity = bundle.manifest.parity
    verified = {**parity.get("verified", {}), report.backend: encode_parity(report)}
    manifest = msgspec.structs.replace(
        bundle.manifest, schema_version=SCHEMA_VERSION, parity={**parity, "verified": verified}
    )
    write_bundle_file(bundle.path, "manifest.json", encode_manifest(manifest))


def _open_checkpoint(folder: Path, bundle: Bundle) -> Pipeline:
    """Open the checkpoint of a bundle in PyTorch, after checking that they belong together."""
    checkpoint, pipeline = open_checkpoint(folder)
    description, manifest = checkpoint.description, bundle.manifest
    sizes = (checkpoint.model.width, description.model.span.max_width)
    facts = {
        "labels differ": (description.labels, manifest.labels),
        "sizes differ": (sizes, (manifest.sizes.hidden, manifest.sizes.max_span)),
        "tokenizer differs": (checkpoint.tokenizer_json.encode(), bundle.read("tokenizer.json")),
    }
    for fact, (actual, expected) in facts.items():
        if actual != expected:
            raise BundleError(
                f"{folder}: its {fact} from the bundle's; use the checkpoint that {bundle.path} was exported from"
            )
    return pipeline

"""``trimf verify``: how far a bundle's answers are, on a backend, from PyTorch's or a plain run of its own graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trimf_train.data.readers import read_sentences
from trimf_train.evaluate import parsed

from ..runtime.backend import open_backend
from ..runtime.bundle import Bundle, open_pipeline
from ..runtime.errors import BackendError, BundleError, DataError, InputError
from ..runtime.manifest import SCHEMA_VERSION, encode
from ..runtime.onnx_backend import OnnxRuntimeBackend
from ..runtime.pipeline import Pipeline
from . import parity
from .compile import write
from .samples import name_of, samples


def verify(
    path: str | Path,
    *,
    backend: str = "auto",
    against: str | Path | None = None,
    data: str | Path | None = None,
    threads: int | None = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """The parity report (:func:`trimf.export.parity.compare`) of a bundle on a backend, all its files' hashes checked.

    ``against`` is the checkpoint that it came from; without it the reference is ONNX Runtime on the CPU, running the
    bundle's graphs as they are written, without optimisation. ``data`` is a file of any format that ``trimf prepare``
    reads; without it, sentences that come with TriMF. The report also has ``against``, ``backend`` and ``reason``, and
    ``failure``: what exceeds the limits of the bundle's precision, or None.

    Raises:
        BundleError: the bundle or the checkpoint is damaged, they do not fit each other, or an output is not finite.
        BackendError: the backend cannot run the bundle, or there is no reference that could.
        DataError: the data cannot be used.
        InputError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise InputError(f"batch_size = {batch_size}, but at least 1 is needed")
    bundle = Bundle(path)
    for name in bundle.manifest.files:
        bundle.read(name)
    labels, precision = bundle.manifest.labels, bundle.manifest.precision
    if data is None:
        sentences = samples(labels.dependencies)
    else:
        sentences = list(read_sentences(data))
        if bundle.manifest.parser.source == "spacy":
            sentences = parsed(sentences, bundle.manifest.parser.name)
        if not sentences:
            raise DataError(f"{data}: holds no sentence")
    engine = open_backend(backend, threads, bundle)
    other = open_pipeline(bundle, engine)
    if against is not None:
        reference, name = _checkpoint(Path(against), bundle), "PyTorch"
    elif precision == "bf16":
        raise BackendError("bf16 graphs have no reference on a CPU; give the checkpoint: --against CKPT")
    else:
        reference = open_pipeline(bundle, OnnxRuntimeBackend(threads, optimize=False))
        name = "ONNX Runtime, unoptimised"
    report = parity.compare(reference, other, labels, sentences, batch_size)
    report["extractions"]["data"] = name_of(data)
    report |= {"against": name, "backend": engine.name, "reason": engine.reason, "failure": None}
    try:
        parity.check(report, precision)
    except BundleError as error:
        report["failure"] = str(error)
    return report


def save(path: str | Path, report: dict[str, Any]) -> None:
    """Keep a report in the bundle's manifest, under its backend, for ``trimf inspect``; an older one is replaced.

    Raises:
        BundleError: the bundle is damaged or cannot be written.
    """
    bundle = Bundle(path)
    parity = bundle.manifest.parity
    verified = {**parity.get("verified", {}), report["backend"]: report}
    manifest = msgspec.structs.replace(
        bundle.manifest, schema_version=SCHEMA_VERSION, parity={**parity, "verified": verified}
    )
    write(bundle.path, "manifest.json", encode(manifest))


def _checkpoint(folder: Path, bundle: Bundle) -> Pipeline:
    try:
        from trimf_train import checkpoint as checkpoints
        from trimf_train import inference
    except ModuleNotFoundError as error:
        raise BackendError(f'a checkpoint needs {error.name}; pip install "trimf[train]"') from error
    checkpoint = checkpoints.load(folder)
    description, manifest = checkpoint.description, bundle.manifest
    sizes = (checkpoint.model.width, description.model.span.max_width)
    facts = {
        "labels are": (description.labels, manifest.labels),
        "sizes are": (sizes, (manifest.sizes.hidden, manifest.sizes.max_span)),
        "tokenizer is": (checkpoint.tokenizer_json.encode(), bundle.read("tokenizer.json")),
    }
    for fact, (given, expected) in facts.items():
        if given != expected:
            raise BundleError(
                f"{folder}: its {fact} not the bundle's; give the checkpoint that {bundle.path} was exported from"
            )
    return inference.pipeline(checkpoint)

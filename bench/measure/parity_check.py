"""Compare a bundle on a backend with an unoptimized run on the CPU, as ``trimf verify`` does."""

from __future__ import annotations

from math import isnan

from msgspec import UNSET

from ...export.verify import verify_bundle
from ..report.schema import Parity
from .jobs import Job


def check_parity(job: Job) -> Parity:
    """Compare a bundle with the CPU on the built-in samples of ``trimf verify``.

    Args:
        job: The job, of a bundle.

    Returns:
        The comparison; exceeded limits are in it.

    Raises:
        BundleError: The bundle is damaged, or an output is not finite.
        BackendError: The bundle cannot run here, or not on the CPU either.
    """
    report = verify_bundle(job.path, backend=job.backend, threads=job.threads)
    compared = report.extractions
    return Parity(
        model=job.model,
        backend=report.backend,
        against=report.against,
        sentences=compared.sentences,
        identical=_state(compared.identical),
        entities=_state(compared.agreement.entities),
        relations=_state(compared.agreement.relations),
        arcs=None if report.arcs is UNSET else _state(report.arcs.identical),
        errors={name: _state(error.relative.p99) for name, error in report.subgraphs.items()},
        failure=report.failure,
    )


def _state(value: float) -> float | None:
    return None if isnan(value) else value

"""Parity report: how far the results of a bundle are from those of a reference.

``trimf export`` writes a report to ``parity`` of the manifest, and ``trimf verify --save`` adds one per backend.
Reports are for information only: any part of a stored report may be absent, and unknown parts are ignored. A figure
that is not stated is NaN.
"""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class ErrorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Largest, mean and 99th percentile of the errors of an output."""

    max: float = nan
    mean: float = nan
    p99: float = nan

    def __bool__(self) -> bool:
        """Return whether any figure is stated."""
        return not all(map(isnan, (self.max, self.mean, self.p99)))


class OutputErrors(ErrorFigures, frozen=True, kw_only=True):
    """Absolute errors of an output.

    Attributes:
        relative: Errors divided by the root mean square of the reference's output.
    """

    relative: ErrorFigures = ErrorFigures()


class ArcParity(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of dependency arcs, for a model with an in-model parser.

    Attributes:
        words: Number of words that were compared.
        identical: Percentage of words with identical head and label.
    """

    words: int = 0
    identical: float = nan


class F1Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Micro F1 of entities and strict relations in per cent.

    Attributes:
        entities: F1 of the entities.
        relations: F1 of the relations.
        support: Number of expected entities and of expected relations.
    """

    entities: float = nan
    relations: float = nan
    support: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        """Return whether any score is stated."""
        return not (isnan(self.entities) and isnan(self.relations))


class WorstSentence(msgspec.Struct, frozen=True, kw_only=True):
    """Sentence with the largest difference.

    Attributes:
        id: Id of the sentence in the data.
        text: Its words, joined by spaces.
        missing: Entities and relations of the reference that the bundle does not find.
        added: Entities and relations of the bundle that the reference does not find.
    """

    id: str | int | None = None
    text: str = ""
    missing: list[Any] = []
    added: list[Any] = []


class ExtractionParity(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of whole extractions.

    Attributes:
        sentences: Number of sentences; 0 if it is not stated.
        identical: Percentage of sentences with identical entities and relations.
        agreement: Scores of the bundle against the reference.
        worst: Sentence with the largest difference, if any sentence differs.
        reference: Scores of the reference against the gold annotations, if there are any.
        exported: Scores of the bundle against the gold annotations, if there are any.
        data: Name of the data.
    """

    sentences: int = 0
    identical: float = nan
    agreement: F1Scores = F1Scores()
    worst: WorstSentence | UnsetType = UNSET
    reference: F1Scores | UnsetType = UNSET
    exported: F1Scores | UnsetType = UNSET
    data: str = "data not stated"

    def __bool__(self) -> bool:
        """Return whether any result is stated."""
        results = (self.agreement, self.worst, self.reference, self.exported)
        return self.sentences > 0 or not isnan(self.identical) or any(results)


class ParityReport(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of a bundle with a reference.

    Attributes:
        subgraphs: Errors of every output (``encoder.words``). Each subgraph gets the reference's inputs, so that errors
            do not accumulate.
        skipped: Subgraphs whose outputs were not compared separately, with the reason.
        arcs: Comparison of dependency arcs, with the reference's inputs; only with an in-model parser.
        extractions: Comparison of whole extractions.
        against: Name of the reference.
    """

    subgraphs: dict[str, OutputErrors] = {}
    skipped: dict[str, str] = {}
    arcs: ArcParity | UnsetType = UNSET
    extractions: ExtractionParity = ExtractionParity()
    against: str = "PyTorch"


class VerificationReport(ParityReport, frozen=True, kw_only=True):
    """Result of ``trimf verify`` on one backend.

    Attributes:
        backend: Name of the backend.
        reason: Reason for the choice of the backend.
        failure: Limits of the bundle's precision that were exceeded, or None.
    """

    backend: str = ""
    reason: str = ""
    failure: str | None = None


class StoredParity(ParityReport, frozen=True, kw_only=True):
    """Field ``parity`` of a manifest: the report of ``trimf export``, and those of ``trimf verify --save``.

    Attributes:
        verified: Reports of ``trimf verify --save`` by backend.
    """

    verified: dict[str, VerificationReport] | UnsetType = UNSET


def decode_parity(content: dict[str, Any]) -> StoredParity:
    """Decode the field ``parity`` of a manifest.

    Args:
        content: Value of the field, as read from JSON.

    Returns:
        The report.

    Raises:
        msgspec.ValidationError: A part of the report has another type than expected.
    """
    return msgspec.convert(content, StoredParity)


def encode_parity(report: ParityReport) -> dict[str, Any]:
    """Encode a report as the JSON object that a manifest holds.

    Args:
        report: Report to encode.

    Returns:
        The JSON object.
    """
    content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(report))
    return content

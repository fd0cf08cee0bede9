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
        differing: Number of words whose head or label differs.
        near_ties: Number of those that are near ties of the reference.
        tie_margin: Margin below which a difference is a near tie, in logits.
    """

    words: int = 0
    identical: float = nan
    differing: int | UnsetType = UNSET
    near_ties: int | UnsetType = UNSET
    tie_margin: float | UnsetType = UNSET


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


class LossInterval(msgspec.Struct, frozen=True, kw_only=True):
    """Loss of F1 on gold annotations, in percentage points, with a 95 % interval of a bootstrap over sentences.

    Attributes:
        lost: F1 of the reference minus F1 of the bundle.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    lost: float
    low: float
    high: float


class F1Losses(msgspec.Struct, frozen=True, kw_only=True):
    """Losses of F1 on gold annotations.

    Attributes:
        entities: Loss of the entities.
        relations: Loss of the relations (strict).
    """

    entities: LossInterval
    relations: LossInterval


class NearTies(msgspec.Struct, frozen=True, kw_only=True):
    """Differences of whole extractions that are near ties of the reference, and the comparison without them.

    Attributes:
        entities: Number of differing entities, and of those that are near ties.
        relations: Number of differing relations, and of those that are near ties.
        margins: Margins of entities and of relations below which a difference is a near tie, in logits.
        identical: Percentage of sentences that are identical or differ only by near ties.
        agreement: Scores of the bundle against the reference, with near ties decided as the reference decides them.
    """

    entities: tuple[int, int] = (0, 0)
    relations: tuple[int, int] = (0, 0)
    margins: tuple[float, float] | None = None
    identical: float = nan
    agreement: F1Scores = F1Scores()


class ExceededLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of the bundle's precision that the bundle exceeds.

    Attributes:
        subject: What was compared, such as ``fusion.nodes``.
        value: The figure.
        limit: The largest or smallest figure allowed.
        text: Sentence that says so.
    """

    subject: str = ""
    value: float = nan
    limit: float = nan
    text: str = ""


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
        near_ties: Differences that are near ties of the reference, if any sentence differs.
        losses: Losses of F1 against the gold annotations, if there are any.
    """

    sentences: int = 0
    identical: float = nan
    agreement: F1Scores = F1Scores()
    worst: WorstSentence | UnsetType = UNSET
    reference: F1Scores | UnsetType = UNSET
    exported: F1Scores | UnsetType = UNSET
    data: str = "data not stated"
    near_ties: NearTies | UnsetType = UNSET
    losses: F1Losses | UnsetType = UNSET

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
        accepted: Limits that the bundle exceeds, accepted by ``trimf export --accept-difference``.
    """

    subgraphs: dict[str, OutputErrors] = {}
    skipped: dict[str, str] = {}
    arcs: ArcParity | UnsetType = UNSET
    extractions: ExtractionParity = ExtractionParity()
    against: str = "PyTorch"
    accepted: list[ExceededLimit] | UnsetType = UNSET


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


def read_accepted(content: dict[str, Any]) -> list[ExceededLimit]:
    """Return the exceeded limits that were accepted at the export; none if the report cannot be read.

    Args:
        content: Field ``parity`` of a manifest, as read from JSON.
    """
    try:
        return decode_parity(content).accepted or []
    except msgspec.ValidationError:
        return []


def encode_parity(report: ParityReport) -> dict[str, Any]:
    """Encode a report as the JSON object that a manifest holds.

    Args:
        report: Report to encode.

    Returns:
        The JSON object.
    """
    content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(report))
    return content

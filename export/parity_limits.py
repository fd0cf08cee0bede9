"""Limits of the differences between an exported pipeline and its reference, by precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UnsetType

from ..runtime.bundle.parity_report import ArcParity, ExceededLimit, ExtractionParity, F1Scores, ParityReport
from ..runtime.errors import BundleError

#: Loss of F1 that always fails, whatever the interval: more than so many percentage points, and more than so many
#: annotations. A single sentence can hold a large loss, and a bootstrap over sentences never blames a single one.
LARGE_LOSS, LARGE_LOSS_ANNOTATIONS = 2.0, 3


class ParityLimits(msgspec.Struct, frozen=True):
    """Largest differences that a precision may have from the reference.

    Attributes:
        max_relative_error: Maximum relative error of any output, at the 99th percentile.
        min_identical: Minimum percentage of sentences with identical extractions.
        min_entity_agreement: Minimum F1 of the entities against those of the reference, in per cent.
        min_relation_agreement: Minimum F1 of the relations against those of the reference, in per cent.
        min_identical_arcs: Minimum percentage of words with the same arc, for a model with an in-model parser.
        max_f1_loss: Maximum loss of F1 on gold annotations, in percentage points.
        max_absolute_error: Maximum absolute error of any value, or None for no limit.
        max_relative_value_error: Maximum relative error of any value. A value fails only if it exceeds this and
            ``max_absolute_error``: the rounding errors of fp32 grow with the values.
    """

    max_relative_error: float
    min_identical: float
    min_entity_agreement: float
    min_relation_agreement: float
    min_identical_arcs: float
    max_f1_loss: float
    max_absolute_error: float | None = None
    max_relative_value_error: float = 0.0


#: Limits by precision. fp32 must be exact; otherwise a single differing sentence, annotation or word is tolerated.
LIMITS = {
    "fp32": ParityLimits(
        max_relative_error=1e-3,
        min_identical=100.0,
        min_entity_agreement=100.0,
        min_relation_agreement=100.0,
        min_identical_arcs=100.0,
        max_f1_loss=0.0,
        max_absolute_error=1e-3,
        max_relative_value_error=1e-4,
    ),
    "fp16": ParityLimits(
        max_relative_error=0.02,
        min_identical=99.0,
        min_entity_agreement=99.0,
        min_relation_agreement=99.0,
        min_identical_arcs=99.9,
        max_f1_loss=0.1,
    ),
    "bf16": ParityLimits(
        max_relative_error=0.15,
        min_identical=95.0,
        min_entity_agreement=98.0,
        min_relation_agreement=96.0,
        min_identical_arcs=99.0,
        max_f1_loss=0.3,
    ),
    "int8": ParityLimits(
        max_relative_error=0.25,
        min_identical=85.0,
        min_entity_agreement=96.0,
        min_relation_agreement=93.0,
        min_identical_arcs=95.0,
        max_f1_loss=0.3,
    ),
    "int8-qdq": ParityLimits(
        max_relative_error=0.25,
        min_identical=85.0,
        min_entity_agreement=96.0,
        min_relation_agreement=93.0,
        min_identical_arcs=95.0,
        max_f1_loss=0.3,
    ),
}


def check_limits(report: ParityReport, precision: str) -> None:
    """Check a parity report against the limits of a precision.

    Args:
        report: Report as ``compare_pipelines`` returns it.
        precision: Precision of the bundle, a key of ``LIMITS``.

    Raises:
        BundleError: A limit is exceeded; the message gives the output, the value and the limit.
    """
    if exceeded := find_exceeded_limits(report, precision):
        raise BundleError(describe_exceeded(exceeded))


def describe_exceeded(exceeded: Sequence[ExceededLimit]) -> str:
    """Return the message of an error that names the first exceeded limit and counts the others.

    Args:
        exceeded: The limits; at least one.
    """
    more = len(exceeded) - 1
    return f"parity: {exceeded[0].text}" + (f" (and {more} more limit{'s' * (more > 1)} exceeded)" if more else "")


def find_exceeded_limits(report: ParityReport, precision: str) -> list[ExceededLimit]:
    """Compare a parity report with the limits of a precision.

    Differences that are near ties of the reference do not count, except in the loss of F1.

    Args:
        report: Report as ``compare_pipelines`` returns it.
        precision: Precision of the bundle, a key of ``LIMITS``.

    Returns:
        The limits that are exceeded.
    """
    limits = LIMITS[precision]
    least_accurate = max(report.subgraphs, key=lambda name: report.subgraphs[name].relative.p99, default="none")
    hint = f"the least accurate output is {least_accurate}"
    exceeded = [*_check_errors(report, limits, precision)]
    if report.arcs:
        exceeded += _check_arcs(report.arcs, limits, precision)
    return [*exceeded, *_check_extractions(report.extractions, limits, precision, hint)]


def _check_errors(report: ParityReport, limits: ParityLimits, precision: str) -> Iterator[ExceededLimit]:
    for name, error in report.subgraphs.items():
        # Comparisons with NaN are false, so NaN exceeds all limits.
        if not error.relative.p99 <= limits.max_relative_error:
            yield ExceededLimit(
                subject=name,
                value=error.relative.p99,
                limit=limits.max_relative_error,
                text=f"{name} has a relative error of {error.relative.p99:.3g} (99th percentile), "
                f"maximum {limits.max_relative_error} for {precision}",
            )
        if limits.max_absolute_error is None:
            continue
        if not error.max <= limits.max_absolute_error and not error.relative.max <= limits.max_relative_value_error:
            yield ExceededLimit(
                subject=name,
                value=error.max,
                limit=limits.max_absolute_error,
                text=f"{name} has an absolute error of {error.max:.3g}, maximum {limits.max_absolute_error} for "
                f"{precision}, and it is {error.relative.max:.3g} of the values' root mean square, maximum "
                f"{limits.max_relative_value_error}",
            )


def _check_arcs(arcs: ArcParity, limits: ParityLimits, precision: str) -> Iterator[ExceededLimit]:
    differing = (
        round(arcs.words * (1 - arcs.identical / 100)) if isinstance(arcs.differing, UnsetType) else arcs.differing
    )
    near_ties = arcs.near_ties or 0
    beyond = differing - near_ties
    minimum = limits.min_identical_arcs
    share = arcs.identical if not near_ties else round(100 * (1 - beyond / arcs.words), 3)
    if share < minimum and (minimum == 100 or beyond > 1):
        yield ExceededLimit(
            subject="arcs",
            value=share,
            limit=minimum,
            text=f"{share:g}% of {arcs.words} words have the same arc{_exclude_ties(near_ties)}, "
            f"minimum {minimum:g}% for {precision}",
        )


def _check_extractions(
    extractions: ExtractionParity, limits: ParityLimits, precision: str, hint: str
) -> Iterator[ExceededLimit]:
    exact = limits.min_identical == 100
    identical, agreement, ties = extractions.identical, extractions.agreement, 0
    if settled := extractions.near_ties:
        identical, agreement = settled.identical, settled.agreement
        ties = settled.entities[1] + settled.relations[1]
    differing = round(extractions.sentences * (1 - identical / 100))
    if identical < limits.min_identical and (exact or differing > 1):
        yield ExceededLimit(
            subject="identical sentences",
            value=identical,
            limit=limits.min_identical,
            text=f"{identical:g}% of {extractions.sentences} sentences are identical{_exclude_ties(ties)}, "
            f"minimum {limits.min_identical:g}% for {precision}; {hint}",
        )
    for index, (kind, minimum) in enumerate(
        (("entities", limits.min_entity_agreement), ("relations", limits.min_relation_agreement))
    ):
        agreed = getattr(agreement, kind)
        if _get_support(agreement, index) and agreed < minimum and (exact or differing > 1):
            yield ExceededLimit(
                subject=f"agreement of {kind}",
                value=agreed,
                limit=minimum,
                text=f"{kind} agree with F1 {agreed:.2f}{_exclude_ties(ties)}, minimum {minimum:g} for {precision}; "
                f"{hint}",
            )
        lost = _find_loss(extractions, index, kind, limits)
        if lost is not None:
            yield ExceededLimit(
                subject=f"F1 of {kind}",
                value=lost,
                limit=limits.max_f1_loss,
                text=f"F1 of {kind} drops by {lost:.2f}, maximum {limits.max_f1_loss} for {precision}; {hint}",
            )


def _find_loss(extractions: ExtractionParity, index: int, kind: str, limits: ParityLimits) -> float | None:
    """Return the loss of F1 if it is too large, else None.

    A loss is too large if the lower end of its interval exceeds the limit, so that another choice of sentences would
    hardly bring it below. A large one always is; without an interval, one of more than the limit and one annotation.
    """
    exported, exact = extractions.exported, limits.min_identical == 100
    if not exported or not extractions.reference:
        return None
    lost: float = getattr(extractions.reference, kind) - getattr(exported, kind)
    single = 100 / max(1, _get_support(exported, index))
    if not extractions.losses:
        return lost if lost > max(limits.max_f1_loss, 0.0 if exact else single) else None
    interval = getattr(extractions.losses, kind)
    large = lost > max(limits.max_f1_loss, LARGE_LOSS, LARGE_LOSS_ANNOTATIONS * single)
    return lost if large or interval.low > limits.max_f1_loss else None


def _exclude_ties(ties: int) -> str:
    return f" but for {ties} near tie{'s' * (ties > 1)}" if ties else ""


def _get_support(scores: F1Scores, index: int) -> int:
    return scores.support[index] if scores.support else 0

"""Interval of the loss of F1 that an export causes, from a paired bootstrap over sentences."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from trimf_train.evaluation.annotation import Annotation, strict_key

from ..runtime.bundle.parity_report import LossInterval

#: Number of bootstrap samples of an interval.
BOOTSTRAP_SAMPLES = 2000

#: Number of samples that are drawn at a time, which bounds the memory.
_SAMPLES_AT_ONCE = 100

#: Percentiles of the samples that bound an interval of 95 %.
_BOUNDS = (2.5, 97.5)


def estimate_losses(
    gold: Sequence[Annotation],
    reference: Sequence[Annotation],
    exported: Sequence[Annotation],
    symmetric: Collection[str] = (),
) -> tuple[LossInterval, LossInterval]:
    """Estimate how much F1 an export loses, with the interval that the choice of the sentences leaves open.

    Sentences are drawn with replacement, the same for both models, so that only sentences where they differ contribute.

    Args:
        gold: Annotation of every sentence.
        reference: Predictions of the reference for the same sentences.
        exported: Predictions of the export for the same sentences.
        symmetric: Relation types whose head and tail may be exchanged.

    Returns:
        Loss of the entities and of the relations (strict), in percentage points with 95 % intervals.
    """
    return (
        _bootstrap_loss(_count_items(gold, reference, exported, lambda sentence: set(sentence.entities))),
        _bootstrap_loss(
            _count_items(
                gold,
                reference,
                exported,
                lambda sentence: {strict_key(relation, symmetric) for relation in sentence.relations},
            )
        ),
    )


def _count_items(
    gold: Sequence[Annotation],
    reference: Sequence[Annotation],
    exported: Sequence[Annotation],
    select: Callable[[Annotation], set[Hashable]],
) -> npt.NDArray[np.float64]:
    """Return what F1 is computed from: twice the correct items, and all items, of every sentence, ``[S, 4]``.

    The columns are those of the reference and then those of the export.
    """
    rows = []
    for truth, first, second in zip(map(select, gold), map(select, reference), map(select, exported), strict=True):
        rows.append([count for found in (first, second) for count in (2 * len(truth & found), len(truth) + len(found))])
    return np.array(rows, np.float64).reshape(-1, 4)


def _bootstrap_loss(counts: npt.NDArray[np.float64]) -> LossInterval:
    """Return the loss and its interval from the counts of each sentence; see ``_count_items``."""
    sentences = len(counts)
    lost = float(_subtract_f1(counts.sum(0)))
    differing = counts[(counts[:, :2] != counts[:, 2:]).any(1)]
    if not len(differing):
        return LossInterval(lost=lost, low=lost, high=lost)
    generator = np.random.default_rng(0)
    shares = np.full(sentences, 1 / sentences)
    samples = [
        _subtract_f1(generator.multinomial(sentences, shares, _SAMPLES_AT_ONCE) @ counts)
        for _ in range(BOOTSTRAP_SAMPLES // _SAMPLES_AT_ONCE)
    ]
    low, high = np.percentile(np.concatenate(samples), _BOUNDS)
    return LossInterval(lost=lost, low=float(low), high=float(high))


def _subtract_f1(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return F1 of the reference minus F1 of the export, in percentage points, from sums of counts ``[..., 4]``."""
    correct, items = sums[..., 0::2], sums[..., 1::2]
    f1: npt.NDArray[np.float64] = 100 * correct / np.maximum(items, 1)
    difference: npt.NDArray[np.float64] = f1[..., 0] - f1[..., 1]
    return difference

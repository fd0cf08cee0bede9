"""Loss of F1: the interval of a paired bootstrap, and what fails an export."""

from __future__ import annotations

import numpy as np
import pytest

from trimf.export.f1_loss import estimate_losses
from trimf.export.parity_limits import LIMITS, find_exceeded_limits
from trimf.runtime.bundle.parity_report import ExtractionParity, F1Losses, F1Scores, ParityReport
from trimf_train.evaluation.annotation import Annotation
from trimf_train.evaluation.scores import compute_scores

ALICE, ROME = (0, 1, "Peop"), (3, 4, "Loc")


def annotate(count: int) -> Annotation:
    """A sentence with a pair of entities and as many relations of different types."""
    return Annotation([ALICE, ROME], [(ALICE, ROME, f"type {index}") for index in range(count)])


def exceed(gold: list[int], reference: list[int], exported: list[int], precision: str = "int8") -> list[str]:
    """What exceeds a limit of F1 if so many relations of every sentence are in the annotation and are found."""
    truth, first, second = (list(map(annotate, counts)) for counts in (gold, reference, exported))
    scores = [
        F1Scores(
            entities=found["entities"]["micro"]["f1"],
            relations=found["relations"]["strict"]["micro"]["f1"],
            support=(found["entities"]["micro"]["support"], found["relations"]["strict"]["micro"]["support"]),
        )
        for found in (compute_scores(truth, first), compute_scores(truth, second))
    ]
    entities, relations = estimate_losses(truth, first, second)
    extractions = ExtractionParity(
        sentences=len(gold),
        identical=100.0,
        agreement=F1Scores(entities=100.0, relations=100.0, support=(9, 9)),
        reference=scores[0],
        exported=scores[1],
        losses=F1Losses(entities=entities, relations=relations),
    )
    return [limit.subject for limit in find_exceeded_limits(ParityReport(extractions=extractions), precision)]


def test_the_interval_is_that_of_a_slow_bootstrap() -> None:
    random = np.random.default_rng(1)
    gold = random.integers(0, 4, 60)
    reference, exported = np.minimum(gold, random.integers(0, 4, 60)), np.minimum(gold, random.integers(0, 3, 60))
    _, loss = estimate_losses(*(list(map(annotate, counts.tolist())) for counts in (gold, reference, exported)))

    def lose(chosen: np.ndarray) -> float:
        drawn = [[annotate(int(counts[index])) for index in chosen] for counts in (gold, reference, exported)]
        first, second = (compute_scores(drawn[0], found)["relations"]["strict"]["micro"]["f1"] for found in drawn[1:])
        return first - second

    assert loss.lost == pytest.approx(lose(np.arange(60)))
    slow = np.percentile([lose(random.integers(0, 60, 60)) for _ in range(400)], (2.5, 97.5))
    assert (loss.low, loss.high) == pytest.approx(slow, abs=1.5)


def test_the_same_results_lose_nothing() -> None:
    for sentences in ([], [annotate(0)], [annotate(2)] * 3):
        for loss in estimate_losses(sentences, sentences, sentences):
            assert (loss.lost, loss.low, loss.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "int8-qdq"])
def test_two_relations_of_small_data_do_not_fail(precision: str) -> None:
    gold = [1] * 30
    assert exceed(gold, gold, [0, 0] + [1] * 28, precision) == []


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("sentences", [14, 50, 244])
def test_a_large_loss_always_fails(precision: str, sentences: int) -> None:
    gold = [1] * sentences
    lost = max(6, sentences // 10)
    assert exceed(gold, gold, [0] * lost + [1] * (sentences - lost), precision) == ["F1 of relations"]
    # In a single sentence, which half of the samples do not have.
    gold = [lost] + [1] * (sentences - 1)
    assert exceed(gold, gold, [0] + [1] * (sentences - 1), precision) == ["F1 of relations"]


def test_a_small_loss_fails_where_many_sentences_prove_it() -> None:
    gold = [1] * 2000
    assert exceed(gold, gold, [0] * 30 + [1] * 1970) == ["F1 of relations"]
    assert exceed(gold, gold, [0] * 5 + [1] * 1995) == []


def test_a_gain_does_not_fail() -> None:
    assert exceed([1] * 50, [0] * 10 + [1] * 40, [1] * 50, "fp32") == []

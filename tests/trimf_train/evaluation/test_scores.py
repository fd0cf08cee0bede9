"""Metrics: cases worked by hand, and a comparison with a count that does it the long way."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trimf.runtime.errors import InputError
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.evaluation.annotation import Annotation, EntityKey, RelationKey, gold_annotation
from trimf_train.evaluation.calibration import measure_calibration
from trimf_train.evaluation.scores import compute_scores
from trimf_train.evaluation.tables import build_tables

OSWALD: EntityKey = (0, 1, "Peop")
RUBY: EntityKey = (4, 6, "Peop")
DALLAS: EntityKey = (7, 8, "Loc")
KILL: RelationKey = (RUBY, OSWALD, "Kill")
LIVE: RelationKey = (RUBY, DALLAS, "Live")
NOTHING = Annotation([], [])


def leaf(precision: float, recall: float, f1: float, support: int) -> dict[str, Any]:
    return {
        "precision": pytest.approx(precision),
        "recall": pytest.approx(recall),
        "f1": pytest.approx(f1),
        "support": support,
    }


def test_all_right() -> None:
    gold = [Annotation([OSWALD, RUBY, DALLAS], [KILL, LIVE])]
    right = {"micro": leaf(100, 100, 100, 2), "macro": leaf(100, 100, 100, 2)}
    per_type = {"Kill": leaf(100, 100, 100, 1), "Live": leaf(100, 100, 100, 1)}
    assert compute_scores(gold, gold) == {
        "sentences": 1,
        "entities": {
            "micro": leaf(100, 100, 100, 3),
            "macro": leaf(100, 100, 100, 3),
            "per_type": {"Loc": leaf(100, 100, 100, 1), "Peop": leaf(100, 100, 100, 2)},
        },
        "relations": {"strict": {**right, "per_type": per_type}, "boundary": {**right, "per_type": per_type}},
    }


@pytest.mark.parametrize("sentences", [0, 3])
def test_nothing_against_nothing_is_zero(sentences: int) -> None:
    empty = {"micro": leaf(0, 0, 0, 0), "macro": leaf(0, 0, 0, 0), "per_type": {}}
    assert compute_scores([NOTHING] * sentences, [NOTHING] * sentences) == {
        "sentences": sentences,
        "entities": empty,
        "relations": {"strict": empty, "boundary": empty},
    }


def test_nothing_predicted_and_nothing_gold() -> None:
    full = [Annotation([OSWALD], [])]
    assert compute_scores(full, [NOTHING])["entities"]["micro"] == leaf(0, 0, 0, 1)
    assert compute_scores([NOTHING], full)["entities"]["micro"] == leaf(0, 0, 0, 0)


def test_micro_macro_and_a_type_that_is_only_predicted() -> None:
    gold = [Annotation([OSWALD, RUBY, DALLAS], []), Annotation([(0, 2, "Loc")], [])]
    predicted = [Annotation([OSWALD, DALLAS, (2, 3, "Other")], []), Annotation([(0, 1, "Loc")], [])]
    entities = compute_scores(gold, predicted)["entities"]
    assert entities["per_type"] == {
        "Loc": leaf(50, 50, 50, 2),
        "Other": leaf(0, 0, 0, 0),
        "Peop": leaf(100, 50, 200 / 3, 2),
    }
    assert entities["micro"] == leaf(50, 50, 50, 4)
    assert entities["macro"] == leaf(75, 50, (50 + 200 / 3) / 2, 4)


def test_right_span_with_wrong_entity_type_counts_for_boundary_only() -> None:
    wrong: EntityKey = (4, 6, "Org")
    gold = [Annotation([OSWALD, RUBY], [KILL])]
    result = compute_scores(gold, [Annotation([OSWALD, wrong], [(wrong, OSWALD, "Kill")])])
    assert result["entities"]["micro"] == leaf(50, 50, 50, 2)
    assert result["relations"]["strict"]["micro"] == leaf(0, 0, 0, 1)
    assert result["relations"]["boundary"]["micro"] == leaf(100, 100, 100, 1)


def test_wrong_relation_type_and_wrong_direction_are_wrong() -> None:
    gold = [Annotation([OSWALD, RUBY], [KILL])]
    for wrong in ((RUBY, OSWALD, "Live"), (OSWALD, RUBY, "Kill"), ((4, 5, "Peop"), OSWALD, "Kill")):
        relations = compute_scores(gold, [Annotation([], [wrong])])["relations"]
        assert relations["strict"]["micro"] == relations["boundary"]["micro"] == leaf(0, 0, 0, 1)


def test_repeated_items_count_once() -> None:
    gold = [Annotation([OSWALD, OSWALD, RUBY], [KILL, KILL])]
    result = compute_scores(gold, [Annotation([OSWALD] * 3, [KILL] * 3)])
    assert result["entities"]["micro"] == leaf(100, 50, 200 / 3, 2)
    assert result["relations"]["strict"]["micro"] == leaf(100, 100, 100, 1)


def test_relations_that_differ_in_entity_types_only_are_one_for_boundary() -> None:
    gold = [Annotation([], [((0, 1, "A"), (2, 3, "B"), "R"), ((0, 1, "C"), (2, 3, "B"), "R")])]
    predicted = [Annotation([], [((0, 1, "A"), (2, 3, "B"), "R")])]
    relations = compute_scores(gold, predicted)["relations"]
    assert relations["strict"]["micro"] == leaf(100, 50, 200 / 3, 2)
    assert relations["boundary"]["micro"] == leaf(100, 100, 100, 1)


def test_overlapping_entities_are_told_apart() -> None:
    gold = [Annotation([(0, 2, "A"), (0, 1, "A"), (0, 2, "B")], [])]
    predicted = [Annotation([(0, 2, "A"), (1, 2, "A")], [])]
    entities = compute_scores(gold, predicted)["entities"]
    assert entities["micro"] == leaf(50, 100 / 3, 40, 3)
    assert entities["per_type"]["A"] == leaf(50, 50, 50, 2)


def test_symmetric_types_have_no_direction() -> None:
    a, b, c = (0, 1, "X"), (2, 3, "Y"), (2, 3, "Z")
    gold = [Annotation([], [(a, b, "Compare"), (b, a, "Compare"), (a, b, "Used")])]
    predicted = [Annotation([], [(b, a, "Compare"), (b, a, "Used")])]
    strict = compute_scores(gold, predicted, symmetric={"Compare"})["relations"]["strict"]
    assert strict["per_type"] == {"Compare": leaf(100, 100, 100, 1), "Used": leaf(0, 0, 0, 1)}
    assert compute_scores(gold, predicted)["relations"]["strict"]["per_type"]["Compare"] == leaf(100, 50, 200 / 3, 2)
    retyped = compute_scores(gold, [Annotation([], [(c, a, "Compare")])], symmetric=["Compare"])["relations"]
    assert retyped["strict"]["per_type"]["Compare"]["recall"] == 0
    assert retyped["boundary"]["per_type"]["Compare"]["recall"] == 100


def test_items_are_compared_within_their_sentence() -> None:
    result = compute_scores([Annotation([OSWALD], []), NOTHING], [NOTHING, Annotation([OSWALD], [])])
    assert result["entities"]["micro"] == leaf(0, 0, 0, 1)


def test_different_numbers_of_sentences_are_refused() -> None:
    with pytest.raises(InputError, match="predicted must have 2 sentences, as many as gold; got 1"):
        compute_scores([NOTHING] * 2, [NOTHING])


def test_annotation_of_a_record() -> None:
    sentence = Sentence(
        tokens=list("abcdefgh"),
        entities=[EntityMention("Peop", 0, 1), EntityMention("Peop", 4, 6)],
        relations=[RelationMention("Kill", 1, 0)],
    )
    assert gold_annotation(sentence) == Annotation([OSWALD, RUBY], [KILL])


def test_table_shows_every_figure() -> None:
    result = compute_scores([Annotation([OSWALD, RUBY], [KILL])], [Annotation([OSWALD], [KILL])])
    console = Console(width=100)
    with console.capture() as captured:
        console.print(build_tables(result))
    text = captured.get()
    for expected in ("Entities (1 sentences)", "Relations, strict", "Relations, boundary", "Peop", "66.67", "macro"):
        assert expected in text


entities = st.tuples(st.integers(0, 2), st.integers(3, 4), st.sampled_from("AB"))
relations = st.tuples(entities, entities, st.sampled_from("RST"))
annotations = st.builds(Annotation, st.lists(entities, max_size=5), st.lists(relations, max_size=5))


def count_the_long_way(gold: list[list[Any]], predicted: list[list[Any]], same: Any) -> tuple[int, int, int]:
    """Right, found and gold items: each item of a list is compared with every other one."""

    def distinct(items: list[Any]) -> list[Any]:
        return [item for i, item in enumerate(items) if not any(same(item, other) for other in items[:i])]

    pairs = [(distinct(one), distinct(other)) for one, other in zip(gold, predicted, strict=True)]
    right = sum(any(same(item, other) for other in one) for one, found in pairs for item in found)
    return right, sum(len(found) for _, found in pairs), sum(len(one) for one, _ in pairs)


def agrees(scores: Any, gold: list[list[Any]], predicted: list[list[Any]], same: Any) -> None:
    def check(actual: Any, right: int, found: int, support: int) -> tuple[float, float, float]:
        precision = 100 * right / found if found else 0.0
        recall = 100 * right / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert actual == leaf(precision, recall, f1, support)
        return precision, recall, f1

    check(scores["micro"], *count_the_long_way(gold, predicted, same))
    present = {item[-1] for items in gold for item in items}
    everything = present | {item[-1] for items in predicted for item in items}
    assert set(scores["per_type"]) == everything
    figures = {}
    for label in everything:
        parts = [[[item for item in items if item[-1] == label] for items in side] for side in (gold, predicted)]
        figures[label] = check(scores["per_type"][label], *count_the_long_way(*parts, same))
    means = [sum(figures[label][i] for label in present) / max(len(present), 1) for i in range(3)]
    assert scores["macro"] == leaf(*means, scores["micro"]["support"])


@given(st.lists(st.tuples(annotations, annotations), max_size=4))
def test_agrees_with_a_count_done_the_long_way(sentences: list[tuple[Annotation, Annotation]]) -> None:
    gold, predicted = [one for one, _ in sentences], [other for _, other in sentences]
    result = compute_scores(gold, predicted, symmetric={"S"})

    def same_pair(one: RelationKey, other: RelationKey, width: int) -> bool:
        orders = permutations(other[:2]) if other[2] == "S" else [other[:2]]
        wanted = [entity[:width] for entity in one[:2]]
        return one[2] == other[2] and any([entity[:width] for entity in order] == wanted for order in orders)

    sides = [[list(side.entities) for side in part] for part in (gold, predicted)]
    agrees(result["entities"], *sides, lambda one, other: one == other)
    sides = [[list(side.relations) for side in part] for part in (gold, predicted)]
    agrees(result["relations"]["strict"], *sides, lambda one, other: same_pair(one, other, 3))
    agrees(result["relations"]["boundary"], *sides, lambda one, other: same_pair(one, other, 2))


def test_the_calibration_error_by_hand() -> None:
    """0.9 and 0.92 share one of fifteen intervals, 0.5 and 0.52 another, and 1 is in the last."""
    found = measure_calibration([0.9, 0.92, 0.5, 0.52, 1.0, 0.0], [True, False, True, True, True, False])
    expected = (abs(1.82 - 1) + abs(1.02 - 2) + 0 + 0) / 6
    assert found == pytest.approx({"found": 6, "score": 3.84 / 6, "right": 4 / 6, "error": expected})
    assert measure_calibration([1.0, 1.0], [True, True])["error"] == 0
    assert measure_calibration([], []) == {"found": 0, "score": 0, "right": 0, "error": 0}

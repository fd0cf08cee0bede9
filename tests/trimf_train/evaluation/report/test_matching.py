"""What becomes of gold and predicted items: every item counts once, and each kind of error is told apart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings

from trimf_train.evaluation.report.entity_matching import match_entities
from trimf_train.evaluation.report.outcomes import (
    ENTITY_OUTCOMES,
    RELATION_OUTCOMES,
    count_outcomes,
    count_type_confusions,
)
from trimf_train.evaluation.report.relation_matching import match_relations
from trimf_train.evaluation.report.scored_text import ScoredText

from .runs import scored_texts

ANNA, ROME, BOB = (0, 4, "Per"), (10, 14, "Loc"), (20, 23, "Per")


@settings(deadline=None)
@given(scored_texts())
def test_every_item_is_in_one_match_and_counts_sum_to_totals(text: ScoredText) -> None:
    found = text.predicted
    matched: list[tuple[Any, Any, Any, Any]] = [
        (text.gold_entities, found.entities, match_entities(text.gold_entities, found.entities), ENTITY_OUTCOMES),
        (
            text.gold_relations,
            found.relations,
            match_relations(text.gold_relations, found.relations, text.gold_entities, found.entities),
            RELATION_OUTCOMES,
        ),
    ]
    for gold, predicted, matches, outcomes in matched:
        assert sorted(match.gold for match in matches if match.gold) == sorted(gold)
        assert sorted(match.predicted for match in matches if match.predicted) == sorted(predicted)
        assert {match.gold for match in matches if match.outcome == "correct"} == set(gold) & set(predicted)
        counts = count_outcomes(matches, outcomes)
        assert [row.outcome for row in counts] == list(outcomes)
        assert sum(row.gold or 0 for row in counts) == len(gold)
        assert sum(row.predicted or 0 for row in counts) == len(predicted)
        if gold:
            assert sum(row.gold_share or 0.0 for row in counts) == pytest.approx(1)
        confusions = count_type_confusions(matches)
        for place, items in ((0, gold), (1, predicted)):
            by_type: Counter[Any] = Counter()
            for pair in confusions:
                by_type[(pair.gold, pair.predicted)[place]] += pair.count
            del by_type[None]
            assert by_type == Counter(item[2] for item in items)


@pytest.mark.parametrize(
    ("predicted", "outcomes"),
    [
        ([ANNA], {"correct": 1}),
        ([(0, 4, "Loc")], {"wrong_type": 1}),
        ([(0, 3, "Per")], {"wrong_boundary": 1}),
        ([(0, 9, "Loc")], {"wrong_boundary_and_type": 1}),
        ([], {"missed": 1}),
        ([(4, 6, "Per")], {"missed": 1, "spurious": 1}),
        ([ANNA, (0, 4, "Loc")], {"correct": 1, "spurious": 1}),
        ([(0, 3, "Loc"), (2, 9, "Per")], {"wrong_boundary": 1, "spurious": 1}),
    ],
)
def test_entities(predicted: list[Any], outcomes: dict[str, int]) -> None:
    assert Counter(match.outcome for match in match_entities([ANNA], predicted)) == outcomes


@pytest.mark.parametrize(
    ("predicted", "entities", "outcomes"),
    [
        ([(ANNA, ROME, "lives")], [ANNA, ROME], {"correct": 1}),
        ([(ROME, ANNA, "lives")], [ANNA, ROME], {"wrong_direction": 1}),
        ([(ANNA, ROME, "works")], [ANNA, ROME], {"wrong_type": 1}),
        ([(ROME, ANNA, "works")], [ANNA, ROME], {"wrong_type": 1}),
        ([], [ANNA, ROME], {"missed": 1}),
        ([], [ANNA], {"wrong_entity": 1}),
        ([((0, 4, "Org"), ROME, "lives")], [(0, 4, "Org"), ROME], {"wrong_entity": 1}),
        ([((0, 6, "Per"), ROME, "lives")], [(0, 6, "Per"), ROME], {"wrong_entity": 1}),
        ([((5, 6, "Per"), ROME, "lives")], [(5, 6, "Per"), ROME], {"wrong_entity": 2}),
        ([(BOB, ROME, "lives")], [ANNA, BOB, ROME], {"missed": 1, "spurious": 1}),
        ([(BOB, ROME, "lives")], [BOB, ROME], {"wrong_entity": 1, "spurious": 1}),
        ([(ANNA, ROME, "lives"), (ANNA, ROME, "works")], [ANNA, ROME], {"correct": 1, "spurious": 1}),
        ([(ROME, ANNA, "lives"), (ANNA, ROME, "works")], [ANNA, ROME], {"wrong_direction": 1, "spurious": 1}),
    ],
)
def test_relations(predicted: list[Any], entities: list[Any], outcomes: dict[str, int]) -> None:
    matches = match_relations([(ANNA, ROME, "lives")], predicted, [ANNA, ROME, BOB], entities)
    assert Counter(match.outcome for match in matches) == outcomes


def test_nothing_matches_nothing() -> None:
    assert match_entities([], []) == []
    assert match_relations([], [], [], []) == []
    assert all(row.gold_share is None for row in count_outcomes([], ENTITY_OUTCOMES))

"""Settings that the data choose."""

from __future__ import annotations

import msgspec
import pytest

from trimf_train.config import build_config
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.training.default_settings import (
    MAX_EPOCHS,
    MAX_SPAN,
    MIN_EPOCHS,
    choose_epochs,
    choose_settings,
    choose_span_limit,
)


def sentence(*widths: int) -> Sentence:
    """One entity of each width, one after another."""
    starts = [sum(widths[:index]) for index in range(len(widths))]
    entities = [EntityMention("A", start, start + width) for start, width in zip(starts, widths, strict=True)]
    return Sentence(["word"] * (sum(widths) + 1), entities)


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        ([], 10),
        ([sentence()], 10),
        ([sentence(3, 1)], 10),
        ([sentence(3, 17)], 17),
        ([sentence(25)], 25),
        ([sentence(100)], MAX_SPAN),
        ([*[sentence(1, 2)] * 100, sentence(60)], 20),  # one of 201 may be lost
        ([*[sentence(1, 2)] * 100, sentence(60), sentence(30), sentence(28)], 28),  # two of 203, not three
    ],
)
def test_span_limit(sentences: list[Sentence], expected: int) -> None:
    assert choose_span_limit(sentences) == expected


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [(50, (38, 26, 4)), (150, (22, 15, 4)), (400, (27, 18, 8)), (922, (18, 12, 8)), (5000, (8, 5, 8))],
)
def test_few_sentences_need_many_epochs(sentences: int, expected: tuple[int, int]) -> None:
    assert choose_epochs(sentences) == expected


def test_epochs_have_limits() -> None:
    assert sum(choose_epochs(1)[:2]) == MAX_EPOCHS
    assert sum(choose_epochs(10**7)[:2]) == MIN_EPOCHS


def test_overlapping_entities_are_allowed_where_the_data_have_them() -> None:
    nested = Sentence(["New", "York", "Times"], [EntityMention("Org", 0, 3), EntityMention("Loc", 0, 2)])
    assert choose_settings([sentence(1, 1)], True).values["decode"]["overlap"] is False
    assert choose_settings([sentence(1, 1), nested], True).values["decode"]["overlap"] is True


def test_a_type_constraint_needs_ten_examples_of_each_relation() -> None:
    related = Sentence(["a", "b"], [EntityMention("A", 0, 1), EntityMention("A", 1, 2)], [RelationMention("R", 0, 1)])
    rare = msgspec.structs.replace(related, relations=[RelationMention("rare", 0, 1)])
    for sentences, expected in (([related] * 10, "seen"), ([related] * 9, "any"), ([related] * 10 + [rare], "any")):
        assert choose_settings(sentences, True).values["decode"]["types"] == expected


def test_settings_are_accepted_with_and_without_dev() -> None:
    for dev in ("dev.jsonl", None):
        chosen = choose_settings([sentence(1)], dev is not None).values
        data = {"train": ["train.jsonl"], **({"dev": dev} if dev else {})}
        config = build_config({"output": "run", "data": data, **chosen}, [], "test")
        assert (config.train.patience is None) == (dev is None)


def test_letter_case_is_an_input_of_the_default_encoder_alone() -> None:
    assert choose_settings([sentence(1)], True).values["model"]["encoder"] == {"casing": True}
    assert choose_settings([sentence(1)], True, known_encoder=False).values["model"]["encoder"] == {}

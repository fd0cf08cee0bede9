"""Define the errors in a report: what became of each item, and the passages that show it."""

from __future__ import annotations

from typing import Literal

import msgspec

#: How a gold or a predicted entity fared.
EntityOutcome = Literal["correct", "wrong_type", "wrong_boundary", "wrong_boundary_and_type", "missed", "spurious"]

#: How a gold or a predicted relation fared.
RelationOutcome = Literal["correct", "wrong_type", "wrong_direction", "wrong_entity", "missed", "spurious"]


class OutcomeCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Number of items with one outcome.

    Attributes:
        outcome: The outcome.
        gold: Gold items with this outcome; null where it cannot apply to them.
        gold_share: Their share of all gold items; null without gold items.
        predicted: Predictions with this outcome; null where it cannot apply to them.
        predicted_share: Their share of all predictions; null without predictions.
    """

    outcome: EntityOutcome | RelationOutcome
    gold: int | None
    gold_share: float | None
    predicted: int | None
    predicted_share: float | None


class TypeConfusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Number of items with one gold type and one predicted type.

    Entities are paired by equal spans, relations by equal entities.

    Attributes:
        gold: Gold type; null for a prediction without a partner.
        predicted: Predicted type; null for a gold item without a partner.
        count: Number of pairs, or of items without a partner.
    """

    gold: str | None
    predicted: str | None
    count: int


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labelled span of a text.

    Attributes:
        start: Its first character.
        end: The character after its last one.
        label: Entity type.
        text: The covered text.
    """

    start: int
    end: int
    label: str
    text: str


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Relation between two spans of a text.

    Attributes:
        head: Its head entity.
        label: Relation type.
        tail: Its tail entity.
    """

    head: Span
    label: str
    tail: Span


class Passage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a text around an error.

    Attributes:
        id: Identifier of the sentence or document.
        number: Its number in the data, counted from 1.
        start: Place of the passage in it; spans within the passage count from there.
        text: The passage.
        cut: Whether text before and after the passage is left out.
        gold: Gold entities within the passage.
        predicted: Predicted entities within the passage.
    """

    id: str
    number: int
    start: int
    text: str
    cut: tuple[bool, bool]
    gold: list[Span]
    predicted: list[Span]


class EntityError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Wrong or missed entity.

    Attributes:
        outcome: What is wrong.
        score: Score of the prediction; for a missed entity that of its span and type, null below 0.05.
        gold: The gold entity; null if there is none.
        predicted: The prediction; null if there is none.
        passage: Where it is.
    """

    outcome: EntityOutcome
    score: float | None
    gold: Span | None
    predicted: Span | None
    passage: Passage


class RelationError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Wrong or missed relation.

    Attributes:
        outcome: What is wrong.
        score: Score of the prediction, or that of a missed relation; null below 0.05, and if an entity of the missed
            relation was not found, since only pairs of predicted entities have scores.
        gold: The gold relation; null if there is none.
        predicted: The prediction; null if there is none.
        passage: Where it is.
    """

    outcome: RelationOutcome
    score: float | None
    gold: Link | None
    predicted: Link | None
    passage: Passage


class EntityErrors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Worst errors of entities.

    Attributes:
        wrong_count: Number of all wrong predictions.
        wrong: Those with the highest scores, highest first.
        missed_count: Number of all gold entities without a prediction that overlaps them.
        missed: Those with the lowest scores, lowest first.
    """

    wrong_count: int
    wrong: list[EntityError]
    missed_count: int
    missed: list[EntityError]


class RelationErrors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Worst errors of relations.

    Attributes:
        wrong_count: Number of all wrong predictions.
        wrong: Those with the highest scores, highest first.
        missed_count: Number of all gold relations that no prediction is paired with.
        missed: Those with the lowest scores, lowest first.
    """

    wrong_count: int
    wrong: list[RelationError]
    missed_count: int
    missed: list[RelationError]


class ComparedSentence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sentence that one model gets right and the other wrong.

    Attributes:
        passage: The sentence; its predictions are those of the model.
        other: Entities that the other model predicts.
        gold_relations: Gold relations.
        model_relations: Relations that the model predicts.
        other_relations: Relations that the other model predicts.
    """

    passage: Passage
    other: list[Span]
    gold_relations: list[Link]
    model_relations: list[Link]
    other_relations: list[Link]

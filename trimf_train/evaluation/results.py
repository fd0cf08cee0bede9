"""Define the result of an evaluation, as printed by ``trimf eval --json``."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class PrecisionRecallF1(TypedDict):
    """Precision, recall and F1 in per cent, 0 where undefined; ``support`` is the number of gold items."""

    precision: float
    recall: float
    f1: float
    support: int


class Scores(TypedDict):
    """Scores of entities or of relations under one protocol.

    ``micro`` is computed over all items; ``macro`` is the mean over the types that occur in gold; ``per_type`` lists
    every type that occurs in gold or in the predictions, in alphabetical order.
    """

    micro: PrecisionRecallF1
    macro: PrecisionRecallF1
    per_type: dict[str, PrecisionRecallF1]


class RelationScores(TypedDict):
    """Relation scores in strict and in boundary evaluation."""

    strict: Scores
    boundary: Scores


class SyntaxScores(TypedDict):
    """Attachment scores in per cent over ``words``, the number of words without punctuation.

    ``uas`` (unlabeled) counts words with the correct head, ``las`` (labeled) words with the correct head and label.
    A root is its own head.
    """

    uas: float
    las: float
    words: int


class Calibration(TypedDict):
    """Agreement between the scores of predictions and the share of correct predictions.

    ``found`` is the number of predictions, ``score`` their mean score, ``right`` the share that is correct, and
    ``error`` the expected calibration error.
    """

    found: int
    score: float
    right: float
    error: float


class Calibrations(TypedDict):
    """Calibration of all predicted entities and of all predicted relations (compared strictly)."""

    entities: Calibration
    relations: Calibration


class UnreachableReason(TypedDict):
    """Gold items that no prediction can equal for one reason: their number, by label too, and a few of them."""

    reason: str
    count: int
    labels: dict[str, int]
    examples: list[str]


class UnreachableItems(TypedDict):
    """Gold entities and relations that no prediction can equal, by reason. They count as missed."""

    entities: list[UnreachableReason]
    relations: list[UnreachableReason]


class Evaluation(TypedDict):
    """Scores of a model on a data set, as printed by ``trimf eval --json``.

    For running text, ``compared`` says that the spans count characters, ``documents`` is the number of texts, and
    ``language`` names the rules that split them; gold annotation that no prediction can equal is in ``unreachable``.
    ``syntax`` is present if the model has an in-model parser and the data has dependency parses, ``calibration`` if it
    was requested, and ``given_entities`` if the gold entities were given to the model.
    """

    sentences: int
    entities: Scores
    relations: RelationScores
    syntax: NotRequired[SyntaxScores]
    calibration: NotRequired[Calibrations]
    compared: NotRequired[Literal[characters]]
    documents: NotRequired[int]
    language: NotRequired[str]
    unreachable: NotRequired[UnreachableItems]
    given_entities: NotRequired[bool]

"""Compare dependency arcs of an in-model parser, and find those that differ by a near tie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..runtime.engine.contract import Subgraph
from ..runtime.model_settings import has_extra_outputs
from ..runtime.pipeline import DependencyArcs, Pipeline
from ..runtime.text.batch_arrays import Batch, BoolArray, pad_subwords
from ..runtime.text.subwords import MAX_WORD_SUBWORDS
from .near_ties import limit_margin

#: Integer outputs of the in-model parser, which are compared for equality.
PARSER_OUTPUTS = ("heads", "labels")

FloatArray = npt.NDArray[np.floating[Any]]

#: Original inputs, expected outputs and actual outputs of a call.
ComparedCall = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]


class ParserScores(NamedTuple):
    """Scores of the in-model parser.

    Attributes:
        arcs: Score of every word as the head of every word, ``[B, N, N]``.
        labels: Scores of the labels of each word's best arc, ``[B, N, n_d]``; None if the graph does not return them.
    """

    arcs: FloatArray
    labels: FloatArray | None


class ArcDifferences(NamedTuple):
    """Words whose arcs were compared.

    Attributes:
        words: Number of words.
        differing: Number of words whose head or label differs.
        ties: Number of those that are near ties of the reference.
        limit: Margin below which a difference is a near tie, in logits.
    """

    words: int
    differing: int
    ties: int
    limit: float


@runtime_checkable
class ScoringSubgraph(Protocol):
    """Encoder that returns the scores of its parser, with those of the labels."""

    def score_arcs(self, arrays: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
        """Return the fields of ``ParserScores`` from the inputs of the encoder."""


def compare_arcs(
    calls: Iterable[ComparedCall], reference: Subgraph, candidate: Subgraph, precision: str
) -> ArcDifferences | None:
    """Compare the arcs of recorded calls.

    Args:
        calls: Calls of the encoder or of the joined graph.
        reference: Encoder of the reference.
        candidate: Encoder or joined graph of the export.
        precision: Precision of the export.

    Returns:
        What differs; None for a model without an in-model parser.
    """
    words = differing = 0
    errors: list[FloatArray] = []
    margins: list[FloatArray] = []
    for inputs, expected, actual in calls:
        if not set(PARSER_OUTPUTS) <= expected.keys():
            return None
        inside = np.asarray(inputs["pieces"])[:, :, 0] > 0
        differs = find_differing_arcs(expected, actual) & inside
        words, differing = words + int(inside.sum()), differing + int(differs.sum())
        scores = score_arcs(reference, inputs)
        if scores is None:
            continue
        margins.append(_compute_margins(scores, expected, actual)[differs])
        if (others := score_arcs(candidate, inputs)) is not None:
            errors.append(_measure_gap_errors(scores.arcs, others.arcs)[inside & (inside.sum(1) > 1)[:, None]])
    limit = limit_margin(np.concatenate(errors) if errors else [], precision)
    ties = sum(int((part < limit).sum()) for part in margins)
    return ArcDifferences(words, differing, ties, limit)


def find_differing_arcs(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> BoolArray:
    """Return True for each word whose head or label differs, ``[B, N]``."""
    same: BoolArray = np.logical_and.reduce([expected[key] == actual[key] for key in PARSER_OUTPUTS])
    return ~same


def find_affected_words(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> BoolArray:
    """Return True for each word whose node depends on a differing arc, ``[B, N]``: its own, or that of a dependent.

    Args:
        expected: Heads and labels of the reference, ``[B, N]``.
        actual: Heads and labels of the export, ``[B, N]``.
    """
    differs = find_differing_arcs(expected, actual)
    affected = differs.copy()
    rows, places = differs.nonzero()
    for heads in (expected["heads"], actual["heads"]):
        affected[rows, np.asarray(heads)[rows, places]] = True
    return affected


def find_words_on_ties(
    reference: Pipeline, words: list[str], expected: DependencyArcs, actual: DependencyArcs, limit: float
) -> frozenset[int]:
    """Return the words of a sentence whose nodes depend on an arc that differs by a near tie.

    Args:
        reference: Pipeline of the reference.
        words: Words of the sentence.
        expected: Arcs of the reference.
        actual: Arcs of the export.
        limit: Margin below which a difference is a near tie, in logits.

    Returns:
        Indices of the words; none for a sentence of several windows, whose margins are not compared.
    """
    if list(expected.heads) == list(actual.heads) and list(expected.labels) == list(actual.labels):
        return frozenset()
    settings, tokenizer = reference.settings, reference.tokenizer
    capacity = settings.max_subwords - tokenizer.special_token_count
    [subwords] = tokenizer.encode([words], min(MAX_WORD_SUBWORDS, capacity))
    if len(words) > settings.max_words or len(subwords.ids) > settings.max_subwords:
        return frozenset()
    scores = score_arcs(reference.graphs["encoder"], dict(zip(Batch._fields, pad_subwords([subwords]), strict=False)))
    if scores is None:
        return frozenset()
    first, second = (_encode_arcs(arcs, settings.dependency_label_to_id) for arcs in (expected, actual))
    tied = find_differing_arcs(first, second) & (_compute_margins(scores, first, second) < limit)
    settled = {key: np.where(tied, second[key], first[key]) for key in PARSER_OUTPUTS}
    return frozenset(np.flatnonzero(find_affected_words(first, settled)[0]).tolist())


def score_arcs(graph: Subgraph, inputs: Mapping[str, Any]) -> ParserScores | None:
    """Return the scores of a parser; None if the graph does not return them.

    Args:
        graph: Encoder or joined graph.
        inputs: Arrays that include its inputs.
    """
    if isinstance(graph, ScoringSubgraph):
        return ParserScores(*graph.score_arcs(inputs))
    if "arc_scores" not in graph.outputs or not has_extra_outputs(graph):
        return None
    arrays = {key: np.asarray(inputs[key], graph.types[key]) for key in graph.inputs}
    return ParserScores(np.asarray(graph.run(arrays, extra=True)["arc_scores"]), None)


def _compute_margins(scores: ParserScores, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> FloatArray:
    """Return by how much the reference prefers its choice to the export's, ``[B, N]``; infinity if unknown."""
    heads, others = expected["heads"], actual["heads"]
    gaps = [np.take_along_axis(scores.arcs, np.asarray(index)[..., None], 2)[..., 0] for index in (heads, others)]
    of_labels: FloatArray = np.full(heads.shape, np.inf)
    if scores.labels is not None:
        first, second = (
            np.take_along_axis(scores.labels, np.maximum(np.asarray(arcs["labels"]) - 1, 0)[..., None], 2)[..., 0]
            for arcs in (expected, actual)
        )
        of_labels = first - second
    margins: FloatArray = np.where(heads == others, of_labels, gaps[0] - gaps[1])
    return margins


def _measure_gap_errors(expected: FloatArray, actual: FloatArray) -> FloatArray:
    """Return the error of the margin between the reference's two best heads of each word, ``[B, N]``."""
    if expected.shape[2] < 2:
        return np.full(expected.shape[:2], np.nan)
    best = np.argsort(-expected, axis=2)[..., :2]
    first, second = (np.take_along_axis(scores.astype(np.float64), best, 2) for scores in (expected, actual))
    errors: FloatArray = np.abs((first[..., 0] - first[..., 1]) - (second[..., 0] - second[..., 1]))
    return errors


def _encode_arcs(arcs: DependencyArcs, label_ids: Mapping[str, int]) -> dict[str, npt.NDArray[np.int64]]:
    """Return heads and label ids of a sentence as a batch of one; 0 is the label of a root."""
    labels = [label_ids.get(label, 0) for label in arcs.labels]
    return {"heads": np.array([list(arcs.heads)], np.int64), "labels": np.array([labels], np.int64)}

"""Compare the whole extractions of two pipelines, with near ties and with the loss of F1."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.annotation import Annotation, gold_annotation
from trimf_train.evaluation.prediction import annotation_from_result, run_pipeline
from trimf_train.evaluation.results import Evaluation
from trimf_train.evaluation.scores import compute_scores

from ..runtime.bundle.labels import Labels
from ..runtime.bundle.parity_report import ExtractionParity, F1Losses, F1Scores, NearTies, WorstSentence
from ..runtime.pipeline import Pipeline, SentenceResult
from .arc_parity import find_words_on_ties
from .f1_loss import estimate_losses
from .near_ties import SettledSentence, choose_score_floor, compute_margins, measure_tie_limits, settle_ties


def compare_extractions(
    reference: Pipeline,
    candidate: Pipeline,
    labels: Labels,
    sentences: Sequence[Sentence],
    batch_size: int,
    *,
    precision: str,
    arc_margin: float,
    data: str,
) -> ExtractionParity:
    """Compare the whole extractions of two pipelines.

    Args:
        reference: Pipeline whose results are expected.
        candidate: Pipeline to check.
        labels: Labels of both.
        sentences: Prepared sentences, with or without gold annotations.
        batch_size: Number of sentences per call.
        precision: Precision of ``candidate``.
        arc_margin: Margin below which a difference of arcs is a near tie, in logits.
        data: Name of the sentences, for the report.

    Returns:
        The ``extractions`` section of the report.
    """
    before = run_pipeline(_return_candidates(reference), sentences, batch_size)
    after = run_pipeline(_return_candidates(candidate), sentences, batch_size)
    expected, actual = ([annotation_from_result(result, labels) for result in results] for results in (before, after))
    differences = [
        (set(left.entities) ^ set(right.entities)) | (set(left.relations) ^ set(right.relations))
        for left, right in zip(expected, actual, strict=True)
    ]
    same = sum(not difference for difference in differences)
    worst: WorstSentence | UnsetType = UNSET
    ties: NearTies | UnsetType = UNSET
    if same < len(sentences):
        index = max(range(len(differences)), key=lambda index: len(differences[index]))
        worst = _describe_difference(sentences[index], expected[index], actual[index])
        ties = _find_near_ties(reference, sentences, before, after, labels, precision, arc_margin)
    gold_scores: F1Scores | UnsetType = UNSET
    exported: F1Scores | UnsetType = UNSET
    losses: F1Losses | UnsetType = UNSET
    if any(sentence.entities for sentence in sentences):
        gold = [gold_annotation(sentence) for sentence in sentences]
        gold_scores = _select_f1(compute_scores(gold, expected, labels.symmetric))
        exported = _select_f1(compute_scores(gold, actual, labels.symmetric))
        of_entities, of_relations = estimate_losses(gold, expected, actual, labels.symmetric)
        losses = F1Losses(entities=of_entities, relations=of_relations)
    return ExtractionParity(
        sentences=len(sentences),
        identical=_to_share(same, len(sentences)),
        agreement=_select_f1(compute_scores(expected, actual, labels.symmetric)),
        worst=worst,
        reference=gold_scores,
        exported=exported,
        data=data,
        near_ties=ties,
        losses=losses,
    )


def _return_candidates(pipeline: Pipeline) -> Pipeline:
    """Return the same pipeline, whose results also have the scores of decisions that are not clear."""
    scoring, settings = copy.copy(pipeline), pipeline.settings
    scoring.settings = settings._replace(candidate_floor=choose_score_floor(settings.relation_thresholds))
    return scoring


def _find_near_ties(
    reference: Pipeline,
    sentences: Sequence[Sentence],
    before: Sequence[SentenceResult],
    after: Sequence[SentenceResult],
    labels: Labels,
    precision: str,
    arc_margin: float,
) -> NearTies:
    """Find the differences that are near ties, from the results of the reference and those of the export."""
    settings = reference.settings
    margins, others = (
        [compute_margins(result, labels, settings.relation_thresholds) for result in results]
        for results in (before, after)
    )
    limits = measure_tie_limits(margins, others, precision)
    expected, settled = [], []
    differing = [0, 0]
    for sentence, first, second, of_reference in zip(sentences, before, after, margins, strict=True):
        left, right = annotation_from_result(first, labels), annotation_from_result(second, labels)
        counts = [len(set(left.entities) ^ set(right.entities)), len(set(left.relations) ^ set(right.relations))]
        differing = [total + count for total, count in zip(differing, counts, strict=True)]
        words: frozenset[int] = frozenset()
        if any(counts) and reference.has_parser and first.arcs is not None and second.arcs is not None:
            words = find_words_on_ties(reference, sentence.tokens, first.arcs, second.arcs, arc_margin)
        expected.append(left)
        settled.append(
            settle_ties(left, right, of_reference, limits, words, overlap=settings.overlap)
            if any(counts)
            else SettledSentence(right, frozenset(), frozenset())
        )
    same = sum(
        set(left.entities) == set(one.annotation.entities) and set(left.relations) == set(one.annotation.relations)
        for left, one in zip(expected, settled, strict=True)
    )
    return NearTies(
        entities=(differing[0], sum(len(one.entities) for one in settled)),
        relations=(differing[1], sum(len(one.relations) for one in settled)),
        margins=(limits.entities, limits.relations),
        identical=_to_share(same, len(sentences)),
        agreement=_select_f1(compute_scores(expected, [one.annotation for one in settled], labels.symmetric)),
    )


def _to_share(part: int, total: int) -> float:
    return round(100 * part / max(1, total), 3)


def _describe_difference(sentence: Sentence, expected: Annotation, actual: Annotation) -> WorstSentence:
    return WorstSentence(
        id=sentence.id,
        text=" ".join(sentence.tokens),
        missing=_list_missing(sentence, expected, actual),
        added=_list_missing(sentence, actual, expected),
    )


def _list_missing(sentence: Sentence, present: Annotation, absent: Annotation) -> list[str]:
    """Describe the entities and relations that are in ``present`` but not in ``absent``."""

    def format_entity(entity: Any) -> str:
        start, end, label = entity
        return f"[{' '.join(sentence.tokens[start:end])}]{label}"

    entities = sorted(set(present.entities) - set(absent.entities))
    relations = sorted(set(present.relations) - set(absent.relations))
    return [format_entity(entity) for entity in entities] + [
        f"{format_entity(head)} {label} {format_entity(tail)}" for head, tail, label in relations
    ]


def _select_f1(result: Evaluation) -> F1Scores:
    """Select micro F1 and support of entities and strict relations from an evaluation."""
    entities, relations = result["entities"]["micro"], result["relations"]["strict"]["micro"]
    return F1Scores(
        entities=entities["f1"], relations=relations["f1"], support=(entities["support"], relations["support"])
    )

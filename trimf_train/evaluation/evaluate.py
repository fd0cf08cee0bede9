"""Evaluate a pipeline, checkpoint or bundle on annotated data (paper, section 4.3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.errors import InputError
from trimf.runtime.model_settings import Threshold
from trimf.runtime.output.plain_text import make_visible
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.pipeline_loading import set_thresholds
from trimf_train.data.data_questions import compare_label_sets
from trimf_train.data.document_splitting import DocumentSplitting
from trimf_train.data.readers import read_documents, read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.annotation import gold_annotation
from trimf_train.evaluation.attachment import attachment_scores
from trimf_train.evaluation.calibration import measure_calibrations, score_predictions
from trimf_train.evaluation.documents import evaluate_documents
from trimf_train.evaluation.model_loading import open_model
from trimf_train.evaluation.prediction import (
    add_missing_parses,
    annotation_from_result,
    gold_entity_spans,
    run_pipeline,
)
from trimf_train.evaluation.protocols import EvaluationProtocol, get_protocol, protocol_for
from trimf_train.evaluation.results import Evaluation
from trimf_train.evaluation.scores import compute_scores

_LOG = logging.getLogger(__name__)


def evaluate_pipeline(
    pipeline: Pipeline,
    labels: Labels,
    sentences: Sequence[Sentence],
    batch_size: int = 32,
    *,
    calibration: bool = False,
    given_entities: bool = False,
) -> Evaluation:
    """Compute precision, recall and F1 of a pipeline on prepared sentences.

    Args:
        pipeline: The model to run.
        labels: The label names of the model.
        sentences: Prepared sentences with gold annotation.
        batch_size: Maximum number of sentences per batch.
        calibration: Also measure how well the scores match the share of correct predictions.
        given_entities: Give the gold entities to the model, so that it predicts relations alone.

    Returns:
        The scores of ``compute_scores``. ``syntax`` is added if the model has an in-model parser and some sentences
        have a gold parse; ``calibration`` is added on request, and ``given_entities`` if they are given.

    Raises:
        DataError: A given entity has a type that the model does not have.
        InputError: Entities are given to a model without relation types.
    """
    if given_entities and not labels.has_relations:
        raise InputError("the model has no relation types, so there is nothing to evaluate between given entities")
    entities = gold_entity_spans(sentences, labels) if given_entities else None
    results = run_pipeline(pipeline, sentences, batch_size, entities=entities)
    predicted = [annotation_from_result(result, labels) for result in results]
    scores = compute_scores([gold_annotation(sentence) for sentence in sentences], predicted, labels.symmetric)
    if given_entities:
        scores["given_entities"] = True
    with_trees = [
        (sentence, result.arcs)
        for sentence, result in zip(sentences, results, strict=True)
        if sentence.heads and result.arcs
    ]
    if pipeline.has_parser and with_trees:
        gold = [
            ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []) for sentence, _ in with_trees
        ]
        scores["syntax"] = attachment_scores(gold, [tree for _, tree in with_trees])
    if calibration:
        scores["calibration"] = measure_calibrations(score_predictions(results, sentences, labels))
    return scores


def _compare_labels(data: str | Path, scores: Evaluation, labels: Labels) -> None:
    """Warn of entity types of the data that the model does not have."""
    types = [name for name, score in scores["entities"]["per_type"].items() if score["support"]]
    if line := compare_label_sets(types, labels.entity_types):
        _LOG.warning("%s: %s", make_visible(str(data)), line)


class FileEvaluation(NamedTuple):
    """Scores of a model on a data file, and the protocol that says which of them are reported."""

    scores: Evaluation
    protocol: EvaluationProtocol


def evaluate_file(
    model: str | Path,
    data: str | Path,
    batch_size: int = 32,
    threads: int | None = None,
    backend: str = "auto",
    *,
    calibration: bool = False,
    threshold: Threshold | None = None,
    entity_threshold: Threshold | None = None,
) -> Evaluation:
    """Evaluate a checkpoint, a bundle or the default bundle on an annotated data file.

    Args:
        model: A checkpoint folder, a bundle folder, or ``"default"`` for the bundle shipped with the package.
        data: A data file in any format of ``trimf_train.data.readers``.
        batch_size: Maximum number of sentences per batch.
        threads: CPU threads for inference; None uses the default of the library.
        backend: The backend that runs a bundle; a checkpoint always runs in PyTorch.
        calibration: Also measure how well the scores match the share of correct predictions.
        threshold: Score that a relation must exceed, or scores by relation type; None leaves that of the model.
        entity_threshold: Score that an entity must exceed, or scores by entity type; None is no threshold.

    Returns:
        The scores, see ``evaluate_pipeline``.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        InputError: A threshold is no number from 0 to 1, or names a label that the model does not have.
        DataError: The data cannot be used.
        BackendError: PyTorch, the backend or a required parser is not available.
    """
    return evaluate_by_protocol(
        model,
        data,
        batch_size,
        threads,
        backend,
        calibration=calibration,
        threshold=threshold,
        entity_threshold=entity_threshold,
    ).scores


def evaluate_by_protocol(
    model: str | Path,
    data: str | Path,
    batch_size: int = 32,
    threads: int | None = None,
    backend: str = "auto",
    *,
    protocol: str | None = None,
    calibration: bool = False,
    given_entities: bool = False,
    threshold: Threshold | None = None,
    entity_threshold: Threshold | None = None,
) -> FileEvaluation:
    """Evaluate a model on an annotated data file, and find the protocol of the data set.

    Unless the model has an in-model parser, sentences without a dependency parse are first parsed with the parser
    the model was trained on. Data that counts characters is split into words by the rules of the model, as extraction
    does, and spans of characters are compared; data of words is taken as it is.

    Args:
        model: See ``evaluate_file``.
        data: See ``evaluate_file``.
        batch_size: See ``evaluate_file``.
        threads: See ``evaluate_file``.
        backend: See ``evaluate_file``.
        protocol: Name of the protocol. Default: that of the published data set which has exactly the labels of the
            model, where the data has no others; a type of the model may be missing from the data.
        calibration: See ``evaluate_file``.
        given_entities: Give the gold entities to the model, so that it predicts relations alone.
        threshold: See ``evaluate_file``.
        entity_threshold: See ``evaluate_file``.

    Returns:
        The scores and the protocol.

    Raises:
        InputError: There is no such protocol, or a threshold cannot be used.
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        DataError: The data cannot be used.
        BackendError: PyTorch, the backend or a required parser is not available.
    """
    chosen = get_protocol(protocol) if protocol is not None else None
    read = read_documents(data)
    documents = None if read is None else list(read)
    sentences = list(read_sentences(data)) if documents is None else []
    loaded = open_model(model, threads, backend)
    with closing(loaded.pipeline):
        set_thresholds(loaded.pipeline, loaded.labels, threshold, entity_threshold)
        if documents is not None and given_entities:  # entities are given as words, so the others are left out
            documents, sentences = None, list(read_sentences(data, splitting=DocumentSplitting(loaded.language)))
        if documents is not None:
            scores = evaluate_documents(loaded, documents, batch_size, calibration=calibration)
        else:
            inputs = sentences if loaded.pipeline.has_parser else add_missing_parses(sentences, loaded.parser)
            scores = evaluate_pipeline(
                loaded.pipeline,
                loaded.labels,
                inputs,
                batch_size,
                calibration=calibration,
                given_entities=given_entities,
            )
    if chosen is None:
        entity_types = {*loaded.labels.entity_types, *scores["entities"]["per_type"]}
        relation_types = {*loaded.labels.relation_types, *scores["relations"]["strict"]["per_type"]}
        chosen = protocol_for(entity_types, relation_types)
    _compare_labels(data, scores, loaded.labels)
    return FileEvaluation(scores, chosen)

"""Evaluate a model on running text: it reads what extraction reads, and spans of characters are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from trimf.runtime.errors import DataError
from trimf.runtime.pipeline import SentenceResult
from trimf_train.data.document import AnnotatedDocument, normalize_document
from trimf_train.data.document_splitting import DocumentSplitting, SplitDocument, split_document
from trimf_train.data.reading_report import ReadingReport
from trimf_train.evaluation.annotation import Annotation, document_annotation, locate_annotation
from trimf_train.evaluation.calibration import judge_predictions, measure_calibrations
from trimf_train.evaluation.model_loading import LoadedModel
from trimf_train.evaluation.prediction import add_missing_parses, annotation_from_result, run_pipeline
from trimf_train.evaluation.reachability import find_unreachable
from trimf_train.evaluation.results import Evaluation
from trimf_train.evaluation.scores import compute_scores


class PredictedDocument(NamedTuple):
    """Document with what a model finds in it.

    Attributes:
        split: The document, without repeated annotation, and its sentences.
        results: The pipeline's result for each sentence.
        predicted: The same results as annotation in characters of the text, a sentence each.
    """

    split: SplitDocument
    results: list[SentenceResult]
    predicted: list[Annotation]

    @property
    def gold(self) -> Annotation:
        """Annotation of the document, in characters."""
        return document_annotation(self.split.document)

    def join_predictions(self) -> Annotation:
        """Return what was found in all sentences."""
        return Annotation(
            [entity for sentence in self.predicted for entity in sentence.entities],
            [relation for sentence in self.predicted for relation in sentence.relations],
        )


def evaluate_documents(
    model: LoadedModel, documents: Iterable[AnnotatedDocument], batch_size: int = 32, *, calibration: bool = False
) -> Evaluation:
    """Compute precision, recall and F1 of a model on running text.

    The text is split into sentences and words as it is for extraction. An entity is correct if its characters and its
    type are; gold annotation that the splitting makes impossible counts as missed.

    Args:
        model: The model to run.
        documents: Checked documents with gold annotation.
        batch_size: Maximum number of sentences per batch.
        calibration: Also measure how well the scores match the share of correct predictions.

    Returns:
        The scores of ``compute_scores``, with the gold items that no prediction can equal.

    Raises:
        DataError: The documents have no words.
        BackendError: The parser of the model is needed and not installed, or the backend fails.
    """
    report = ReadingReport()
    found = predict_documents(model, documents, report, batch_size)
    gold, symmetric = [document.gold for document in found], model.labels.symmetric
    scores = compute_scores(gold, [document.join_predictions() for document in found], symmetric)
    scores["sentences"] = sum(len(document.results) for document in found)
    scores["compared"] = "characters"
    scores["documents"] = len(found)
    scores["language"] = model.language
    splits = [document.split for document in found]
    scores["unreachable"] = find_unreachable(splits, report, model.labels, model.max_span)
    if calibration:
        judged = judge_predictions(
            list(chain.from_iterable(document.results for document in found)),
            list(chain.from_iterable(document.predicted for document in found)),
            (annotation for annotation, document in zip(gold, found, strict=True) for _ in document.results),
            symmetric,
        )
        scores["calibration"] = measure_calibrations(judged)
    return scores


def predict_documents(
    model: LoadedModel, documents: Iterable[AnnotatedDocument], report: ReadingReport, batch_size: int = 32
) -> list[PredictedDocument]:
    """Find the entities and relations of running text, as extraction does.

    Args:
        model: The model to run.
        documents: Checked documents; their gold annotation is ignored.
        report: Counts the gold annotation that the splitting makes impossible.
        batch_size: Maximum number of sentences per batch.

    Returns:
        The documents with what was found, in order.

    Raises:
        DataError: The documents have no words.
        BackendError: The parser of the model is needed and not installed, or the backend fails.
    """
    splitting = DocumentSplitting(model.language)
    splits = [
        split_document(normalize_document(document, model.labels.symmetric), splitting, report)
        for document in documents
    ]
    sentences = [sentence for split in splits for sentence in split.to_sentences()]
    if not sentences:
        raise DataError("the documents contain no words; at least one is needed")
    if not model.pipeline.has_parser:
        sentences = add_missing_parses(sentences, model.parser)
    results = iter(run_pipeline(model.pipeline, sentences, batch_size))
    return [_collect_results(split, results, model) for split in splits]


def _collect_results(split: SplitDocument, results: Iterator[SentenceResult], model: LoadedModel) -> PredictedDocument:
    """Take the results of the sentences of a document, and convert them to characters."""
    taken = list(islice(results, len(split.sentences)))
    predicted = [
        locate_annotation(annotation_from_result(result, model.labels), words)
        for result, words in zip(taken, split.sentences, strict=True)
    ]
    return PredictedDocument(split, taken, predicted)

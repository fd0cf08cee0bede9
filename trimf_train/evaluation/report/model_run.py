"""Run a model on annotated data, with the scores of all that it considers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.errors import DataError
from trimf.runtime.model_settings import Threshold
from trimf.runtime.pipeline_loading import set_thresholds
from trimf_train.data.document import AnnotatedDocument
from trimf_train.data.readers import read_documents, read_sentences
from trimf_train.data.reading_report import ReadingReport
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.documents import predict_documents
from trimf_train.evaluation.model_loading import LoadedModel, open_model
from trimf_train.evaluation.prediction import add_missing_parses, run_pipeline
from trimf_train.evaluation.reachability import find_unreachable
from trimf_train.evaluation.results import UnreachableItems

from .scored_text import ScoredText, SentencePart, score_parts, score_sentence


class RunOptions(NamedTuple):
    """How models are run; see ``evaluation.evaluate.evaluate_file``."""

    batch_size: int = 32
    threads: int | None = None
    backend: str = "auto"
    threshold: Threshold | None = None
    entity_threshold: Threshold | None = None


class AnnotatedData(NamedTuple):
    """Annotated data: sentences of words, or running text, whose spans count characters.

    Attributes:
        sentences: Sentences with gold annotation; empty for running text.
        documents: Documents with gold annotation; None for sentences.
    """

    sentences: list[Sentence]
    documents: list[AnnotatedDocument] | None


class ModelRun(NamedTuple):
    """What a model says of the data.

    Attributes:
        texts: The texts with its predictions.
        labels: Its labels.
        entity_thresholds: Threshold in use by entity type.
        relation_thresholds: Threshold in use by relation type.
        unreachable: Gold items of running text that no prediction can equal; None for sentences of words.
    """

    texts: list[ScoredText]
    labels: Labels
    entity_thresholds: dict[str, float]
    relation_thresholds: dict[str, float]
    unreachable: UnreachableItems | None = None


class ResampledUnits(NamedTuple):
    """What is resampled.

    Attributes:
        kind: Whole documents where the data has them, since sentences of a document are not independent.
        numbers: Number of the unit of each text, counted from 0.
    """

    kind: Literal["sentences", "documents"]
    numbers: list[int]


def read_data(path: str | Path) -> AnnotatedData:
    """Read annotated data.

    Args:
        path: A data file in any format of ``trimf_train.data.readers``.

    Returns:
        The data, with at least one sentence or document.

    Raises:
        DataError: The data cannot be used.
    """
    documents = read_documents(path)
    data = AnnotatedData(list(read_sentences(path)), None) if documents is None else AnnotatedData([], list(documents))
    if not data.sentences and not data.documents:
        raise DataError(f"{path}: no sentences; at least one is needed")
    return data


def run_model(model: str, data: AnnotatedData, options: RunOptions) -> ModelRun:
    """Run a model on annotated data, as ``trimf eval`` does.

    Args:
        model: A checkpoint folder, a bundle folder, or ``"default"``.
        data: The data.
        options: How the model is run.

    Returns:
        A text per sentence, or per document of running text, in their order.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        InputError: A threshold cannot be used.
        DataError: The documents have no words.
        BackendError: PyTorch, the backend or a required parser is not available.
    """
    loaded = open_model(model, options.threads, options.backend)
    labels, unreachable = loaded.labels, None
    with closing(loaded.pipeline):
        set_thresholds(loaded.pipeline, labels, options.threshold, options.entity_threshold, candidates=True)
        if data.documents is None:
            texts = _run_on_sentences(loaded, data.sentences, options.batch_size)
        else:
            texts, unreachable = _run_on_documents(loaded, data.documents, options.batch_size)
        settings = loaded.pipeline.settings
    entity_thresholds = settings.entity_thresholds or (0.0,) * len(labels.entity_types)
    return ModelRun(
        texts,
        labels,
        dict(zip(labels.entity_types, entity_thresholds, strict=True)),
        dict(zip(labels.relation_types, settings.relation_thresholds, strict=False)),
        unreachable,
    )


def _run_on_sentences(model: LoadedModel, sentences: list[Sentence], batch_size: int) -> list[ScoredText]:
    inputs = sentences if model.pipeline.has_parser else add_missing_parses(sentences, model.parser)
    results = run_pipeline(model.pipeline, inputs, batch_size)
    return [score_sentence(sentence, result, model.labels) for sentence, result in zip(sentences, results, strict=True)]


def _run_on_documents(
    model: LoadedModel, documents: list[AnnotatedDocument], batch_size: int
) -> tuple[list[ScoredText], UnreachableItems]:
    report = ReadingReport()
    found = predict_documents(model, documents, report, batch_size)
    texts = []
    for document in found:
        source, words = document.split.document, document.split.sentences
        parts = [
            SentencePart(sentence.starts, sentence.ends, result)
            for sentence, result in zip(words, document.results, strict=True)
        ]
        texts.append(score_parts(source.id, source.text, document.gold, parts, model.labels))
    splits = [document.split for document in found]
    return texts, find_unreachable(splits, report, model.labels, model.max_span)


def group_units(run: ModelRun) -> ResampledUnits:
    """Group what belongs together: sentences of a document are not independent.

    Args:
        run: What a model says of the data.

    Returns:
        The documents of running text. Of sentences, documents if every identifier ends in a colon and a number, as in
        ``news-7:0``, and some document has several sentences; else each sentence is a unit of its own.
    """
    texts = run.texts
    if run.unreachable is not None:
        return ResampledUnits("documents", list(range(len(texts))))
    parts = [text.id.rpartition(":") for text in texts]
    names = [name for name, _, number in parts if name and number.isdecimal()]
    numbers = {name: index for index, name in enumerate(dict.fromkeys(names))}
    if len(names) == len(texts) and len(numbers) < len(texts):
        return ResampledUnits("documents", [numbers[name] for name in names])
    return ResampledUnits("sentences", list(range(len(texts))))

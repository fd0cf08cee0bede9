"""Run a model on annotated data, with the scores of all that it considers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Literal, NamedTuple

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.model_settings import Threshold
from trimf.runtime.pipeline_loading import set_thresholds
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.model_loading import open_model
from trimf_train.evaluation.prediction import add_missing_parses, run_pipeline

from .scored_text import ScoredText, score_sentence


class RunOptions(NamedTuple):
    """How models are run; see ``evaluation.evaluate.evaluate_file``."""

    batch_size: int = 32
    threads: int | None = None
    backend: str = "auto"
    threshold: Threshold | None = None
    entity_threshold: Threshold | None = None


class ModelRun(NamedTuple):
    """What a model says of the data.

    Attributes:
        texts: The texts with its predictions.
        labels: Its labels.
        entity_thresholds: Threshold in use by entity type.
        relation_thresholds: Threshold in use by relation type.
    """

    texts: list[ScoredText]
    labels: Labels
    entity_thresholds: dict[str, float]
    relation_thresholds: dict[str, float]


class ResampledUnits(NamedTuple):
    """What is resampled.

    Attributes:
        kind: Whole documents where the data has them, since sentences of a document are not independent.
        numbers: Number of the unit of each text, counted from 0.
    """

    kind: Literal["sentences", "documents"]
    numbers: list[int]


def run_model(model: str, sentences: Sequence[Sentence], options: RunOptions) -> ModelRun:
    """Run a model on sentences of words.

    Args:
        model: A checkpoint folder, a bundle folder, or ``"default"``.
        sentences: Sentences with gold annotation.
        options: How the model is run.

    Returns:
        The texts in the order of the sentences.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        InputError: A threshold cannot be used.
        BackendError: PyTorch, the backend or a required parser is not available.
    """
    loaded = open_model(model, options.threads, options.backend)
    pipeline, labels = loaded.pipeline, loaded.labels
    with closing(pipeline):
        set_thresholds(pipeline, labels, options.threshold, options.entity_threshold, candidates=True)
        inputs = sentences if pipeline.has_parser else add_missing_parses(sentences, loaded.parser)
        results = run_pipeline(pipeline, inputs, options.batch_size)
        settings = pipeline.settings
    texts = [score_sentence(sentence, result, labels) for sentence, result in zip(sentences, results, strict=True)]
    entity_thresholds = settings.entity_thresholds or (0.0,) * len(labels.entity_types)
    return ModelRun(
        texts,
        labels,
        dict(zip(labels.entity_types, entity_thresholds, strict=True)),
        dict(zip(labels.relation_types, settings.relation_thresholds, strict=False)),
    )


def group_units(texts: Sequence[ScoredText]) -> ResampledUnits:
    """Group sentences by document where their identifiers name one, as in ``news-7:0``.

    Args:
        texts: The texts.

    Returns:
        Documents if every identifier ends in a colon and a number, and some document has several sentences; else each
        text is a unit of its own.
    """
    parts = [text.id.rpartition(":") for text in texts]
    names = [name for name, _, number in parts if name and number.isdecimal()]
    numbers = {name: index for index, name in enumerate(dict.fromkeys(names))}
    if len(names) == len(texts) and len(numbers) < len(texts):
        return ResampledUnits("documents", [numbers[name] for name in names])
    return ResampledUnits("sentences", list(range(len(texts))))
